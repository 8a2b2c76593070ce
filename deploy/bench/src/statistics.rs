//! Percentiles, medians and fixed-point text, all over integers: a figure that is printed is the
//! figure that was measured, and no rounding hides in a conversion.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where most requests, nearly all and the slowest of a hundred lie. Unit: microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "a unit is part of a name")]
pub(crate) struct Percentiles {
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
}

impl Percentiles {
    /// Of these times; `None` when there are none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        Some(Self {
            p50_us: micros(percentile(&times, 50)?),
            p90_us: micros(percentile(&times, 90)?),
            p99_us: micros(percentile(&times, 99)?),
        })
    }
}

/// The value at or below which `percent` of `sorted` lie, by nearest rank: always one of them.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: impl IntoIterator<Item = i64>) -> Option<i64> {
    let mut sorted: Vec<i64> = values.into_iter().collect();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(middle.checked_sub(1)?)?;
    Some(i64::midpoint(lower, upper))
}

/// A duration as a whole number of microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// `amount` for each 1,000 of `count`; `None` when there is none of them.
pub(crate) fn per_thousand(amount: u64, count: u64) -> Option<u64> {
    amount.checked_mul(1_000)?.checked_div(count)
}

/// `part ÷ whole` in hundredths, rounded; `None` when there is nothing to compare with.
pub(crate) fn ratio_hundredths(part: i64, whole: i64) -> Option<i64> {
    (whole > 0).then(|| (part * 100 + whole / 2) / whole)
}

/// `value` × 10^-`scale` with `places` decimals (at most `scale`), rounded half away from zero.
pub(crate) fn fixed(value: i64, scale: u8, places: u8) -> String {
    let dropped = 10_u64.pow(u32::from(scale.saturating_sub(places)));
    let shown = (value.unsigned_abs() + dropped / 2) / dropped;
    let sign = if value < 0 && shown > 0 { "-" } else { "" };
    let unit = 10_u64.pow(u32::from(places));
    let width = usize::from(places);
    if width == 0 {
        return format!("{sign}{shown}");
    }
    format!("{sign}{}.{:0width$}", shown / unit, shown % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_one_of_the_values_measured() {
        let of_hundred = Percentiles::of(millis((1..=100).rev())).unwrap();
        let of_one = Percentiles::of(millis([7])).unwrap();
        let of_two = Percentiles::of(millis([1, 2])).unwrap();

        assert_eq!(of_hundred, Percentiles { p50_us: 50_000, p90_us: 90_000, p99_us: 99_000 });
        assert_eq!(of_one, Percentiles { p50_us: 7_000, p90_us: 7_000, p99_us: 7_000 });
        assert_eq!(of_two, Percentiles { p50_us: 1_000, p90_us: 2_000, p99_us: 2_000 });
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median([3, 1, 2]), Some(2));
        assert_eq!(median([4, 1, 3, 2]), Some(2));
        assert_eq!(median([-10, -20]), Some(-15));
        assert_eq!(median([]), None);
    }

    #[test]
    fn nothing_measured_gives_no_figure() {
        assert_eq!(per_thousand(500, 0), None);
        assert_eq!(ratio_hundredths(1, 0), None);
        assert_eq!(per_thousand(30_000, 1_000), Some(30_000));
        assert_eq!(ratio_hundredths(3, 2), Some(150));
        assert_eq!(ratio_hundredths(2, 3), Some(67));
    }

    #[test]
    fn fixed_point_text_rounds_half_away_from_zero_and_keeps_its_sign() {
        assert_eq!(fixed(1_234_567, 6, 4), "1.2346");
        assert_eq!(fixed(-70, 3, 3), "-0.070");
        assert_eq!(fixed(5, 3, 2), "0.01");
        assert_eq!(fixed(-4, 3, 2), "0.00");
        assert_eq!(fixed(150, 2, 2), "1.50");
        assert_eq!(fixed(1_600, 3, 0), "2");
    }
}
