//! Costs as Parquet's decimals: 38 digits, 20 of them after the point, which every reader takes.

use rust_decimal::Decimal;

/// Digits of a cost. Readers with 128 bits take at most so many.
///
/// Source: Apache Parquet, "Logical Types", DECIMAL.
pub(crate) const PRECISION: i32 = 38;
/// Digits after the point: a price of seventeen decimals per thousand tokens.
pub(crate) const SCALE: u32 = 20;
/// Bytes of one: 38 digits and a sign.
pub(crate) const BYTES: i32 = 16;
/// 10^20 of them are one.
const UNIT: u128 = 10_u128.pow(SCALE);
/// 10^38: what has more digits is no such decimal.
const LIMIT: u128 = 10_u128.pow(38);

/// `cost` in units of 10^-20, if it has no smaller part and no more than 38 digits.
pub(crate) fn scaled(cost: Decimal) -> Option<i128> {
    let cost = cost.normalize();
    let shift = SCALE.checked_sub(cost.scale())?;
    let scaled = cost.mantissa().checked_mul(10_i128.checked_pow(shift)?)?;
    (scaled.unsigned_abs() < LIMIT).then_some(scaled)
}

/// The decimal text of so many units of 10^-20, without trailing zeros.
pub(crate) fn text(scaled: i128) -> String {
    let units = scaled.unsigned_abs();
    let whole = units.checked_div(UNIT).unwrap_or_default();
    let part = units.checked_rem(UNIT).unwrap_or_default();
    let sign = if scaled < 0 { "-" } else { "" };
    let part = format!("{part:020}");
    match part.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        part => format!("{sign}{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_kept_to_the_last_digit_or_refused() {
        for exact in ["0", "0.012", "-3.5", "123456789012345678", "0.00000000000000000001"] {
            let cost = Decimal::from_str_exact(exact).unwrap();

            assert_eq!(text(scaled(cost).unwrap()), exact);
        }
        for refused in ["0.000000000000000000001", "1000000000000000000"] {
            assert_eq!(scaled(Decimal::from_str_exact(refused).unwrap()), None, "{refused}");
        }
        let trailing = Decimal::from_str_exact("1.5000000000000000000000").unwrap();
        assert_eq!(scaled(trailing).map(text).unwrap(), "1.5");
    }
}
