//! Layers the sources and reads them into [`Settings`].

use std::path::{Path, PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Env,
    value::{Dict, Map, Value},
};

use permille_rating::price_book::parse_price_book;
use permille_types::Price;

use super::{Config, ConfigError, DEFAULT_FILE, Overrides, Settings};

/// Every variable of the configuration starts with this.
pub(super) const ENV_PREFIX: &str = "PERMILLE__";
/// Between section and key in a variable's name.
pub(super) const ENV_SEPARATOR: &str = "__";
/// Keys of the configuration that are those of a price file.
const BOOK_KEYS: [&str; 2] = ["price", "holidays"];
/// How errors name the flags.
pub(super) const FLAGS: &str = "command line";

/// Reads every source, later ones over earlier ones.
pub(super) fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let (file, mut table) = match read_file(overrides.file.as_deref())? {
        Some((path, table)) => (Some(path), table),
        None => (None, toml::Table::new()),
    };
    let book: toml::Table = BOOK_KEYS.iter().filter_map(|key| table.remove_entry(*key)).collect();
    let prices = match &file {
        Some(path) if !book.is_empty() => read_prices(path, &book)?,
        _ => Vec::new(),
    };
    let mut figment = Figment::new();
    if let Some(path) = &file {
        figment = figment.merge(Layer::file(path, &table)?);
    }
    figment = figment
        .merge(Env::prefixed(ENV_PREFIX).split(ENV_SEPARATOR))
        .merge(Layer::flags(overrides)?);
    let settings: Settings =
        figment.extract().map_err(|error| ConfigError::from_figment(&error, &figment))?;
    Ok(Config { settings, prices, file })
}

/// The named file, which must exist, or the default one, which may.
fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, toml::Table)>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if named.is_none() && cause.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(cause) => return Err(ConfigError::Read { path, cause }),
    };
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(Some((path, table))),
        Err(error) => {
            let end = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(end).filter(|byte| *byte == b'\n').count() + 1;
            let problem = error.message().replace('\n', ", ");
            Err(ConfigError::Syntax { path, line, problem })
        }
    }
}

/// Hands the price book to its own strict reader: a price must never pass through a float.
fn read_prices(path: &Path, book: &toml::Table) -> Result<Vec<Price>, ConfigError> {
    let text = toml::to_string(book).map_err(|error| ConfigError::Show(error.to_string()))?;
    let origin = path.display().to_string();
    parse_price_book(&text, &origin).map_err(|error| ConfigError::Price(Box::new(error)))
}

/// One source in figment's terms.
struct Layer {
    metadata: Metadata,
    values: Dict,
}

impl Layer {
    fn file(path: &Path, table: &toml::Table) -> Result<Self, ConfigError> {
        let metadata = Metadata::from("configuration file", path);
        Self::new(metadata, Value::serialize(table))
    }

    fn flags(overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut table = toml::Table::new();
        let addresses = [
            ("gateway", overrides.gateway_listen),
            ("console", overrides.console_listen),
            ("metrics", overrides.metrics_listen),
        ];
        for (section, address) in addresses {
            if let Some(address) = address {
                table.insert(section.into(), single("listen", address.to_string()));
            }
        }
        if let Some(url) = &overrides.billing_url {
            table.insert("billing".into(), single("url", url.clone()));
        }
        Self::new(Metadata::named(FLAGS), Value::serialize(&table))
    }

    fn new(metadata: Metadata, value: figment::Result<Value>) -> Result<Self, ConfigError> {
        let value = value.map_err(|error| ConfigError::Show(error.to_string()))?;
        Ok(Self { metadata, values: value.into_dict().unwrap_or_default() })
    }
}

fn single(key: &str, text: String) -> toml::Value {
    toml::Value::Table(toml::Table::from_iter([(key.to_owned(), toml::Value::String(text))]))
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}
