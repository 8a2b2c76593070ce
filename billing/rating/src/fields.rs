//! Reads the tables of price and charge files strictly: decimals only from text, no unknown keys.
//!
//! Not a general TOML reader. It exists because money must never pass through a float and because
//! a misspelt key must be refused with its nearest known name instead of being ignored.

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, IdError};
use rust_decimal::Decimal;
use toml::{Table, Value};

/// Why a key of a price or charge file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The key is not known.
    #[error("unknown key `{key}`, {hint}")]
    UnknownKey {
        /// The key found.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A required key is absent.
    #[error("key `{key}` is missing: {expected}")]
    Missing {
        /// The absent key.
        key: String,
        /// What it should say.
        expected: &'static str,
    },
    /// The value has the wrong type.
    #[error("`{key}` is {found}, accepted is {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type found.
        found: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// The text is not a decimal that can be held exactly.
    #[error("`{key}` is \"{text}\", accepted is a decimal of at most 28 digits such as \"0.012\"")]
    NotDecimal {
        /// The key.
        key: String,
        /// The text found.
        text: String,
    },
    /// The value has the right type but makes no sense.
    #[error("`{key}`: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong and what is accepted.
        reason: String,
    },
    /// Described in the documentation, but not built yet: refused, never ignored.
    #[error("`{key}` is not supported yet: {instead}")]
    NotSupported {
        /// The key or value.
        key: String,
        /// What to do instead.
        instead: &'static str,
    },
}

impl FieldError {
    pub(crate) fn invalid(key: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { key: key.to_owned(), reason: reason.into() }
    }
}

const DECIMAL: &str = "a decimal in quotes, such as \"0.012\" (a bare number could lose digits)";

/// One table of a file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Table);

impl<'a> Fields<'a> {
    /// Refuses every key that is not `known`.
    pub(crate) fn refuse_unknown(self, known: &[&str]) -> Result<(), FieldError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(unknown(key, known)),
        }
    }

    pub(crate) fn has(self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn text(self, key: &str) -> Result<Option<&'a str>, FieldError> {
        self.read(key, "a text in quotes", Value::as_str)
    }

    pub(crate) fn required_text(
        self,
        key: &str,
        expected: &'static str,
    ) -> Result<&'a str, FieldError> {
        let text =
            self.text(key)?.ok_or_else(|| FieldError::Missing { key: key.to_owned(), expected })?;
        if text.trim().is_empty() {
            return Err(FieldError::invalid(key, format!("is empty: {expected}")));
        }
        Ok(text)
    }

    /// A decimal that is not negative.
    pub(crate) fn decimal(self, key: &str) -> Result<Option<Decimal>, FieldError> {
        let Some(text) = self.read(key, DECIMAL, Value::as_str)? else { return Ok(None) };
        let value = Decimal::from_str_exact(text)
            .map_err(|_| FieldError::NotDecimal { key: key.to_owned(), text: text.to_owned() })?
            .normalize();
        if value.is_sign_negative() && !value.is_zero() {
            return Err(FieldError::invalid(key, format!("{value} is negative")));
        }
        Ok(Some(value))
    }

    pub(crate) fn integer(self, key: &str) -> Result<Option<u64>, FieldError> {
        let Some(number) = self.read(key, "a whole number", Value::as_integer)? else {
            return Ok(None);
        };
        u64::try_from(number)
            .map(Some)
            .map_err(|_| FieldError::invalid(key, format!("{number} is negative")))
    }

    /// The tables of `[[key]]`; none when the key is absent.
    pub(crate) fn tables(self, key: &str) -> Result<Vec<Self>, FieldError> {
        const EXPECTED: &str = "a list of tables";
        let Some(list) = self.read(key, EXPECTED, Value::as_array)? else { return Ok(Vec::new()) };
        list.iter()
            .map(|value| value.as_table().map(Self).ok_or_else(|| wrong_type(key, value, EXPECTED)))
            .collect()
    }

    pub(crate) fn table(self, key: &str) -> Result<Option<Self>, FieldError> {
        Ok(self.read(key, "a table", Value::as_table)?.map(Self))
    }

    pub(crate) fn read<T>(
        self,
        key: &str,
        expected: &'static str,
        as_type: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        as_type(value).map(Some).ok_or_else(|| wrong_type(key, value, expected))
    }
}

