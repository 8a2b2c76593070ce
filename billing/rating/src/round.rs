//! The one place where money is rounded (B2): half away from zero, once per invoice line.
//!
//! Also the conversion to the integers of ledger postings, 10⁻⁹ of a currency unit. Rounding
//! anywhere else in the workspace is a defect: sums and products before this point are exact, and
//! dividing a rounded amount ([`crate::allocate`]) moves whole steps.

use permille_types::Currency;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::exact;

/// Decimal places of a ledger posting: 10⁻⁹ of the currency unit holds a single token at the
/// smallest listed price without loss (0.000003 per thousand is 3 nano-units per token).
pub const NANO_PLACES: u32 = 9;

/// Why an amount has no rounded form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// The amount does not fit a posting.
    #[error("{amount} is more than a ledger posting can hold (about 9.2 billion units)")]
    PostingOverflow {
        /// The amount.
        amount: Decimal,
    },
}

/// Decimal places of the currency's minor unit: 2 for CNY and USD, 0 for JPY.
#[must_use]
pub fn minor_places(currency: Currency) -> u32 {
    currency.exponent().map_or(0, u32::from)
}

/// `amount` rounded to the currency's minor unit, half away from zero.
///
/// The result always carries the minor unit's decimal places: `7` CNY is `7.00`.
///
/// Source: EN 16931 practice (amounts at two decimals, commercial rounding).
#[must_use]
pub fn round_money(amount: Decimal, currency: Currency) -> Decimal {
    let places = minor_places(currency);
    let mut rounded = half_away(amount, places);
    rounded.rescale(places);
    rounded
}

/// `amount` in 10⁻⁹ of its currency unit, rounded half away from zero.
///
/// # Errors
/// [`RoundError::PostingOverflow`] above about 9.2 billion units.
pub fn to_nano(amount: Decimal) -> Result<i64, RoundError> {
    exact::mantissa_at(half_away(amount, NANO_PLACES), NANO_PLACES)
        .and_then(|nano| i64::try_from(nano).ok())
        .ok_or(RoundError::PostingOverflow { amount })
}

/// The amount that a posting of `nano` stands for, exact.
#[must_use]
pub fn from_nano(nano: i64) -> Decimal {
    // A scale of 9 is valid for every mantissa, so the fallback is never taken.
    Decimal::try_new(nano, NANO_PLACES).unwrap_or_default().normalize()
}

/// Significant digits of an exchange rate that was not stated: three more than central banks state.
const RATE_DIGITS: u32 = 9;

/// A rate that follows from others, half away from zero. It is a factor, no amount: what it is
/// multiplied with stays exact.
pub(crate) fn round_rate(rate: Decimal) -> Option<Decimal> {
    let strategy = RoundingStrategy::MidpointAwayFromZero;
    rate.round_sf_with_strategy(RATE_DIGITS, strategy).map(|rate| rate.normalize())
}

fn half_away(amount: Decimal, places: u32) -> Decimal {
    let rounded = amount.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    // A tiny negative amount must not become a zero with a minus sign on an invoice.
    if rounded.is_zero() { Decimal::ZERO } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    #[test]
    fn halves_go_away_from_zero() {
        for (amount, cny) in [
            ("0.005", "0.01"),
            ("-0.005", "-0.01"),
            ("0.0049999999999999999999999999", "0.00"),
            ("2.675", "2.68"),
            ("17.9699999999999988631316", "17.97"),
            ("0.01999999999999999872", "0.02"),
        ] {
            assert_eq!(round_money(decimal(amount), Currency::CNY).to_string(), cny, "{amount}");
        }
    }

    #[test]
    fn a_rounded_amount_carries_the_places_of_its_currency() {
        assert_eq!(round_money(decimal("47.34075"), Currency::USD).to_string(), "47.34");
        assert_eq!(round_money(decimal("47.34075"), Currency::JPY).to_string(), "47");
        assert_eq!(round_money(decimal("7"), Currency::CNY).to_string(), "7.00");
        assert_eq!(round_money(decimal("-0.001"), Currency::CNY).to_string(), "0.00");
    }

    #[test]
    fn one_token_at_the_smallest_listed_price_is_whole_nano_units() {
        assert_eq!(to_nano(decimal("0.000000003")).unwrap(), 3);
        assert_eq!(from_nano(3), decimal("0.000000003"));
    }

    #[test]
    fn a_posting_rounds_half_away_from_zero_and_overflows_loudly() {
        assert_eq!(to_nano(decimal("0.0000000005")).unwrap(), 1);
        assert_eq!(to_nano(decimal("-0.0000000005")).unwrap(), -1);
        assert!(to_nano(decimal("9223372036.9")).is_err());
    }
}
