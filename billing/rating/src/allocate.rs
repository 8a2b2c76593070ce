//! Dividing a rounded amount among parts so that they add up to it, by largest remainder.
//!
//! Used where rows must show their share of a line's rounded amount (B0), and wherever else a
//! total was rounded before it is split. It never rounds a total itself ([`crate::round`]).

use rust_decimal::Decimal;

use crate::exact;

/// Why an amount cannot be divided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The amount has more decimal places than it is to be divided at.
    #[error(
        "{total} has more than {places} decimal places and cannot be divided at that precision"
    )]
    FinerThanPlaces {
        /// The amount to divide.
        total: Decimal,
        /// The requested precision.
        places: u32,
    },
    /// There are no parts to divide an amount among.
    #[error("{total} cannot be divided among no parts")]
    NoParts {
        /// The amount to divide.
        total: Decimal,
    },
    /// The parts differ too much in size to be compared exactly.
    #[error("dividing {total} among {parts} parts exceeds 38 digits")]
    Overflow {
        /// The amount to divide.
        total: Decimal,
        /// How many parts there were.
        parts: usize,
    },
}

/// Divides `total` among `parts` in whole steps of 10^-`places`, by largest remainder, so that
/// the result adds up to `total` exactly.
///
/// Each part first gets its own exact amount plus its share, by size, of what `total` differs
/// from their sum. These ideal amounts are rounded down (towards zero for same-signed parts), and
/// the steps left over go to the largest remainders, ties in the order given. Parts that are all
/// zero share equally. Dividing `-total` among `-parts` gives the negated result.
///
/// # Errors
/// [`AllocateError`] when there is nothing to divide among, `total` is finer than `places`, or the
/// numbers exceed 38 digits.
pub fn allocate(
    total: Decimal,
    parts: &[Decimal],
    places: u32,
) -> Result<Vec<Decimal>, AllocateError> {
    if parts.is_empty() {
        return if total.is_zero() {
            Ok(Vec::new())
        } else {
            Err(AllocateError::NoParts { total })
        };
    }
    if total.normalize().scale() > places {
        return Err(AllocateError::FinerThanPlaces { total, places });
    }
    let overflow = || AllocateError::Overflow { total, parts: parts.len() };
    let negative = total.is_sign_negative() && !total.is_zero();
    let scale = parts.iter().map(|part| part.normalize().scale()).fold(places, u32::max);
    let sign = if negative { -1 } else { 1 };
    let signed = |value: Decimal| exact::mantissa_at(value, scale)?.checked_mul(sign);

    let weights: Vec<i128> =
        parts.iter().map(|part| signed(*part)).collect::<Option<_>>().ok_or_else(overflow)?;
    let goal = signed(total).ok_or_else(overflow)?;
    let step =
        scale.checked_sub(places).and_then(|p| 10_i128.checked_pow(p)).ok_or_else(overflow)?;
    let steps = divide(goal, step, &weights).ok_or_else(overflow)?;

    steps
        .into_iter()
        .map(|steps| Decimal::try_from_i128_with_scale(steps.checked_mul(sign)?, places).ok())
        .collect::<Option<_>>()
        .ok_or_else(overflow)
}

/// The steps of each weight; all numbers are at the scale of the weights. `None` on overflow.
fn divide(goal: i128, step: i128, weights: &[i128]) -> Option<Vec<i128>> {
    let sum = |numbers: &[i128]| numbers.iter().try_fold(0_i128, |sum, n| sum.checked_add(*n));
    let mut sizes: Vec<i128> = weights.iter().map(|w| w.checked_abs()).collect::<Option<_>>()?;
    let mut size_total = sum(&sizes)?;
    if size_total == 0 {
        sizes.fill(1);
        size_total = sum(&sizes)?;
    }
    let difference = goal.checked_sub(sum(weights)?)?;

    let mut steps = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (place, (weight, size)) in weights.iter().zip(&sizes).enumerate() {
        let share = difference.checked_mul(*size)?;
        let ideal = weight.checked_add(share.checked_div_euclid(size_total)?)?;
        let fraction = share.checked_rem_euclid(size_total)?;
        steps.push(ideal.checked_div_euclid(step)?);
        remainders.push((ideal.checked_rem_euclid(step)?, fraction, place));
    }
    let left_over = goal.checked_div_euclid(step)?.checked_sub(sum(&steps)?)?;
    remainders.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then(a.2.cmp(&b.2)));
    for (_, _, place) in remainders.iter().take(usize::try_from(left_over).ok()?) {
        let steps = steps.get_mut(*place)?;
        *steps = steps.checked_add(1)?;
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    fn decimals<const N: usize>(texts: [&str; N]) -> Vec<Decimal> {
        texts.into_iter().map(decimal).collect()
    }

    #[test]
    fn the_largest_remainders_get_the_steps_left_over() {
        let parts = decimals(["0.334", "0.333", "0.333"]);

        let allocated = allocate(decimal("1.00"), &parts, 2).unwrap();

        assert_eq!(allocated, decimals(["0.34", "0.33", "0.33"]));
    }

    #[test]
    fn ties_go_in_the_order_given_and_negation_mirrors() {
        let thirds = decimals(["1", "1", "1"]);

        assert_eq!(allocate(decimal("1"), &thirds, 2).unwrap(), decimals(["0.34", "0.33", "0.33"]));
        let negated = decimals(["-1", "-1", "-1"]);
        assert_eq!(
            allocate(decimal("-1"), &negated, 2).unwrap(),
            decimals(["-0.34", "-0.33", "-0.33"])
        );
    }

    #[test]
    fn a_coupon_spreads_over_fees_in_proportion() {
        // Source: lago-api spec/scenarios/taxes_on_invoice_spec.rb, 1000 cents over four fees.
        let fees = decimals(["100", "50", "30", "20"]);

        assert_eq!(allocate(decimal("10"), &fees, 2).unwrap(), decimals(["5", "2.5", "1.5", "1"]));
    }

    #[test]
    fn parts_that_are_all_zero_share_a_minimum_equally() {
        let parts = decimals(["0", "0", "0"]);

        assert_eq!(allocate(decimal("0.02"), &parts, 2).unwrap(), decimals(["0.01", "0.01", "0"]));
    }

    #[test]
    fn a_correction_beside_usage_keeps_its_own_size() {
        let parts = decimals(["1000.004", "-1000"]);

        assert_eq!(allocate(decimal("0"), &parts, 2).unwrap(), decimals(["1000", "-1000"]));
    }

    #[test]
    fn an_amount_finer_than_its_places_is_refused() {
        let error = allocate(decimal("0.015"), &decimals(["1"]), 2).unwrap_err();

        assert!(matches!(error, AllocateError::FinerThanPlaces { places: 2, .. }));
        assert!(matches!(allocate(Decimal::ONE, &[], 2), Err(AllocateError::NoParts { .. })));
    }
}
