//! How exact decimals are written: without zeros that say nothing.

use rust_decimal::Decimal;
use serde::Serializer;

/// A decimal as text without trailing zeros, so that one number has one text.
pub(crate) fn normalized<S: Serializer>(value: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&value.normalize())
}

/// The same of one that may be absent.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(crate) fn normalized_option<S: Serializer>(
    value: &Option<Decimal>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => normalized(value, s),
        None => s.serialize_none(),
    }
}
