//! One file per command. Each is a client of the billing API: it turns arguments into a call and
//! the answer into JSON or a table, and decides nothing about billing itself.

mod amount;
mod archive;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod charge;
pub(crate) mod close;
pub(crate) mod config;
mod credit_note;
pub(crate) mod customer;
pub(crate) mod dispute;
pub(crate) mod doctor;
mod evidence;
mod export;
pub(crate) mod fx;
pub(crate) mod grant;
pub(crate) mod health;
mod history;
pub(crate) mod invoice;
pub(crate) mod journal;
pub(crate) mod key;
mod limits;
pub(crate) mod margin;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod plan;
pub(crate) mod price;
mod price_add;
mod price_import;
pub(crate) mod project;
mod quarantine;
pub(crate) mod quote;
pub(crate) mod reconcile;
pub(crate) mod session;
pub(crate) mod session_summary;
pub(crate) mod simulate;
mod steps;
pub(crate) mod token;
pub(crate) mod usage;
pub(crate) mod verify;
pub(crate) mod webhook;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    api::{Api, ApiError},
    config::{Config, Overrides},
    data_folder::DataFolder,
    error::CliError,
    output::Output,
};

/// The token that commands use instead of the data folder's own.
const TOKEN_VARIABLE: &str = "PERMILLE_TOKEN";

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where the answer goes.
    pub(crate) output: Output,
    /// `--data`.
    pub(crate) data: PathBuf,
    /// `--config` and the flags over it.
    pub(crate) overrides: Overrides,
    /// `--idempotency-key`.
    pub(crate) idempotency_key: Option<String>,
}

impl Context {
    /// The effective configuration.
    ///
    /// # Errors
    /// [`CliError::Config`] names the key.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.overrides)?)
    }

    /// A client of the billing API of this data folder.
    ///
    /// # Errors
    /// [`CliError`] when the folder, the configuration or the server fails.
    pub(crate) async fn api(&self) -> Result<Api, CliError> {
        let config = self.config()?;
        let api = Api::connect(&DataFolder::open(&self.data)?, &config).await?;
        let api = api.under(self.idempotency_key.clone());
        // Whoever signs or approves does so in their own name and role.
        Ok(match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => api.bearing(token.into()),
            _ => api,
        })
    }
}

/// Largest file of charges or plans, in bytes: thousands of tiers.
const TERMS_BYTES_MAX: u64 = 256 * 1024;

/// The text of a file of charges or plans.
fn terms(path: &Path) -> Result<String, CliError> {
    let failed = |cause| CliError::ReadFile { path: path.to_owned(), cause };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > TERMS_BYTES_MAX {
        return Err(CliError::Refused(format!(
            "file `{}` has {bytes} bytes, accepted: at most {TERMS_BYTES_MAX}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Reads an answer, or the part of it that a table shows.
fn view<T: DeserializeOwned>(document: &RawValue) -> Result<T, CliError> {
    Ok(serde_json::from_str(document.get()).map_err(ApiError::Answer)?)
}

/// `-` stands for what is not known: absence is not zero.
fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), T::to_string)
}

/// A time as people read it, to the second; as given when it is none.
fn moment(rfc3339: &str) -> String {
    chrono::DateTime::parse_from_rfc3339(rfc3339).map_or_else(
        |_| rfc3339.to_owned(),
        |time| time.to_utc().format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
