//! How a charge's amount came about, as an invoice says it.

use permille_types::PriceVersion;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    charge::{Per, QuoteLine},
    period::Period,
    written::normalized,
};

/// A charge over the quantities of a month: with its terms and these numbers anyone can do it
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppliedCharge {
    /// Which, as the lines that it covers name it.
    pub charge: PriceVersion,
    /// What it is called.
    pub name: String,
    /// The earlier month that it is over; absent for the invoice's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
    /// The part of the month that it is over, where it is not over the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Period>,
    /// What one of the quantity is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
    /// Everything of the month that it covers, also what earlier invoices have billed.
    #[serde(serialize_with = "normalized")]
    pub quantity: Decimal,
    /// How the exact amount comes about; they add up to it.
    pub steps: Vec<QuoteLine>,
    /// The exact amount of `quantity`.
    #[serde(serialize_with = "normalized")]
    pub exact: Decimal,
    /// `exact`, rounded once.
    pub amount: Decimal,
    /// What earlier invoices have billed of it; absent where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_before: Option<Decimal>,
    /// What this invoice bills: `amount` less `billed_before`. The lines that name the charge add
    /// up to it.
    pub billed: Decimal,
    /// The charge itself, in TOML.
    pub terms: String,
}