/// The texts of a key that holds one or a list of them; none of them is empty.
pub(crate) fn texts<'a>(
    entry: Fields<'a>,
    key: &str,
    expected: &'static str,
) -> Result<Option<Vec<&'a str>>, FieldError> {
    let texts = match entry.0.get(key) {
        None => return Ok(None),
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().ok_or_else(|| wrong_type(key, text, expected)))
            .collect::<Result<Vec<_>, _>>()?,
        Some(_) => vec![entry.required_text(key, expected)?],
    };
    if texts.is_empty() || texts.iter().any(|text| text.trim().is_empty()) {
        return Err(FieldError::invalid(key, format!("is empty: {expected}")));
    }
    Ok(Some(texts))
}

pub(crate) fn customer(entry: Fields<'_>) -> Result<Option<CustomerId>, FieldError> {
    let parsed = |text: &str| text.parse().map_err(|cause: IdError| (text.to_owned(), cause));
    entry
        .text("customer")?
        .map(parsed)
        .transpose()
        .map_err(|(text, cause)| FieldError::invalid("customer", format!("`{text}`: {cause}")))
}

pub(crate) fn currency(entry: Fields<'_>) -> Result<Currency, FieldError> {
    let code = entry.required_text("currency", "an ISO 4217 code such as CNY")?;
    Currency::from_code(code).filter(|currency| currency.exponent().is_some()).ok_or_else(|| {
        FieldError::invalid("currency", format!("`{code}` is not an ISO 4217 currency with cents"))
    })
}

pub(crate) fn instant(entry: Fields<'_>, key: &str) -> Result<Option<DateTime<Utc>>, FieldError> {
    const EXPECTED: &str = "a date and time with its offset, such as 2026-01-01T00:00:00Z";
    let Some(written) = entry.read(key, EXPECTED, Value::as_datetime)? else {
        return Ok(None);
    };
    DateTime::parse_from_rfc3339(&written.to_string())
        .map(|instant| Some(instant.to_utc()))
        .map_err(|_| FieldError::invalid(key, format!("`{written}` is not {EXPECTED}")))
}

/// The refusal of a value of the wrong type.
pub(crate) fn wrong_type(key: &str, value: &Value, expected: &'static str) -> FieldError {
    let found = match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    FieldError::WrongType { key: key.to_owned(), found, expected }
}

/// The refusal of an unknown key, with the nearest known one where one is near.
pub(crate) fn unknown(key: &str, known: &[&str]) -> FieldError {
    // Half of the key may differ: enough for a typo or a wrong ending, not for another word.
    let near = key.chars().count().div_euclid(2).max(1);
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(key, name), *name))
        .min()
        .filter(|(distance, _)| *distance <= near);
    let hint = match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("accepted are {}", known.join(", ")),
    };
    FieldError::UnknownKey { key: key.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn a_decimal_is_read_from_text_only_and_the_refusal_names_the_key() {
        for text in ["input = 0.012", "input = 1", "input = \"1e-6\"", "input = \"-1\""] {
            let table = table(text);
            let message = Fields(&table).decimal("input").unwrap_err().to_string();
            assert!(message.contains("`input`"), "{message}");
        }
        let table = table("input = \"0.0120\"");
        assert_eq!(Fields(&table).decimal("input").unwrap().unwrap().to_string(), "0.012");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_nearest_known_name() {
        let table = table("outptu = \"1\"");
        let error = Fields(&table).refuse_unknown(&["input", "output"]).unwrap_err();

        assert_eq!(error.to_string(), "unknown key `outptu`, did you mean `output`?");
    }

    #[test]
    fn a_key_like_no_other_is_refused_with_all_accepted_names() {
        let message = unknown("zzzzzz", &["input", "output"]).to_string();

        assert_eq!(message, "unknown key `zzzzzz`, accepted are input, output");
    }
}
