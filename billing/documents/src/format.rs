//! The forms and languages that a document comes in.

use std::str::FromStr;

use permille_types::DocumentNumber;

use crate::Document;

/// A form of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people who print and send it.
    Pdf,
    /// For people who look at it.
    Html,
    /// One row per line and tax.
    Csv,
    /// The issued text, byte for byte.
    Json,
    /// FinOps FOCUS 1.4 cost and usage rows, as CSV.
    Focus,
    /// UBL 2.1 by EN 16931, the European electronic invoice.
    Ubl,
    /// A journal for hledger.
    Hledger,
    /// A journal for Beancount.
    Beancount,
}

/// The parts that a CSV is broken down into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grain {
    /// The document's own lines and taxes.
    #[default]
    Lines,
    /// The share of each session in each line.
    Sessions,
    /// The share of each request in each line.
    Requests,
}

/// The language of what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese.
    Chinese,
}

/// A name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} `{value}` is not accepted; accepted: {accepted}")]
pub struct UnknownName {
    /// What was asked for.
    pub field: &'static str,
    /// Its name.
    pub value: String,
    /// The names that are known.
    pub accepted: &'static str,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 8] = [
        Self::Pdf,
        Self::Html,
        Self::Csv,
        Self::Json,
        Self::Focus,
        Self::Ubl,
        Self::Hledger,
        Self::Beancount,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Focus => "focus",
            Self::Ubl => "ubl",
            Self::Hledger => "hledger",
            Self::Beancount => "beancount",
        }
    }

    /// Its media type.
    ///
    /// Source: RFC 4180 (CSV with a header), RFC 7303 (XML).
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html; charset=utf-8",
            Self::Csv | Self::Focus => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
            Self::Ubl => "application/xml; charset=utf-8",
            Self::Hledger | Self::Beancount => "text/plain; charset=utf-8",
        }
    }

    /// The name of the file of `document`: letters, digits, `-`, `_` and `.`, whatever its id is.
    #[must_use]
    pub fn file_name(self, document: &Document, grain: Grain) -> String {
        let name = document.number.as_ref().map_or_else(
            || document.id.as_ref().map_or("preview", |id| id.as_str()),
            DocumentNumber::as_str,
        );
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let name: String = name.chars().map(safe).collect();
        let ending = match (self, grain) {
            (Self::Csv, Grain::Lines) => "csv",
            (Self::Csv, Grain::Sessions) => "sessions.csv",
            (Self::Csv, Grain::Requests) => "requests.csv",
            (Self::Focus, _) => "focus.csv",
            (Self::Ubl, _) => "xml",
            (Self::Hledger, _) => "journal",
            (format, _) => format.as_str(),
        };
        format!("{name}.{ending}")
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Ok(match text {
            "pdf" => Self::Pdf,
            "html" => Self::Html,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "focus" => Self::Focus,
            "ubl" => Self::Ubl,
            "hledger" => Self::Hledger,
            "beancount" => Self::Beancount,
            _ => {
                let accepted = "pdf, html, csv, json, focus, ubl, hledger, beancount";
                return Err(UnknownName { field: "format", value: text.to_owned(), accepted });
            }
        })
    }
}

impl FromStr for Grain {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "lines" => Ok(Self::Lines),
            "sessions" => Ok(Self::Sessions),
            "requests" => Ok(Self::Requests),
            _ => {
                let accepted = "lines, sessions, requests";
                Err(UnknownName { field: "detail", value: text.to_owned(), accepted })
            }
        }
    }
}

impl FromStr for Language {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "en" => Ok(Self::English),
            "zh" => Ok(Self::Chinese),
            _ => Err(UnknownName { field: "lang", value: text.to_owned(), accepted: "en, zh" }),
        }
    }
}
