//! `[otlp]`: what is checked beyond its types, and its secret.

use std::path::Path;

use permille_proxy::config::{OtlpConfig, OtlpSection};

use super::{
    ConfigError,
    sections::{check_url, read_secret},
};

/// # Errors
/// [`ConfigError::Key`] names the key and what is accepted.
pub(super) fn check(section: &OtlpSection) -> Result<(), ConfigError> {
    check_url("otlp.endpoint", &section.endpoint)?;
    match section.problem() {
        Some((key, problem)) => Err(ConfigError::value(format!("otlp.{key}"), problem)),
        None => Ok(()),
    }
}

/// Reads the headers for the collector; relative files lie beside the configuration file.
///
/// # Errors
/// [`ConfigError::Key`] names the variable or file that fails.
pub(super) fn read(
    section: &OtlpSection,
    folder: Option<&Path>,
    instance: String,
) -> Result<OtlpConfig, ConfigError> {
    let has_headers = section.headers_env.is_some() || section.headers_file.is_some();
    let headers = has_headers.then(|| {
        read_secret(
            ("headers_env", section.headers_env.as_deref()),
            ("headers_file", section.headers_file.as_deref()),
            folder,
        )
        .map_err(|problem| ConfigError::value("otlp", problem))
    });
    Ok(OtlpConfig {
        section: section.clone(),
        headers: headers.transpose()?,
        instance,
        version: env!("CARGO_PKG_VERSION"),
    })
}
