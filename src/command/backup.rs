//! `permille backup` and `permille restore`: a copy of a data folder, and the way back.

use std::path::{Path, PathBuf};

use clap::Args;
use permille_ledger::StoreAddress;
use serde_json::json;

use super::Context;
use crate::{
    backup::{Manifest, make, restore},
    error::CliError,
    output::waiting,
    table::grouped,
};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A new or empty folder.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Where from.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder of a backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

/// Runs `permille backup`.
///
/// # Errors
/// [`CliError`] when something cannot be copied.
pub(crate) async fn back_up(context: &Context, asked: &Backup) -> Result<(), CliError> {
    let config = context.config()?;
    let making = make(&context.data, &config, &asked.to);
    let manifest = waiting("a backup is made", making).await?;
    let address = config.store_address(&context.data)?;
    let beside = match address {
        StoreAddress::Postgres(_) => Some(format!(
            "{address} is not part of it: back it up with pg_dump or its server's own means, before \
             each run of this command, so that the journals have all that it lacks"
        )),
        StoreAddress::Sqlite(_) => None,
    };
    tell(context, &manifest, &asked.to, beside)
}

/// Runs `permille restore`.
///
/// # Errors
/// [`CliError`] when the backup is not whole, or something is where it should go.
pub(crate) async fn put_back(context: &Context, asked: &Restore) -> Result<(), CliError> {
    let config = context.config()?;
    let restoring = async { restore(&asked.from, &context.data, &config) };
    let manifest = waiting("a backup is put back", restoring).await?;
    let beside = (!manifest.has_store).then(|| {
        format!("its store, {}, is not part of it: restore that by its own means", manifest.store)
    });
    tell(context, &manifest, &context.data, beside)
}

fn tell(
    context: &Context,
    manifest: &Manifest,
    place: &Path,
    beside: Option<String>,
) -> Result<(), CliError> {
    if context.output.is_json() {
        return context.output.document(&json!({
            "place": place, "files": manifest.files.len(), "bytes": manifest.bytes(),
            "began_at": manifest.began_at, "store": manifest.store,
            "has_store": manifest.has_store,
        }));
    }
    context.output.line(&format!(
        "{} files of {} bytes are in `{}`: all that was settled at {}",
        manifest.files.len(),
        grouped(&manifest.bytes().to_string()),
        place.display(),
        manifest.began_at.format("%Y-%m-%d %H:%M:%S UTC")
    ))?;
    beside.map_or(Ok(()), |text| context.output.line(&text))
}
