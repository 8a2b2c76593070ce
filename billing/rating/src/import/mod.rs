//! Price lists of others, read into entries of a price book, and what an import would change.
//!
//! Every amount is read from the text of its number, never through a float, and turned into the
//! keys of our own price file: the same strict reader checks it. A list's entry that cannot be
//! read whole is skipped with its reason, not read in part. Amounts that only a slip of the unit
//! explains are refused: too high or too low for a price per million tokens, or digits that a
//! floating point number left behind.
//!
//! It fetches nothing. What is imported is decided by whoever reads the [`Diff`].

mod csv;
mod diff;
mod genai;
mod litellm;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use permille_types::{Price, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use toml::{Table, Value};

pub use diff::{AmountChange, Change, Diff, diff};

use crate::{FieldError, exact, price_book};

/// Lowest amount above zero that is believed of one million tokens, in currency units. The lowest
/// public list price is above 0.001; a price per token read as per million is below.
const PER_MILLION_MIN: Decimal = Decimal::from_parts(1, 0, 0, false, 4);
/// Most significant digits that a listed price has. Arithmetic with floats leaves 16 or 17.
const DIGITS_MAX: usize = 12;

/// A format of price lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `data.json` of pydantic's genai-prices.
    GenaiPrices,
    /// `model_prices_and_context_window.json` of litellm.
    Litellm,
    /// Our own keys as columns: see `docs/rating.md`.
    Csv,
}

/// What a list does not say itself.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// From when on the prices hold.
    pub from: DateTime<Utc>,
    /// Where the list was read, with its date.
    pub source: String,
    /// Whether the list is what is charged, or what the providers take.
    pub side: Side,
    /// Only these providers, as the list names them; all when empty.
    pub providers: Vec<String>,
    /// Only models whose listed name matches one of these globs; all when empty.
    pub models: Vec<String>,
}

/// A list that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Its entries.
    pub prices: Vec<Price>,
    /// What of it is not among them.
    pub skipped: Vec<Skipped>,
    /// Keys that say something of prices and are not read: amounts that no token class stands for,
    /// which stay unpriced, and what makes a price another one, such as a multiplier of a region.
    pub left_out: BTreeSet<String>,
}

/// An entry of a list that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// As the list names it.
    pub model: String,
    /// Why.
    pub reason: String,
}

/// Why a list cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not the JSON of its format.
    #[error("read price list")]
    Json(#[source] serde_json::Error),
    /// A line of a CSV file is refused.
    #[error("read price list, line {line}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        cause: FieldError,
    },
}

/// Reads the list `text`.
///
/// # Errors
/// [`ImportError`] when it is not of that format.
pub fn import(
    format: Format,
    text: &str,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    match format {
        Format::GenaiPrices => genai::read(text, options),
        Format::Litellm => litellm::read(text, options),
        Format::Csv => csv::read(text, options),
    }
}

/// Amounts by the keys of our price file: per million tokens, units each.
type Amounts = BTreeMap<&'static str, Decimal>;

/// Why an entry is skipped that has both.
const LENGTH_AND_TIME: &str = "has prices by length and by time at once";

/// `amounts` with those of `own` instead, where there are such. Reasoning is output: it never keeps
/// a price that output has left.
fn with(amounts: &Amounts, own: &Amounts) -> Amounts {
    let mut all = amounts.clone();
    if own.contains_key("output") {
        all.remove("reasoning");
    }
    all.extend(own.iter().map(|(class, amount)| (*class, *amount)));
    all
}

/// An entry of a list in our words.
#[derive(Debug)]
struct Entry {
    provider: String,
    models: Vec<String>,
    amounts: Amounts,
    /// Conditions, as our price file writes them, and what then holds instead.
    bands: Vec<(Table, Amounts)>,
}

impl Imported {
    /// Takes an entry, or notes why not.
    fn take(&mut self, listed: &str, entry: Result<Entry, String>, options: &ImportOptions) {
        let prices = entry.and_then(|entry| entry.prices(options).map_err(|e| e.to_string()));
        match prices {
            Ok(prices) => {
                for price in prices {
                    let taken = self.prices.iter().any(|other| {
                        other.model == price.model && other.provider == price.provider
                    });
                    if taken {
                        let reason = format!("`{}` is listed twice", price.model);
                        self.skip(listed, reason);
                    } else {
                        self.prices.push(price);
                    }
                }
            }
            Err(reason) => self.skip(listed, reason),
        }
    }

