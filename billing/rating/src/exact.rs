//! Decimal arithmetic that is exact or an error.
//!
//! `rust_decimal`'s own `checked_mul` and `checked_add` return `None` only when the whole part
//! overflows: digits beyond the 28th are rounded away in silence. Money is rounded in
//! [`crate::round`] and nowhere else, so every product and sum of money is made here.

use permille_types::MoneyError;
use rust_decimal::Decimal;

/// `left × right`, normalized.
///
/// # Errors
/// [`MoneyError::Overflow`] where a digit would be lost.
pub fn mul(left: Decimal, right: Decimal) -> Result<Decimal, MoneyError> {
    let (a, b) = (left.normalize(), right.normalize());
    a.mantissa()
        .checked_mul(b.mantissa())
        .zip(a.scale().checked_add(b.scale()))
        .and_then(|(mantissa, scale)| fit(mantissa, scale))
        .ok_or(MoneyError::Overflow { operation: "product", left, right })
}

/// `left + right`, normalized.
///
/// # Errors
/// [`MoneyError::Overflow`] where a digit would be lost.
pub fn add(left: Decimal, right: Decimal) -> Result<Decimal, MoneyError> {
    let (a, b) = (left.normalize(), right.normalize());
    let scale = a.scale().max(b.scale());
    mantissa_at(a, scale)
        .zip(mantissa_at(b, scale))
        .and_then(|(a, b)| a.checked_add(b))
        .and_then(|mantissa| fit(mantissa, scale))
        .ok_or(MoneyError::Overflow { operation: "sum", left, right })
}

/// `left − right`, normalized.
///
/// # Errors
/// [`MoneyError::Overflow`] where a digit would be lost.
pub fn sub(left: Decimal, right: Decimal) -> Result<Decimal, MoneyError> {
    let mut negated = right;
    negated.set_sign_positive(right.is_sign_negative());
    add(left, negated)
}

/// The sum of `amounts`, normalized; zero when there are none.
pub(crate) fn sum(amounts: impl IntoIterator<Item = Decimal>) -> Result<Decimal, MoneyError> {
    amounts.into_iter().try_fold(Decimal::ZERO, add)
}

/// `value ÷ 10^places`, normalized: a shift of the decimal point, where a division could round.
pub(crate) fn shift_right(value: Decimal, places: u32) -> Result<Decimal, MoneyError> {
    let normal = value.normalize();
    normal
        .scale()
        .checked_add(places)
        .and_then(|scale| fit(normal.mantissa(), scale))
        .ok_or(MoneyError::Overflow { operation: "shift", left: value, right: places.into() })
}

/// The integer `value × 10^scale`, when it is one and fits.
pub(crate) fn mantissa_at(value: Decimal, scale: u32) -> Option<i128> {
    let value = value.normalize();
    let places = scale.checked_sub(value.scale())?;
    value.mantissa().checked_mul(10_i128.checked_pow(places)?)
}

/// The decimal `mantissa ÷ 10^scale`, normalized, when no digit is lost.
pub(crate) fn fit(mut mantissa: i128, mut scale: u32) -> Option<Decimal> {
    while scale > 0 && mantissa.checked_rem(10)? == 0 {
        mantissa = mantissa.checked_div(10)?;
        scale = scale.checked_sub(1)?;
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    #[test]
    fn a_product_beyond_28_digits_is_an_error_where_the_library_would_round() {
        let price = decimal("0.0199999999999999987210001");
        let quantity = decimal("1234567891");

        assert!(price.checked_mul(quantity).is_some());
        assert!(matches!(mul(price, quantity), Err(MoneyError::Overflow { .. })));
    }

    #[test]
    fn a_sum_that_needs_more_digits_than_fit_is_an_error() {
        let large = decimal("12345678901234567890");
        let small = decimal("0.000000000000001");

        assert!(large.checked_add(small).is_some());
        assert!(add(large, small).is_err());
    }

    #[test]
    fn trailing_zeros_never_cost_a_digit() {
        let price = decimal("0.0000000250000000000000000000");

        assert_eq!(mul(price, decimal("1000000000000")).unwrap(), decimal("25000"));
    }

    #[test]
    fn zero_is_zero_at_any_scale() {
        assert_eq!(mul(decimal("0.000"), decimal("12.5")).unwrap(), Decimal::ZERO);
        assert_eq!(sub(decimal("1.50"), decimal("1.5")).unwrap(), Decimal::ZERO);
        assert!(!sub(decimal("1.50"), decimal("1.5")).unwrap().is_sign_negative());
    }

    #[test]
    fn a_shift_keeps_every_digit() {
        assert_eq!(shift_right(decimal("1.25"), 3).unwrap(), decimal("0.00125"));
        assert!(shift_right(decimal("0.0000000000000000000000000001"), 3).is_err());
    }
}
