//! Prices: what one thousand tokens of each class cost, for which models, from when until when.
//! Choosing a price and computing a cost live in `permille-rating`.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc, Weekday};
use chrono_tz::Tz;
use iso_currency::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CustomerId, DayWindow, PricePerThousand, PriceVersion, TokenClass, TokenCount, Unit};

/// One entry of the price book: prices of the models that match, over `[from, until)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Names this entry on every row that it priced (B3).
    pub version: PriceVersion,
    /// Whose own price this is; absent when it is everyone's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Whether it is charged, or what the provider takes.
    #[serde(default, skip_serializing_if = "Side::is_sale")]
    pub side: Side,
    /// Exact model name, or a glob such as `gpt-4o-2024-*`.
    pub model: String,
    /// Who lists this price; absent when it holds for any provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Currency of every amount in this entry.
    #[schemars(with = "crate::schema::CurrencyCode")]
    pub currency: Currency,
    /// First instant at which the price holds.
    pub from: DateTime<Utc>,
    /// First instant at which it no longer holds; absent while open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Where the price was read, with its date.
    pub source: String,
    /// The prices outside every band.
    pub rates: Rates,
    /// Bands in order; the first whose condition holds replaces `rates` for the whole request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<Band>,
    /// How it follows from another price; then it has no amounts of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<Relative>,
    /// Which two entries it was derived from; absent on what was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
}

/// Who takes the amount of a price.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It is what customers are charged.
    #[default]
    Sale,
    /// It is what the provider takes.
    Cost,
}

impl Side {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
    fn is_sale(&self) -> bool {
        *self == Self::Sale
    }
}

/// A price as a percentage of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relative {
    /// Taken off the list price, 0 to 100.
    DiscountPercent(Decimal),
    /// Put on the cost, or on the list price where no cost is entered.
    MarkupPercent(Decimal),
}

/// Where a derived price comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// The price with the amounts.
    pub of: PriceVersion,
    /// The entry with the percentage.
    pub by: PriceVersion,
}

/// Prices by token class and by unit. A class without a price is unpriced, not free (B4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Price per thousand tokens.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_thousand: BTreeMap<TokenClass, PricePerThousand>,
    /// Price per single unit, as a decimal string.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_unit: BTreeMap<Unit, Decimal>,
}

/// Prices that replace the others when a condition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// When the band applies.
    pub when: Condition,
    /// What then holds instead.
    pub rates: Rates,
}

/// When a band applies. Every given part must hold. Everything it asks is on the usage row or
/// written out here, so that the price alone says what a row costs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Input tokens of the request strictly above this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_total_over: Option<TokenCount>,
    /// The service tier that served the request, such as `flex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Whether the request was a batch one: its service tier is `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<bool>,
    /// The region of the upstream that served the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Windows of the day, any of which holds the request's admission.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<DayWindow>,
    /// Days of the week, any of which is the admission's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekday>,
    /// Dates on which the band does not apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_holidays: Vec<NaiveDate>,
    /// Whose wall clock hours, days and dates are read from; absent is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::TimeZone>")]
    pub time_zone: Option<Tz>,
}
