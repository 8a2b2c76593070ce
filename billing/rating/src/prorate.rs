//! Proration: the share of an amount that a part of a period bears, to the second, rounded once.

use permille_types::{Currency, MoneyError};
use rust_decimal::Decimal;

use crate::{
    exact,
    period::Period,
    round::{minor_places, round_money},
};

/// `amount × seconds of part ÷ seconds of whole`, rounded once, half away from zero.
///
/// The seconds are those that pass, so that a month in which the clock is set back has 3,600 more:
/// the parts of a month follow the customer's clock and add up to the whole of it.
///
/// # Errors
/// [`MoneyError`] when the numbers exceed 38 digits.
pub fn prorate(
    amount: Decimal,
    part: Period,
    whole: Period,
    currency: Currency,
) -> Result<Decimal, MoneyError> {
    let of = seconds(whole);
    if seconds(part) == of {
        return Ok(round_money(amount, currency));
    }
    let places = minor_places(currency);
    let overflow = || MoneyError::Overflow {
        operation: "share",
        left: amount,
        right: Decimal::from(seconds(part)),
    };
    let scale = amount.normalize().scale().max(places);
    let mantissa = exact::mantissa_at(amount, scale).ok_or_else(overflow)?;
    let share = mantissa.checked_mul(seconds(part).into()).ok_or_else(overflow)?;
    let finer = scale.checked_sub(places).and_then(|places| 10_i128.checked_pow(places));
    let unit = finer.and_then(|finer| finer.checked_mul(of.into())).ok_or_else(overflow)?;
    let rounded = half_away(share, unit).ok_or_else(overflow)?;
    let rounded = exact::fit(rounded, places).ok_or_else(overflow)?;
    Ok(round_money(rounded, currency))
}

/// A count's share of a part of a period, rounded up: the odd token is the customer's.
///
/// # Errors
/// [`MoneyError`] when the share exceeds 64 bits, which it does not for a part inside the whole.
pub fn prorate_count(count: u64, part: Period, whole: Period) -> Result<u64, MoneyError> {
    let (part, whole) = (i128::from(seconds(part)), i128::from(seconds(whole)));
    let up = whole.saturating_sub(1);
    i128::from(count)
        .checked_mul(part)
        .and_then(|share| share.checked_add(up)?.checked_div(whole))
        .and_then(|share| u64::try_from(share).ok())
        .ok_or(MoneyError::Overflow {
            operation: "share",
            left: Decimal::from(count),
            right: Decimal::from(seconds_of(part)),
        })
}

fn seconds_of(seconds: i128) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Whole seconds of a period, at least one.
fn seconds(period: Period) -> i64 {
    period.end.signed_duration_since(period.start).num_seconds().max(1)
}

/// `share ÷ unit`, rounded half away from zero; `unit` is above zero.
fn half_away(share: i128, unit: i128) -> Option<i128> {
    let whole = share.checked_div(unit)?;
    let rest = share.checked_rem(unit)?.checked_abs()?;
    if rest.checked_mul(2)? < unit {
        return Some(whole);
    }
    whole.checked_add(share.signum())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::{America::New_York, Tz};

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn share(amount: &str, part: (&str, &str), whole: Period) -> String {
        let part = Period { start: at(part.0), end: at(part.1) };
        prorate(amount.parse().unwrap(), part, whole, Currency::USD).unwrap().to_string()
    }

    #[test]
    fn a_share_is_to_the_second_and_rounded_once() {
        let november = Period::month("2026-11", Tz::UTC).unwrap();
        let rest = ("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z");

        assert_eq!(share("5", rest, november), "4.83");
        assert_eq!(share("20", rest, november), "19.33");
        assert_eq!(share("-20", rest, november), "-19.33");
        let half = ("2026-11-16T00:00:00Z", "2026-12-01T00:00:00Z");
        assert_eq!(share("0.01", half, november), "0.01", "half a cent goes away from zero");
        let second = ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z");
        assert_eq!(share("2592000", second, november), "1.00");
    }

    #[test]
    fn a_month_with_a_change_of_the_clock_has_the_seconds_that_pass() {
        // The clock goes back on 1 November 2026: that day has 25 hours, the month 721.
        let november = Period::month("2026-11", New_York).unwrap();
        let first = ("2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z");
        let rest = ("2026-11-02T05:00:00Z", "2026-12-01T05:00:00Z");

        assert_eq!(share("721", first, november), "25.00");
        assert_eq!(share("721", rest, november), "696.00");
        // It goes forward on 8 March 2026: 23 of 743 hours.
        let march = Period::month("2026-03", New_York).unwrap();
        assert_eq!(share("743", ("2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"), march), "23.00");
    }

    #[test]
    fn a_count_is_rounded_up() {
        let november = Period::month("2026-11", Tz::UTC).unwrap();
        let third = Period { start: november.start, end: at("2026-11-11T00:00:00Z") };

        assert_eq!(prorate_count(1_000, third, november).unwrap(), 334);
        assert_eq!(prorate_count(u64::MAX, november, november).unwrap(), u64::MAX);
        let overflow = MoneyError::Overflow {
            operation: "share",
            left: Decimal::from(u64::MAX),
            right: Decimal::from(2_592_000),
        };
        assert_eq!(prorate_count(u64::MAX, november, third), Err(overflow), "a part is inside");
    }
}
