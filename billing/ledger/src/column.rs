//! How values are stored: times as microseconds, decimals and ids as text, flags as 0 and 1.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use permille_rating::exact;
use permille_types::{KeyHash, RequestId};
use rust_decimal::Decimal;
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

use crate::LedgerError;

pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

pub(crate) fn instant(column: &'static str, micros: i64) -> Result<DateTime<Utc>, LedgerError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| LedgerError::corrupt(column, &micros))
}

/// `at` at the precision that is stored: what is rated now and what is read later are the same.
pub(crate) fn stored_instant(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

/// A stored text as what it stands for: an id, a currency, a time zone, a decimal.
/// A text as the store gives it back: see [`crate::sql`].
pub(crate) fn stored_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(crate) fn parsed<T: FromStr>(column: &'static str, text: &str) -> Result<T, LedgerError> {
    text.parse().map_err(|_| LedgerError::corrupt(column, text))
}

pub(crate) fn decimal(column: &'static str, text: &str) -> Result<Decimal, LedgerError> {
    Decimal::from_str_exact(text).map_err(|_| LedgerError::corrupt(column, text))
}

/// The one text of a decimal: no trailing zeros.
pub(crate) fn decimal_text(value: Decimal) -> String {
    value.normalize().to_string()
}

pub(crate) fn number<T, F>(column: &'static str, value: F) -> Result<T, LedgerError>
where
    F: Copy + ToString,
    T: TryFrom<F>,
{
    T::try_from(value).map_err(|_| LedgerError::corrupt(column, &value))
}

/// A count that must fit the store's 63 bits.
pub(crate) fn stored_count(field: &'static str, value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value).map_err(|_| LedgerError::invalid(field, &value, "at most 2^63 - 1"))
}

/// A stored word as the enum variant that it names.
pub(crate) fn word<T: DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, LedgerError> {
    let word: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(word).map_err(|_| LedgerError::corrupt(column, text))
}

pub(crate) fn json<T: DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|_| LedgerError::corrupt(column, text))
}

pub(crate) fn to_json<T: Serialize + ?Sized>(
    what: &'static str,
    value: &T,
) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|cause| LedgerError::Json { what, cause })
}

pub(crate) fn digest(column: &'static str, bytes: &[u8]) -> Result<KeyHash, LedgerError> {
    <[u8; 32]>::try_from(bytes)
        .map(KeyHash::new)
        .map_err(|_| LedgerError::corrupt(column, "(a digest of another length)"))
}

/// The 16 bytes of a request's id. They are in the order of its text.
pub(crate) fn request(id: RequestId) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

/// A request's id as its 16 bytes.
pub(crate) fn request_id(column: &'static str, bytes: &[u8]) -> Result<RequestId, LedgerError> {
    RequestId::from_bytes(bytes)
        .ok_or_else(|| LedgerError::corrupt(column, "(an id of another length)"))
}

/// The sum of two counts.
pub(crate) fn add_count(what: &'static str, left: i64, right: i64) -> Result<i64, LedgerError> {
    left.checked_add(right).ok_or(LedgerError::Count { what, left, right })
}

/// The exact sum, or an error where the library would round digits away in silence.
pub(crate) fn exact_add(
    what: &'static str,
    left: Decimal,
    right: Decimal,
) -> Result<Decimal, LedgerError> {
    exact::add(left, right).map_err(|cause| LedgerError::Amount { what, cause })
}

/// The amount with the other sign. Nothing can be lost here; zero has no sign.
pub(crate) fn negated(mut amount: Decimal) -> Decimal {
    amount.set_sign_negative(!amount.is_zero() && amount.is_sign_positive());
    amount
}

/// The exact difference, or an error where the library would round digits away in silence.
pub(crate) fn exact_sub(
    what: &'static str,
    left: Decimal,
    right: Decimal,
) -> Result<Decimal, LedgerError> {
    exact_add(what, left, negated(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_would_lose_a_digit_is_an_error() {
        let large = Decimal::from_str_exact("12345678901234567890").unwrap();
        let small = Decimal::from_str_exact("0.000000000000001").unwrap();

        assert!(large.checked_add(small).is_some());
        assert!(exact_add("a test", large, small).is_err());
        assert_eq!(exact_add("a test", large, Decimal::ONE).unwrap(), large + Decimal::ONE);
    }

    #[test]
    fn equal_decimals_have_one_text() {
        for text in ["1.50", "1.5", "1.5000"] {
            assert_eq!(decimal_text(Decimal::from_str_exact(text).unwrap()), "1.5");
        }
        assert_eq!(decimal_text(Decimal::from_str_exact("0.000").unwrap()), "0");
    }
}
