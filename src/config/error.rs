//! What is wrong with which key of which source.

use std::{
    io,
    path::{Path, PathBuf},
};

use figment::{Figment, Source, error::Kind};

use super::load::{ENV_PREFIX, ENV_SEPARATOR, FLAGS};

/// Why there is no effective configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration `{path}`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: not TOML: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key of a source is refused.
    #[error("{origin}: `{key}`: {problem}")]
    Key {
        /// The file, the variable or the command line.
        origin: String,
        /// The dotted key.
        key: String,
        /// What is wrong and what is accepted.
        problem: String,
    },
    /// A provider credential is missing.
    #[error("upstream `{upstream}`: {problem}")]
    Credential {
        /// The upstream.
        upstream: String,
        /// Which variable or file, and what is wrong with it.
        problem: String,
    },
    /// A `[[price]]` entry is refused; the reader of prices names the file and the key.
    #[error(transparent)]
    Price(Box<permille_rating::price_book::PriceBookError>),
    /// The configuration cannot be printed.
    #[error("print the configuration: {0}")]
    Show(String),
}

impl ConfigError {
    /// A refused value, before it is known where it came from.
    pub(super) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Key { origin: String::new(), key: key.into(), problem: problem.into() }
    }

    /// Says where a refused value came from: the variable if there is one, else the file.
    pub(crate) fn in_file(self, file: Option<&Path>) -> Self {
        match self {
            Self::Key { origin, key, problem } if origin.is_empty() => {
                let variable = variable(&key);
                let origin = if std::env::var_os(&variable).is_some() {
                    variable
                } else {
                    file.map_or_else(|| "configuration".to_owned(), |f| f.display().to_string())
                };
                Self::Key { origin, key, problem }
            }
            other => other,
        }
    }

    /// Reads figment's finding: which source, which key, what instead.
    pub(super) fn from_figment(error: &figment::Error, figment: &Figment) -> Self {
        let mut path = error.path.clone();
        let problem = match &error.kind {
            Kind::UnknownField(field, accepted) => {
                push_once(&mut path, field);
                unknown("is not a known key", field, accepted)
            }
            Kind::UnknownVariant(found, accepted) => {
                unknown(&format!("has the unknown value `{found}`"), found, accepted)
            }
            Kind::MissingField(field) => {
                push_once(&mut path, field);
                "is missing".to_owned()
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("has {found}, accepted: {expected}")
            }
            other => other.to_string(),
        };
        let origin = origin(error, figment, &path);
        Self::Key { origin, key: dotted(&path), problem }
    }
}

/// `is not a known key, did you mean `listen`? accepted: listen, …`.
fn unknown(what: &str, found: &str, accepted: &[&str]) -> String {
    let nearest = accepted.iter().min_by_key(|known| strsim::damerau_levenshtein(found, known));
    match nearest {
        Some(nearest) => {
            format!("{what}, did you mean `{nearest}`? accepted: {}", accepted.join(", "))
        }
        None => what.to_owned(),
    }
}

/// Whether a path ends with the field already depends on how deep it lies.
fn push_once(path: &mut Vec<String>, field: &str) {
    if path.last().is_none_or(|last| last != field) {
        path.push(field.to_owned());
    }
}

/// `upstream.0.name` reads as `upstream[0].name`.
fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            text.extend(["[", part, "]"]);
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        }
    }
    text
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    let top = key.split('[').next().unwrap_or(key);
    format!("{ENV_PREFIX}{}", top.to_uppercase().replace('.', ENV_SEPARATOR))
}

/// Where the value at `path` came from. An unknown key is looked up by itself, because its
/// section may be merged from several sources.
fn origin(error: &figment::Error, figment: &Figment, path: &[String]) -> String {
    let plain: Vec<&str> = path
        .iter()
        .map(String::as_str)
        .take_while(|part| !part.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let found = figment.find_metadata(&plain.join("."));
    match found.or(error.metadata.as_ref()) {
        Some(metadata) => match &metadata.source {
            Some(Source::File(path)) => path.display().to_string(),
            _ if metadata.name == FLAGS => FLAGS.to_owned(),
            _ => variable(&plain.join(".")),
        },
        None => "configuration".to_owned(),
    }
}
