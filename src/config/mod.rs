//! The effective configuration: TOML file < environment < flags.
//!
//! Shapes of the data plane's sections live in `permille_proxy::config`; this module reads,
//! layers and checks them, and says in one sentence what is wrong with which key of which source.

mod archive;
mod budget;
mod error;
mod issuer;
mod journal;
mod load;
mod otlp;
mod redis;
mod retention;
mod sections;
mod show;
mod usage_stream;
mod webhooks;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use permille_ledger::StoreAddress;
use permille_types::Price;
use secrecy::SecretString;

pub(crate) use budget::BudgetSection;
pub(crate) use error::ConfigError;
pub(crate) use retention::Retention;
pub(crate) use sections::{LogFormat, Settings};

/// The default configuration file, read when it is there.
const DEFAULT_FILE: &str = "permille.toml";

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `--gateway-listen`.
    pub(crate) gateway_listen: Option<SocketAddr>,
    /// `--console-listen`.
    pub(crate) console_listen: Option<SocketAddr>,
    /// `--metrics-listen`.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// `--billing`.
    pub(crate) billing_url: Option<String>,
}

/// The effective configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Every section.
    pub(crate) settings: Settings,
    /// `[[price]]` entries: they come on top of the built-in price book.
    pub(crate) prices: Vec<Price>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

impl Config {
    /// The defaults alone, without any file, variable or flag.
    pub(crate) fn built_in() -> Self {
        Self { settings: Settings::default(), prices: Vec::new(), file: None }
    }

    /// Reads and checks every source.
    ///
    /// # Errors
    /// [`ConfigError`] names the source and the key.
    pub(crate) fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        let config = load::load(overrides)?;
        config.settings.check().map_err(|error| error.in_file(config.file.as_deref()))?;
        Ok(config)
    }

    /// The folder that relative credential files lie in: that of the configuration file.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.file.as_deref().and_then(Path::parent)
    }

    /// The upstreams with their credentials read.
    ///
    /// # Errors
    /// [`ConfigError::Credential`] names the upstream and the variable or file that fails.
    pub(crate) fn upstreams(
        &self,
    ) -> Result<Vec<permille_proxy::config::UpstreamConfig>, ConfigError> {
        let folder = self.folder();
        self.settings
            .upstream
            .iter()
            .map(|section| sections::read_credential(section, folder))
            .collect()
    }

    /// What customers are expected to spend in a month.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the entry that is none.
    pub(crate) fn budgets(&self) -> Result<Vec<permille_service::Budget>, ConfigError> {
        budget::budgets(&self.settings.budget)
    }

    /// Where OpenTelemetry's signals go, with the headers for it read.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the variable or file that fails.
    pub(crate) fn otlp(
        &self,
        instance: String,
    ) -> Result<Option<permille_proxy::config::OtlpConfig>, ConfigError> {
        let Some(section) = &self.settings.otlp else { return Ok(None) };
        let read = otlp::read(section, self.folder(), instance);
        read.map(Some).map_err(|error| error.in_file(self.file.as_deref()))
    }

    /// Who issues invoices, with the picture of its logo read.
    ///
    /// # Errors
    /// [`ConfigError::Key`] when the logo cannot be read.
    pub(crate) fn issuer(&self) -> Result<permille_documents::Issuer, ConfigError> {
        let issuer = self.settings.issuer.read(self.folder());
        issuer.map_err(|error| error.in_file(self.file.as_deref()))
    }

    /// Where the store is, with its password read. `data` is the data folder.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names what is no store, or the variable or file that fails.
    pub(crate) fn store_address(&self, data: &Path) -> Result<StoreAddress, ConfigError> {
        let address = self.settings.store.address(data, self.folder());
        address.map_err(|error| error.in_file(self.file.as_deref()))
    }

    /// The same of a store that is to be opened, which makes a file and no folder but `data`.
    ///
    /// # Errors
    /// As [`Self::store_address`], and when the folder of a file is not there.
    pub(crate) fn store_to_open(&self, data: &Path) -> Result<StoreAddress, ConfigError> {
        let address = self.store_address(data)?;
        let folder = match &address {
            StoreAddress::Sqlite(file) => file.parent(),
            StoreAddress::Postgres(_) => None,
        };
        match folder.filter(|folder| !data.starts_with(folder) && !folder.is_dir()) {
            None => Ok(address),
            Some(missing) => Err(self.missing("store.url", "folder ", missing)),
        }
    }

    /// The token for the billing half.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the variable or file that fails.
    pub(crate) fn billing_token(&self) -> Result<SecretString, ConfigError> {
        let token = self.settings.billing.token(self.folder());
        token.map_err(|error| error.in_file(self.file.as_deref()))
    }

    /// Reads what a start reads beside the configuration, but for the store, and keeps nothing of
    /// it. Where it names billing elsewhere that is the start of a gateway, which issues nothing.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, and the variable or file that fails.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        self.upstreams()?;
        self.otlp(String::new())?;
        if self.settings.billing.url.is_some() {
            self.billing_token()?;
            return Ok(());
        }
        self.issuer()?;
        self.check_fonts()
    }

    /// # Errors
    /// [`ConfigError::Key`] names what is not there of [`Self::fonts`].
    pub(crate) fn check_fonts(&self) -> Result<(), ConfigError> {
        let missing = self.fonts().into_iter().find(|fonts| !fonts.exists());
        missing.map_or(Ok(()), |fonts| Err(self.missing("issuer.fonts", "", &fonts)))
    }

    fn missing(&self, key: &str, what: &str, path: &Path) -> ConfigError {
        let problem = format!("{what}`{}` is not there", path.display());
        ConfigError::value(key, problem).in_file(self.file.as_deref())
    }

    /// Files and folders of fonts that PDFs are set in.
    pub(crate) fn fonts(&self) -> Vec<PathBuf> {
        self.settings.issuer.fonts(self.folder())
    }

    /// The configuration as TOML that reads back as itself, without any secret.
    ///
    /// # Errors
    /// [`ConfigError::Show`] when a value has no TOML form.
    pub(crate) fn to_toml(&self) -> Result<String, ConfigError> {
        show::to_toml(self)
    }

    /// The configuration as one JSON document, secrets masked.
    ///
    /// # Errors
    /// [`ConfigError::Show`] when a value has no JSON form.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, ConfigError> {
        show::to_json(self)
    }
}

#[cfg(test)]
mod tests;
