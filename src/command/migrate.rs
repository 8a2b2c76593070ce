//! `permille migrate`: brings the store's tables up to date, as a server's start would.

use std::sync::Arc;

use clap::Args;
use permille_ledger::{Ledger, LedgerConfig, Pepper, StoreVersion};
use permille_types::SystemClock;
use serde_json::json;

use super::Context;
use crate::{
    data_folder::{DataFolder, DataFolderError},
    error::CliError,
    output::waiting,
    store::failed,
};

/// Whether to do it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Migrate {
    /// Only tell what would be done.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the store fails, or a server runs on the data folder.
pub(crate) async fn run(context: &Context, asked: Migrate) -> Result<(), CliError> {
    let config = context.config()?;
    let folder = DataFolder::existing(&context.data);
    let store = config.store_address(folder.path())?;
    let before = Ledger::version_of(&store).await.map_err(failed)?;
    let is_newer = before.found.is_some_and(|found| found > before.known);
    if !asked.check || is_newer {
        let folder = DataFolder::open(&context.data)?;
        let lock = folder
            .try_lock()?
            .ok_or_else(|| DataFolderError::InUse { folder: folder.path().to_owned() })?;
        let pepper = Pepper::load_or_create(&folder.pepper()).map_err(failed)?;
        let clock = Arc::new(SystemClock);
        let opening = Ledger::open(LedgerConfig { store: store.clone(), pepper, clock });
        waiting("the store is brought up to date", opening).await.map_err(failed)?.close().await;
        drop(lock);
    }
    let after = if asked.check {
        before.clone()
    } else {
        Ledger::version_of(&store).await.map_err(failed)?
    };
    let applied: Vec<i64> =
        before.pending.iter().filter(|one| !after.pending.contains(one)).copied().collect();
    if context.output.is_json() {
        return context.output.document(&json!({
            "store": store.to_string(), "from": before.found, "to": after.found,
            "known": after.known, "applied": applied, "pending": after.pending,
        }));
    }
    context.output.line(&told(&store.to_string(), asked, &before, &after))
}

fn told(store: &str, asked: Migrate, before: &StoreVersion, after: &StoreVersion) -> String {
    let place = |found: Option<i64>| {
        found.map_or_else(|| "empty".to_owned(), |n| format!("at migration {n}"))
    };
    let count = before.pending.len();
    match (count, asked.check) {
        (0, _) => format!("store {store} is {}: up to date", place(before.found)),
        (_, true) => format!(
            "store {store} is {}; {count} migrations are pending, up to {}: {:?}",
            place(before.found),
            before.known,
            before.pending
        ),
        (_, false) => format!(
            "store {store} was {} and is {} now, after {count} migrations",
            place(before.found),
            place(after.found)
        ),
    }
}
