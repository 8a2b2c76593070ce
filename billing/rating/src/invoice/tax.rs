//! Taxes of an invoice: each rate on the rounded net, rounded once (B2).
//!
//! Taxes never compound: two rates are two amounts on one base. Which rates a customer pays is told
//! by the operator; nothing is looked up here.

use permille_types::{Currency, MoneyError};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TaxLine;
use crate::{exact, round::round_money};

/// Most rates of one customer: federal, regional and local ones are three.
pub const TAX_RATES_MAX: usize = 8;
/// Longest name of a tax and longest reason, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Most decimal places of a rate: 9.975 percent has three.
const PERCENT_PLACES_MAX: u32 = 4;

/// How a customer's invoices are taxed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "treatment", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaxTerms {
    /// No tax, and nothing is said of it.
    #[default]
    None,
    /// Each rate on the net.
    Standard {
        /// At least one.
        rates: Vec<TaxRate>,
    },
    /// The customer accounts for the tax: none is charged, and the invoice says so.
    ReverseCharge,
    /// No tax is due.
    Exempt {
        /// Why, as the invoice says it.
        reason: String,
    },
}

/// A tax and its rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxRate {
    /// The tax as it reads on the invoice, such as `VAT`.
    pub name: String,
    /// Its rate in percent, 0 to 100.
    pub percent: Decimal,
}

/// Why terms of taxes are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} `{value}` is not accepted; accepted: {accepted}")]
pub struct TaxError {
    /// Which part.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What would be accepted.
    pub accepted: String,
}

impl TaxTerms {
    /// What all taxes together are on a net amount, in percent.
    #[must_use]
    pub fn percent(&self) -> Decimal {
        match self {
            // Few rates with few places: nothing of their sum is lost.
            Self::Standard { rates } => rates.iter().map(|rate| rate.percent).sum(),
            Self::None | Self::ReverseCharge | Self::Exempt { .. } => Decimal::ZERO,
        }
    }

    /// Whether nothing is said of taxes.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Itself, if it can stand on an invoice.
    ///
    /// # Errors
    /// [`TaxError`] names the part that cannot.
    pub fn checked(self) -> Result<Self, TaxError> {
        match &self {
            Self::None | Self::ReverseCharge => {}
            Self::Exempt { reason } => check_text("tax.reason", reason)?,
            Self::Standard { rates } => check_rates(rates)?,
        }
        Ok(self)
    }

    /// The taxes on `net`, which is rounded: each rate times it, rounded once.
    ///
    /// # Errors
    /// [`MoneyError`] when a product has more than 28 digits.
    pub fn levy(&self, net: Decimal, currency: Currency) -> Result<Vec<TaxLine>, MoneyError> {
        let Self::Standard { rates } = self else { return Ok(Vec::new()) };
        rates
            .iter()
            .map(|rate| {
                let exact = exact::shift_right(exact::mul(net, rate.percent)?, 2)?;
                Ok(TaxLine {
                    name: rate.name.clone(),
                    percent: rate.percent,
                    base: net,
                    amount: round_money(exact, currency),
                })
            })
            .collect()
    }
}

fn check_rates(rates: &[TaxRate]) -> Result<(), TaxError> {
    if rates.is_empty() || rates.len() > TAX_RATES_MAX {
        let (value, accepted) = (rates.len().to_string(), format!("1 to {TAX_RATES_MAX} rates"));
        return Err(TaxError { field: "tax.rates", value, accepted });
    }
    for (place, rate) in rates.iter().enumerate() {
        check_text("tax.name", &rate.name)?;
        if rates.iter().take(place).any(|before| before.name == rate.name) {
            let accepted = "each name once".to_owned();
            return Err(TaxError { field: "tax.name", value: rate.name.clone(), accepted });
        }
        let percent = rate.percent.normalize();
        let in_range = percent >= Decimal::ZERO && percent <= Decimal::ONE_HUNDRED;
        if !in_range || percent.scale() > PERCENT_PLACES_MAX {
            return Err(TaxError {
                field: "tax.percent",
                value: rate.percent.to_string(),
                accepted: format!("0 to 100 with at most {PERCENT_PLACES_MAX} decimal places"),
            });
        }
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str) -> Result<(), TaxError> {
    let blank = text.trim().is_empty();
    if blank || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let accepted = format!("1 to {TEXT_BYTES_MAX} bytes of text on one line");
        return Err(TaxError { field, value: text.to_owned(), accepted });
    }
    Ok(())
}
