//! What a charge costs for a quantity, line by line.

use permille_types::{Currency, MoneyError};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{Charge, ChargeKind, TierPrice, Tiers};
use crate::{exact, round::round_money};

/// Why a quantity has no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The quantity is below zero.
    #[error("quantity {quantity} is negative")]
    NegativeQuantity {
        /// The quantity.
        quantity: Decimal,
    },
    /// The exact amount has too many digits.
    #[error("quote quantity {quantity}")]
    Overflow {
        /// The quantity.
        quantity: Decimal,
        /// The operation that failed.
        #[source]
        cause: MoneyError,
    },
}

/// What a quantity costs. As JSON, every number is a text: `amount` with the currency's minor
/// units, everything else without trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// The amount to pay: `exact`, rounded once.
    pub amount: Decimal,
    /// The sum of the lines.
    #[serde(serialize_with = "normalized")]
    pub exact: Decimal,
    /// Currency of every amount.
    pub currency: Currency,
    /// How the amount comes about. Their amounts are exact and add up to `exact`.
    pub lines: Vec<QuoteLine>,
}

/// One line of a quote: `quantity × unit_price + flat = amount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuoteLine {
    /// What the line is.
    pub kind: LineKind,
    /// The tier from 1; absent on lines that change the amount as a whole.
    #[serde(default)]
    pub tier: Option<u32>,
    /// Units priced by this line; packages on a package charge.
    #[serde(serialize_with = "normalized")]
    pub quantity: Decimal,
    /// Price of one.
    #[serde(serialize_with = "normalized")]
    pub unit_price: Decimal,
    /// Added once.
    #[serde(serialize_with = "normalized")]
    pub flat: Decimal,
    /// The exact amount of the line.
    #[serde(serialize_with = "normalized")]
    pub amount: Decimal,
}

/// What a line of a quote is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// The price of usage.
    Usage,
    /// Taken off by `discount_percent`.
    Discount,
    /// Taken off by `maximum`.
    Maximum,
    /// Added by `minimum`.
    Minimum,
    /// Usage that an allowance or a trial includes: it costs nothing more.
    Included,
    /// What is owed for a month or a part of it.
    Fee,
}

fn normalized<S: Serializer>(value: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&value.normalize())
}

/// What `charge` costs for `quantity` in one period.
///
/// # Errors
/// [`QuoteError`] when the quantity is negative or the exact amount has more than 28 digits.
pub fn quote(charge: &Charge, quantity: Decimal) -> Result<Quote, QuoteError> {
    if quantity.is_sign_negative() && !quantity.is_zero() {
        return Err(QuoteError::NegativeQuantity { quantity });
    }
    exact_quote(charge, quantity).map_err(|cause| QuoteError::Overflow { quantity, cause })
}

fn exact_quote(charge: &Charge, quantity: Decimal) -> Result<Quote, MoneyError> {
    let mut lines = match &charge.kind {
        ChargeKind::Unit { unit } => usage_line(1, quantity, *unit, Decimal::ZERO)?,
        ChargeKind::Package { size, unit, free } => {
            usage_line(1, packages(exact::sub(quantity, *free)?, *size)?, *unit, Decimal::ZERO)?
        }
        ChargeKind::Graduated(tiers) => graduated(tiers, quantity)?,
        ChargeKind::Volume(tiers) => volume(tiers, quantity)?,
    };
    let mut amount = exact::sum(lines.iter().map(|line| line.amount))?;
    let mut adjust = |kind, difference: Decimal| {
        if !difference.is_zero() {
            lines.push(adjustment(kind, difference));
            amount = exact::add(amount, difference)?;
        }
        Ok(amount)
    };
    let mut current = adjust(LineKind::Usage, Decimal::ZERO)?;
    if let Some(percent) = charge.discount_percent {
        let off = exact::shift_right(exact::mul(current, percent)?, 2)?;
        current = adjust(LineKind::Discount, exact::sub(Decimal::ZERO, off)?)?;
    }
    if let Some(maximum) = charge.maximum.filter(|maximum| current > *maximum) {
        current = adjust(LineKind::Maximum, exact::sub(maximum, current)?)?;
    }
    if let Some(minimum) = charge.minimum.filter(|minimum| current < *minimum) {
        current = adjust(LineKind::Minimum, exact::sub(minimum, current)?)?;
    }
    let currency = charge.currency;
    Ok(Quote { amount: round_money(current, currency), exact: current, currency, lines })
}

fn graduated(tiers: &Tiers, quantity: Decimal) -> Result<Vec<QuoteLine>, MoneyError> {
    let mut lines = Vec::new();
    for (place, (above, up_to, price)) in (1..).zip(tiers.spans()) {
        // Zero falls in the first tier, anything else in the tiers that it reaches into.
        if quantity <= above && place > 1 {
            break;
        }
        let top = up_to.map_or(quantity, |up_to| up_to.min(quantity));
        let inside = exact::sub(top, above)?;
        lines.extend(usage_line(place, inside, price.unit, price.flat)?);
    }
    Ok(lines)
}

fn volume(tiers: &Tiers, quantity: Decimal) -> Result<Vec<QuoteLine>, MoneyError> {
    let tier = (1..)
        .zip(tiers.spans())
        .find(|(_, (_, up_to, _))| up_to.is_none_or(|up_to| quantity <= up_to));
    match tier {
        Some((place, (_, _, TierPrice { unit, flat }))) => usage_line(place, quantity, unit, flat),
        // The last tier is open, so there is always one.
        None => Ok(Vec::new()),
    }
}

/// Begun packages of `size` in `quantity`; none at or below zero.
fn packages(quantity: Decimal, size: Decimal) -> Result<Decimal, MoneyError> {
    if quantity <= Decimal::ZERO {
        return Ok(Decimal::ZERO);
    }
    let overflow = || MoneyError::Overflow { operation: "quotient", left: quantity, right: size };
    let scale = quantity.scale().max(size.scale());
    let (quantity, size) = exact::mantissa_at(quantity, scale)
        .zip(exact::mantissa_at(size, scale))
        .ok_or_else(overflow)?;
    let whole = quantity.checked_div(size).ok_or_else(overflow)?;
    let begun = i128::from(quantity.checked_rem(size).ok_or_else(overflow)? != 0);
    whole.checked_add(begun).and_then(|count| exact::fit(count, 0)).ok_or_else(overflow)
}

/// The line of a tier; none when nothing is counted and nothing costs.
fn usage_line(
    tier: u32,
    quantity: Decimal,
    unit_price: Decimal,
    flat: Decimal,
) -> Result<Vec<QuoteLine>, MoneyError> {
    if quantity.is_zero() && flat.is_zero() {
        return Ok(Vec::new());
    }
    let amount = exact::add(exact::mul(quantity, unit_price)?, flat)?;
    let kind = LineKind::Usage;
    Ok(vec![QuoteLine { kind, tier: Some(tier), quantity, unit_price, flat, amount }])
}

pub(crate) fn adjustment(kind: LineKind, amount: Decimal) -> QuoteLine {
    QuoteLine {
        kind,
        tier: None,
        quantity: Decimal::ZERO,
        unit_price: Decimal::ZERO,
        flat: amount,
        amount,
    }
}
