//! Makes a backup, also of a folder whose server runs.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use permille_ledger::StoreAddress;
use permille_types::{Clock, SystemClock};

use super::manifest::{self, Manifest};
use crate::{
    config::Config,
    data_folder::DataFolder,
    error::CliError,
    store::{beside, failed},
};

/// What of a data folder is not copied: who runs on it, and what is not whole.
const LEFT_OUT: [&str; 3] = ["lock", "server.json", "journal"];
/// Begins the name of the folder that holds segments while a backup is made.
const HELD: &str = ".backup-";
/// Bytes of a segment that are read at once: a page.
const PAGE_BYTES: usize = 4096;

/// Copies the data folder `data`, its store and the configuration into `to`, which must not be
/// there or be empty.
///
/// # Errors
/// [`CliError`] names the file that fails; `to` holds no manifest then.
pub(crate) async fn make(data: &Path, config: &Config, to: &Path) -> Result<Manifest, CliError> {
    if !data.is_dir() {
        return Err(CliError::Refused(format!(
            "data folder `{}` is not there; accepted: --data with one",
            data.display()
        )));
    }
    refuse_below(data, to)?;
    prepare(to)?;
    let folder = DataFolder::existing(data);
    let address = config.store_address(data)?;
    let began_at = SystemClock.now();
    let mut segments = Segments::hold(&folder)?;
    let store = match &address {
        StoreAddress::Sqlite(path) if path.exists() => {
            let ledger = beside(data, config).await?;
            let copied = ledger.copy_to(&to.join(manifest::STORE)).await.map_err(failed);
            ledger.close().await;
            copied?;
            sync(&to.join(manifest::STORE))?;
            Some(path.clone())
        }
        StoreAddress::Sqlite(_) | StoreAddress::Postgres(_) => None,
    };
    // What was written meanwhile may be in the ledger's copy already: its segments belong to it.
    segments.hold_more()?;
    let mut manifest = Manifest::new(began_at, address.to_string(), store.is_some());
    if store.is_some() {
        manifest.keep(to, manifest::STORE.into())?;
    }
    for path in segments.copy(&to.join(manifest::DATA))? {
        manifest.keep(to, Path::new(manifest::DATA).join(path))?;
    }
    drop(segments);
    for path in found(data, Path::new(""), &address)? {
        let kept = Path::new(manifest::DATA).join(&path);
        copy(&data.join(&path), &to.join(&kept))?;
        manifest.keep(to, kept)?;
    }
    if let Some(file) = &config.file {
        copy(file, &to.join(manifest::CONFIG))?;
        manifest.keep(to, manifest::CONFIG.into())?;
    }
    manifest.made_at = SystemClock.now();
    manifest.write(to)?;
    Ok(manifest)
}

/// Refuses a place in the data folder: each backup would hold all that were made before.
fn refuse_below(data: &Path, to: &Path) -> Result<(), CliError> {
    let read = |cause| CliError::ReadFile { path: data.to_owned(), cause };
    let data = data.canonicalize().map_err(read)?;
    // What is there already of the path to it.
    let there = to.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok()
    });
    if there.is_some_and(|there| there.starts_with(&data)) {
        return Err(CliError::Refused(format!(
            "`{}` lies in the data folder; accepted: a folder outside `{}`",
            to.display(),
            data.display()
        )));
    }
    Ok(())
}

