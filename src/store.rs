//! Opens the store of a data folder: the ledger with its price book, and the token that local
//! commands use.

use std::{path::Path, sync::Arc};

use permille_ledger::{Ledger, LedgerConfig, Pepper, PriceOrigin, Role};
use permille_rating::price_book::default_prices;
use permille_types::SystemClock;
use secrecy::SecretString;

use crate::{
    api::ApiError,
    config::Config,
    data_folder::{DataFolder, FolderLock},
    error::CliError,
};

/// An open store and an admin token for it.
pub(crate) struct Store {
    pub(crate) ledger: Ledger,
    /// Lies in `cli.token`, for commands of whoever may read the data folder.
    pub(crate) token: SecretString,
}

impl Store {
    /// Opens the store, creating it if need be; brings its price book up to this version's and
    /// the configuration's.
    ///
    /// # Errors
    /// [`CliError`] when a file of the store fails or a price contradicts another one.
    pub(crate) async fn open(
        folder: &DataFolder,
        lock: &FolderLock,
        config: &Config,
    ) -> Result<Self, CliError> {
        let store = config.store_to_open(folder.path())?;
        let pepper = Pepper::load_or_create(&folder.pepper()).map_err(failed)?;
        let clock = Arc::new(SystemClock);
        let ledger = Ledger::open(LedgerConfig { store, pepper, clock }).await.map_err(failed)?;
        let built_in = default_prices().map_err(failed)?;
        ledger.import_prices(&built_in, PriceOrigin::BuiltIn).await.map_err(failed)?;
        ledger.import_prices(&config.prices, PriceOrigin::Operator).await.map_err(failed)?;
        let token = local_token(folder, lock, &ledger).await?;
        Ok(Self { ledger, token })
    }
}

/// The ledger of a folder that exists, beside a server that may run on it: for reading, and for
/// what no server keeps in memory. The lock is held only while the tables are brought up to date.
///
/// # Errors
/// [`CliError`] when the store fails, or a server runs on it whose tables are not this build's.
pub(crate) async fn beside(path: &Path, config: &Config) -> Result<Ledger, CliError> {
    if !path.is_dir() {
        return Err(CliError::Refused(format!(
            "data folder `{}` is not there; accepted: --data with the folder of the store",
            path.display()
        )));
    }
    let folder = DataFolder::open(path)?;
    let store = config.store_address(folder.path())?;
    let lock = folder.try_lock()?;
    if lock.is_none() {
        let version = Ledger::version_of(&store).await.map_err(failed)?;
        if !version.pending.is_empty() {
            return Err(CliError::Refused(format!(
                "a server runs on data folder `{}` whose store lacks migrations {:?} of this \
                 build; accepted: the build of the server, or a stopped server",
                path.display(),
                version.pending
            )));
        }
    }
    let pepper = Pepper::load_or_create(&folder.pepper()).map_err(failed)?;
    let clock = Arc::new(SystemClock);
    Ledger::open(LedgerConfig { store, pepper, clock }).await.map_err(failed)
}

/// What the token of local commands is called.
pub(crate) const LOCAL_COMMANDS: &str = "local commands";

/// The token in the folder, if this store knows it, else a new one.
async fn local_token(
    folder: &DataFolder,
    lock: &FolderLock,
    ledger: &Ledger,
) -> Result<SecretString, CliError> {
    if let Some(token) = folder.cli_token()?
        && ledger.authenticate(&token).await.map_err(failed)?.is_some()
    {
        return Ok(token);
    }
    let created = ledger.create_token(Role::Admin, Some(LOCAL_COMMANDS)).await.map_err(failed)?;
    folder.store_cli_token(lock, &created.secret)?;
    Ok(created.secret)
}

pub(crate) fn failed(cause: impl std::error::Error + Send + Sync + 'static) -> CliError {
    ApiError::Store(Box::new(cause)).into()
}
