//! Prints the effective configuration. A secret is never part of it: the configuration holds the
//! names of variables and files, and this says only that they were readable.

use serde_json::json;

use super::{Config, ConfigError};

/// Stands for a secret that was read.
const MASK: &str = "********";

/// TOML that reads back as itself.
pub(super) fn to_toml(config: &Config) -> Result<String, ConfigError> {
    let show = |error: toml::ser::Error| ConfigError::Show(error.to_string());
    let mut parts = vec![match &config.file {
        Some(path) => format!("# from {}, environment and flags", path.display()),
        None => "# from environment and flags; no configuration file".to_owned(),
    }];
    if config.settings.store.has_password() {
        parts.push(format!("# store: password {MASK}"));
    }
    for upstream in &config.settings.upstream {
        parts.push(format!("# upstream {}: credential {MASK}", upstream.name));
    }
    if !config.prices.is_empty() {
        parts.push(format!("# {} prices of its own", config.prices.len()));
    }
    parts.push(String::new());
    parts.push(toml::to_string_pretty(&config.settings).map_err(show)?);
    Ok(parts.join("\n"))
}

/// One JSON document.
pub(super) fn to_json(config: &Config) -> Result<serde_json::Value, ConfigError> {
    let show = |error: serde_json::Error| ConfigError::Show(error.to_string());
    let mut document = serde_json::to_value(&config.settings).map_err(show)?;
    if config.settings.store.has_password()
        && let Some(store) = document.get_mut("store").and_then(serde_json::Value::as_object_mut)
    {
        store.insert("password".to_owned(), json!(MASK));
    }
    let upstreams = document.get_mut("upstream").and_then(serde_json::Value::as_array_mut);
    for upstream in upstreams.into_iter().flatten() {
        if let Some(upstream) = upstream.as_object_mut() {
            upstream.insert("api_key".to_owned(), json!(MASK));
        }
    }
    if let Some(document) = document.as_object_mut() {
        let prices = serde_json::to_value(&config.prices).map_err(show)?;
        document.insert("price".to_owned(), prices);
        document.insert("file".to_owned(), json!(config.file));
    }
    Ok(document)
}