/// Makes the folder of a backup, or takes one that is empty.
fn prepare(to: &Path) -> Result<(), CliError> {
    let written = |cause| CliError::WriteFile { path: to.to_owned(), cause };
    create(&to.join(manifest::DATA).join("journal")).or_else(|cause| {
        if cause.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(written(cause)) }
    })?;
    let entries = fs::read_dir(to).map_err(written)?;
    let others = entries.filter_map(Result::ok).filter(|entry| entry.file_name() != manifest::DATA);
    let journal = fs::read_dir(to.join(manifest::DATA).join("journal")).map_err(written)?;
    let inside = fs::read_dir(to.join(manifest::DATA)).map_err(written)?;
    if others.count() > 0 || journal.count() > 0 || inside.count() > 1 {
        return Err(CliError::Refused(format!(
            "`{}` is not empty; accepted: a new or empty folder for each backup",
            to.display()
        )));
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Segments of the journal that cannot leave while a backup is made: each has a second name.
struct Segments {
    journal: PathBuf,
    held: tempfile::TempDir,
    /// Names, in the order of the journal.
    names: BTreeMap<String, PathBuf>,
}

impl Segments {
    fn hold(folder: &DataFolder) -> Result<Self, CliError> {
        let made = |cause| CliError::WriteFile { path: folder.path().to_owned(), cause };
        let held = tempfile::Builder::new().prefix(HELD).tempdir_in(folder.path()).map_err(made)?;
        let mut segments = Self { journal: folder.journal(), held, names: BTreeMap::new() };
        segments.hold_more()?;
        Ok(segments)
    }

    /// Holds those that have come since. One that leaves while they are counted has been taken by
    /// the ledger: it is not missed before the ledger is copied, nor after.
    fn hold_more(&mut self) -> Result<(), CliError> {
        let entries = match fs::read_dir(&self.journal) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(CliError::ReadFile { path: self.journal.clone(), cause }),
        };
        for entry in entries {
            let read = |cause| CliError::ReadFile { path: self.journal.clone(), cause };
            let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
            if name == "lock" || self.names.contains_key(&name) {
                continue;
            }
            let held = self.held.path().join(&name);
            match fs::hard_link(self.journal.join(&name), &held) {
                Ok(()) => drop(self.names.insert(name, held)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(CliError::WriteFile { path: held, cause }),
            }
        }
        Ok(())
    }

    /// Copies them into a data folder's copy; the paths in it.
    fn copy(&self, data: &Path) -> Result<Vec<PathBuf>, CliError> {
        let mut copied = Vec::new();
        for (name, held) in &self.names {
            let path = Path::new("journal").join(name);
            let to = data.join(&path);
            let whole = copy_backwards(held, &to);
            if whole.map_err(|cause| CliError::WriteFile { path: to, cause })? {
                copied.push(path);
            }
        }
        Ok(copied)
    }
}

/// Copies a segment from its end to its beginning. It is written from the beginning: what is found
/// of it is found with all that was written before. `false` of one that nothing was written to.
fn copy_backwards(from: &Path, to: &Path) -> io::Result<bool> {
    let source = File::open(from)?;
    let size = source.metadata()?.size();
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    target.set_len(size)?;
    let mut page = vec![0; PAGE_BYTES];
    let step = u64::try_from(PAGE_BYTES).map_err(io::Error::other)?;
    let mut written = false;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(1) / step * step;
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let part = page.get_mut(..length).ok_or(io::ErrorKind::InvalidInput)?;
        source.read_exact_at(part, start)?;
        // A hole reads as zeros, which a segment is made of.
        if part.iter().any(|byte| *byte != 0) {
            target.write_all_at(part, start)?;
            written = true;
        }
        end = start;
    }
    target.sync_all()?;
    if !written {
        fs::remove_file(to)?;
    }
    Ok(written)
}

/// Files of the data folder but for the store, the journal and what only a running server has.
fn found(data: &Path, below: &Path, store: &StoreAddress) -> Result<Vec<PathBuf>, CliError> {
    let folder = data.join(below);
    let read = |cause| CliError::ReadFile { path: folder.clone(), cause };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = below.join(&name);
        let top = below.as_os_str().is_empty();
        let left_out = top && LEFT_OUT.contains(&name.as_str());
        if left_out
            || name.starts_with(HELD)
            || path.extension().is_some_and(|ending| ending == "part")
            || is_of(store, &data.join(&path))
        {
            continue;
        }
        let kind = entry.file_type().map_err(read)?;
        if kind.is_dir() {
            files.extend(found(data, &path, store)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file is the store's: the database itself, its log and its index of the log.
fn is_of(store: &StoreAddress, path: &Path) -> bool {
    let StoreAddress::Sqlite(store) = store else { return false };
    let (store, path) = (store.to_string_lossy(), path.to_string_lossy());
    path.strip_prefix(&*store).is_some_and(|rest| ["", "-wal", "-shm"].contains(&rest))
}

/// Copies a file with the rights that it has.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    let written = |cause| CliError::WriteFile { path: to.to_owned(), cause };
    if let Some(folder) = to.parent() {
        create(folder).map_err(written)?;
    }
    let read = |cause| CliError::ReadFile { path: from.to_owned(), cause };
    let mut source = File::open(from).map_err(read)?;
    let mode = source.metadata().map_err(read)?.permissions().mode() & 0o777;
    let mut options = OpenOptions::new();
    let target = options.write(true).create_new(true).mode(mode & 0o700).open(to);
    let mut target = target.map_err(written)?;
    io::copy(&mut source, &mut target).map_err(written)?;
    target.sync_all().map_err(written)
}

fn sync(path: &Path) -> Result<(), CliError> {
    let write = || -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        File::open(path)?.sync_all()
    };
    write().map_err(|cause| CliError::WriteFile { path: path.to_owned(), cause })
}
