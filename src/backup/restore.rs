//! Puts a backup where there is nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use permille_ledger::StoreAddress;

use super::{
    make::copy,
    manifest::{self, Manifest},
};
use crate::{config::Config, data_folder::DataFolder, error::CliError};

/// Copies the backup in `from` into the data folder `data`, which must not be there or be empty,
/// and its store to where the configuration has it. Every file is compared with the manifest first.
///
/// # Errors
/// [`CliError`] when the backup is not whole, or something is there already.
pub(crate) fn restore(from: &Path, data: &Path, config: &Config) -> Result<Manifest, CliError> {
    let manifest = Manifest::read(from)?;
    match fs::read_dir(data) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(CliError::Refused(format!(
                    "data folder `{}` is not empty; accepted: --data with a new or empty folder",
                    data.display()
                )));
            }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(CliError::ReadFile { path: data.to_owned(), cause }),
    }
    let address = config.store_address(data)?;
    let store = match (&address, manifest.has_store) {
        (StoreAddress::Sqlite(path), true) if let Some(there) = in_the_way(path) => {
            return Err(CliError::Refused(format!(
                "`{}` is there already; accepted: another `store.url`",
                there.display()
            )));
        }
        (StoreAddress::Sqlite(path), true) => Some(path),
        (StoreAddress::Postgres(_), true) => {
            return Err(CliError::Refused(format!(
                "the backup holds a store in a file and the configuration names {address}; \
                 accepted: a `store.url` of sqlite:PATH"
            )));
        }
        (_, false) => None,
    };
    DataFolder::open(data)?;
    for kept in &manifest.files {
        let Ok(path) = kept.path.strip_prefix(manifest::DATA) else { continue };
        copy(&from.join(&kept.path), &data.join(path))?;
    }
    if let Some(path) = store {
        copy(&from.join(manifest::STORE), path)?;
    }
    Ok(manifest)
}

/// A file of the store at `path`. A log that was left of another store would be played back over
/// this one.
///
/// Source: `SQLite`, "Temporary Files Used By `SQLite`".
fn in_the_way(path: &Path) -> Option<PathBuf> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    ["", "-wal", "-shm", "-journal"].map(named).into_iter().find(|file| file.exists())
}