    fn skip(&mut self, model: &str, reason: impl Into<String>) {
        self.skipped.push(Skipped { model: model.to_owned(), reason: reason.into() });
    }
}

impl ImportOptions {
    fn wants(&self, provider: &str, model: &str) -> bool {
        let named = |pattern: &String| price_book::names(pattern, model);
        (self.providers.is_empty() || self.providers.iter().any(|wanted| wanted == provider))
            && (self.models.is_empty() || self.models.iter().any(named))
    }
}

impl Entry {
    fn prices(self, options: &ImportOptions) -> Result<Vec<Price>, FieldError> {
        let listed = ["input", "output"].into_iter().filter_map(|class| self.amounts.get(class));
        if listed.clone().next().is_some() && listed.clone().all(Decimal::is_zero) {
            let reason = "is listed at 0, which may mean free or unknown: add it by hand";
            return Err(FieldError::invalid("input", reason));
        }
        let mut table = written(&self.amounts)?;
        table.insert("provider".to_owned(), self.provider.into());
        table.insert("model".to_owned(), self.models.into());
        table.insert("currency".to_owned(), "USD".into());
        table.insert("per".to_owned(), "1m_tokens".into());
        insert_options(&mut table, options)?;
        let mut bands = Vec::new();
        for (when, amounts) in self.bands {
            let mut band = written(&amounts)?;
            band.insert("when".to_owned(), Value::Table(when));
            bands.push(Value::Table(band));
        }
        if !bands.is_empty() {
            table.insert("band".to_owned(), Value::Array(bands));
        }
        price_book::read_entry(&table)
    }
}

/// Adds what the list does not say.
fn insert_options(table: &mut Table, options: &ImportOptions) -> Result<(), FieldError> {
    let from = options.from.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let from = from
        .parse::<toml::value::Datetime>()
        .map_err(|cause| FieldError::invalid("from", cause.to_string()))?;
    table.insert("from".to_owned(), Value::Datetime(from));
    table.insert("source".to_owned(), options.source.clone().into());
    if options.side == Side::Cost {
        table.insert("side".to_owned(), "cost".into());
    }
    Ok(())
}

/// The amounts as a price file has them, those beyond belief refused.
fn written(amounts: &Amounts) -> Result<Table, FieldError> {
    let mut table = Table::new();
    for (key, amount) in amounts {
        let digits = amount.normalize().mantissa().unsigned_abs().to_string().len();
        if digits > DIGITS_MAX {
            let reason = format!("{amount} has {digits} digits: the remains of a float");
            return Err(FieldError::invalid(key, reason));
        }
        if *key != "requests" && *amount > Decimal::ZERO && *amount < PER_MILLION_MIN {
            let reason = format!(
                "{amount} per 1m_tokens is below {PER_MILLION_MIN}: probably a price per token \
                 or per 1k_tokens read as per 1m_tokens"
            );
            return Err(FieldError::invalid(key, reason));
        }
        table.insert((*key).to_owned(), amount.normalize().to_string().into());
    }
    Ok(table)
}

/// The exact value of a JSON number, times 10^`places`. `None` when `text` is none, or has more
/// digits than fit.
fn number(text: &str, places: i32) -> Option<Decimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = Decimal::from_str_exact(mantissa).ok()?.normalize();
    let exponent = exponent.parse::<i32>().ok()?.checked_add(places)?;
    let scale = i32::try_from(mantissa.scale()).ok()?.checked_sub(exponent)?;
    if let Ok(scale) = u32::try_from(scale) {
        return exact::fit(mantissa.mantissa(), scale);
    }
    let power = 10_i128.checked_pow(scale.unsigned_abs())?;
    exact::fit(mantissa.mantissa().checked_mul(power)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_number_is_read_to_its_last_digit() {
        for (text, places, value) in [
            ("2.5e-06", 6, "2.5"),
            ("1e-05", 6, "10"),
            ("0.0000028", 6, "2.8"),
            ("3", 0, "3"),
            ("1.25E+2", 0, "125"),
            ("0.0", 6, "0"),
        ] {
            assert_eq!(number(text, places).unwrap().to_string(), value, "{text}");
        }
        for text in ["\"1\"", "true", "1e", "1e99", "null"] {
            assert_eq!(number(text, 0), None, "{text}");
        }
    }
}
