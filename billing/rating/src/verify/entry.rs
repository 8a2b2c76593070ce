//! One line of a file of records.

use permille_types::PriceVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A record, its place among those of its month, and the price that was applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The place of the leaf in the tree of its customer and month, from 0.
    pub index: u64,
    /// The price; absent where none was needed, and where the request was held for want of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceVersion>,
    /// Whether it was held for want of a price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The record, byte for byte as it was hashed.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub record: Box<RawValue>,
}
