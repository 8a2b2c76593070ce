//! Billing periods and roll-up hours of a customer's time zone, as instants in UTC.
//!
//! Periods are half open, `[start, end)`. A month ends when the customer's wall clock says so:
//! a month of Asia/Shanghai ends eight hours before the month of UTC. No clock is read here.

use chrono::{
    DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc,
};
use chrono_tz::{GapInfo, Tz};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text or instant has no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// The text does not name a month.
    #[error("`{text}` is not a month, accepted is a text such as 2026-11")]
    NotMonth {
        /// The text.
        text: String,
    },
    /// The calendar has no such date.
    #[error("the month of {around} lies outside the calendar")]
    OutOfRange {
        /// Where it was looked for.
        around: String,
    },
}

/// A half-open span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
}

impl Period {
    /// The month that `text` names (`2026-11`), by the wall clock of `tz`.
    ///
    /// # Errors
    /// [`PeriodError`] when the text is not a month of the calendar.
    pub fn month(text: &str, tz: Tz) -> Result<Self, PeriodError> {
        let not_month = || PeriodError::NotMonth { text: text.to_owned() };
        let (year, month) = text.split_once('-').ok_or_else(not_month)?;
        let digits = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) {
            return Err(not_month());
        }
        let first = year
            .parse()
            .ok()
            .zip(month.parse().ok())
            .and_then(|(year, month)| NaiveDate::from_ymd_opt(year, month, 1))
            .ok_or_else(not_month)?;
        Self::month_of(first, tz)
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.start <= at && at < self.end
    }

    /// The month that begins on the local date `first`.
    fn month_of(first: NaiveDate, tz: Tz) -> Result<Self, PeriodError> {
        let out_of_range = || PeriodError::OutOfRange { around: first.to_string() };
        let next = first.checked_add_months(Months::new(1)).ok_or_else(out_of_range)?;
        let start = first_instant(first, tz).ok_or_else(out_of_range)?;
        let end = first_instant(next, tz).ok_or_else(out_of_range)?;
        Ok(Self { start, end })
    }
}

/// The month of `tz` that holds `at`.
///
/// # Errors
/// [`PeriodError::OutOfRange`] beyond the calendar.
pub fn period_of(at: DateTime<Utc>, tz: Tz) -> Result<Period, PeriodError> {
    let out_of_range = || PeriodError::OutOfRange { around: at.to_rfc3339() };
    let local = local_time(at, tz).ok_or_else(out_of_range)?.date();
    let first = local.with_day(1).ok_or_else(out_of_range)?;
    let period = Period::month_of(first, tz)?;
    // Where a clock is set back over midnight on the first, local dates run back into a month
    // that has already ended.
    if at >= period.end {
        return Period::month_of(
            first.checked_add_months(Months::new(1)).ok_or_else(out_of_range)?,
            tz,
        );
    }
    Ok(period)
}

/// The label of the month of `tz` that holds `at`, such as `2026-11`.
///
/// # Errors
/// [`PeriodError::OutOfRange`] beyond the calendar.
pub fn month_label(at: DateTime<Utc>, tz: Tz) -> Result<String, PeriodError> {
    let start = period_of(at, tz)?.start;
    let local =
        local_time(start, tz).ok_or_else(|| PeriodError::OutOfRange { around: at.to_rfc3339() })?;
    Ok(local.format("%Y-%m").to_string())
}

/// Years whose every day has a day before and after it in every zone.
const DAY_YEARS: std::ops::RangeInclusive<i32> = 1..=9_998;

/// The day of `tz` that holds `at`. Every month is a whole number of them.
///
/// # Errors
/// [`PeriodError::OutOfRange`] beyond the calendar.
pub fn day_of(at: DateTime<Utc>, tz: Tz) -> Result<Period, PeriodError> {
    let out_of_range = || PeriodError::OutOfRange { around: at.to_rfc3339() };
    let day = |date: NaiveDate| {
        let start = first_instant(date, tz)?;
        let end = first_instant(date.succ_opt()?, tz)?;
        Some(Period { start, end })
    };
    let date = local_time(at, tz).map(|local| local.date());
    let date = date.filter(|date| DAY_YEARS.contains(&date.year())).ok_or_else(out_of_range)?;
    let period = day(date).ok_or_else(out_of_range)?;
    // Where a clock is set back over midnight, local dates run back into a day that has ended.
    if at >= period.end {
        return date.succ_opt().and_then(day).ok_or_else(out_of_range);
    }
    Ok(period)
}

/// The start of the local hour that holds `at`.
///
/// Hour roll-ups begin at these instants, so that every local month is a whole number of them,
/// also in zones whose offset is not a whole hour. An hour that a change of the clock cuts begins
/// at the change: it is shorter than 60 minutes, and a repeated hour counts as two.
#[must_use]
pub fn hour_start(at: DateTime<Utc>, tz: Tz) -> DateTime<Utc> {
    let floor = floor_to_hour(at, offset_seconds(at, tz));
    if offset_seconds(floor, tz) == offset_seconds(at, tz) {
        return floor;
    }
    last_change(floor, at, tz)
}

/// The instant `days` days after `at` by the wall clock of `tz`: the same time of day, or the end
/// of the gap where a clock that is set forward has none.
#[must_use]
pub fn days_after(at: DateTime<Utc>, days: u32, tz: Tz) -> Option<DateTime<Utc>> {
    let local = at.with_timezone(&tz).naive_local();
    let later = local.checked_add_days(chrono::Days::new(days.into()))?;
    first_instant_of(later, tz)
}

/// `at` rounded down to a whole hour of the wall clock that is `offset` seconds ahead of UTC.
fn floor_to_hour(at: DateTime<Utc>, offset: i64) -> DateTime<Utc> {
    let into_hour = at.timestamp().saturating_add(offset).rem_euclid(3_600);
    let seconds = at.timestamp().saturating_sub(into_hour);
    DateTime::from_timestamp(seconds, 0).unwrap_or(at)
}

/// The first second after `before` from which on the offset is that of `at`, by bisection.
fn last_change(before: DateTime<Utc>, at: DateTime<Utc>, tz: Tz) -> DateTime<Utc> {
    let wanted = offset_seconds(at, tz);
    let (mut low, mut high) = (before.timestamp(), at.timestamp());
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        let same = DateTime::from_timestamp(middle, 0)
            .is_some_and(|instant| offset_seconds(instant, tz) == wanted);
        if same {
            high = middle;
        } else {
            low = middle;
        }
    }
    DateTime::from_timestamp(high, 0).unwrap_or(at)
}

/// What the wall clock says; nothing where it would leave the calendar.
fn local_time(at: DateTime<Utc>, tz: Tz) -> Option<NaiveDateTime> {
    let utc = at.naive_utc();
    utc.checked_add_offset(tz.offset_from_utc_datetime(&utc).fix())
}

fn offset_seconds(at: DateTime<Utc>, tz: Tz) -> i64 {
    i64::from(tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
}

/// The first instant of a local date: midnight, or the end of the gap where there is none.
fn first_instant(date: NaiveDate, tz: Tz) -> Option<DateTime<Utc>> {
    first_instant_of(date.and_time(NaiveTime::MIN), tz)
}

fn first_instant_of(local: chrono::NaiveDateTime, tz: Tz) -> Option<DateTime<Utc>> {
    tz.from_local_datetime(&local)
        .earliest()
        .or_else(|| GapInfo::new(&local, &tz)?.end)
        .map(|instant| instant.to_utc())
}

#[cfg(test)]
mod tests {
    use chrono::Duration;
    use chrono_tz::{
        America::{Asuncion, Havana, New_York, St_Johns},
        Asia::{Kathmandu, Kolkata, Shanghai},
        Australia::Lord_Howe,
    };

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn month(text: &str, tz: Tz) -> (String, String) {
        let period = Period::month(text, tz).unwrap();
        (period.start.to_rfc3339(), period.end.to_rfc3339())
    }

    fn hour(text: &str, tz: Tz) -> String {
        hour_start(at(text), tz).format("%H:%M").to_string()
    }

    #[test]
    fn a_month_ends_when_the_customers_clock_says_so() {
        for (text, tz, start, end) in [
            ("2026-11", Tz::UTC, "2026-11-01T00:00:00+00:00", "2026-12-01T00:00:00+00:00"),
            ("2026-12", Shanghai, "2026-11-30T16:00:00+00:00", "2026-12-31T16:00:00+00:00"),
            ("2026-11", Kolkata, "2026-10-31T18:30:00+00:00", "2026-11-30T18:30:00+00:00"),
            // The clock goes back on 1 November: this month is 721 hours long.
            ("2026-11", New_York, "2026-11-01T04:00:00+00:00", "2026-12-01T05:00:00+00:00"),
            ("2026-10", Lord_Howe, "2026-09-30T13:30:00+00:00", "2026-10-31T13:00:00+00:00"),
        ] {
            assert_eq!(month(text, tz), (start.to_owned(), end.to_owned()), "{text} {tz}");
        }
    }

    #[test]
    fn a_month_whose_first_midnight_does_not_exist_begins_after_the_gap() {
        // In Paraguay the clock jumped from 1 October 2017, 00:00 to 01:00.
        assert_eq!(month("2017-10", Asuncion).0, "2017-10-01T04:00:00+00:00");
        assert_eq!(month("2017-09", Asuncion).1, "2017-10-01T04:00:00+00:00");
    }

    #[test]
    fn a_month_whose_first_midnight_comes_twice_begins_at_the_first() {
        // In Cuba the clock went back from 1 November 2020, 01:00 to 00:00.
        assert_eq!(month("2020-11", Havana).0, "2020-11-01T04:00:00+00:00");
    }

    #[test]
    fn a_clock_set_back_into_the_old_month_stays_in_the_new_period() {
        // In Newfoundland the clock went back from 1 November 2009, 00:01 to 31 October, 23:01.
        let instant = at("2009-11-01T03:00:00Z");
        assert_eq!(instant.with_timezone(&St_Johns).day(), 31);

        assert_eq!(
            period_of(instant, St_Johns).unwrap(),
            Period::month("2009-11", St_Johns).unwrap()
        );
    }

    #[test]
    fn days_follow_the_wall_clock() {
        let after = |text: &str, days, tz| days_after(at(text), days, tz).unwrap().to_rfc3339();

        assert_eq!(after("2026-11-20T10:00:00Z", 14, Tz::UTC), "2026-12-04T10:00:00+00:00");
        // Midnight of 1 November to midnight of the 2nd: 25 hours.
        assert_eq!(after("2026-11-01T04:00:00Z", 1, New_York), "2026-11-02T05:00:00+00:00");
        // 02:30 on 8 March does not exist.
        assert_eq!(after("2026-03-07T07:30:00Z", 1, New_York), "2026-03-08T07:00:00+00:00");
    }

    #[test]
    fn a_day_is_as_long_as_the_customers_clock_makes_it() {
        for (text, tz, start, hours) in [
            ("2026-11-26T15:59:59Z", Shanghai, "2026-11-25T16:00:00+00:00", 24),
            ("2026-11-26T16:00:00Z", Shanghai, "2026-11-26T16:00:00+00:00", 24),
            // The clock goes back, and forward.
            ("2026-11-01T12:00:00Z", New_York, "2026-11-01T04:00:00+00:00", 25),
            ("2026-03-08T12:00:00Z", New_York, "2026-03-08T05:00:00+00:00", 23),
            ("2026-11-26T00:00:00Z", Tz::UTC, "2026-11-26T00:00:00+00:00", 24),
        ] {
            let day = day_of(at(text), tz).unwrap();

            assert_eq!(day.start.to_rfc3339(), start, "{text} {tz}");
            assert_eq!((day.end - day.start).num_hours(), hours, "{text} {tz}");
        }
        // In Newfoundland the clock went back from 1 November 2009, 00:01 to 31 October, 23:01.
        let first = day_of(at("2009-11-01T03:00:00Z"), St_Johns).unwrap();
        assert_eq!(first.start, Period::month("2009-11", St_Johns).unwrap().start);
    }

    #[test]
    fn days_tile_every_month_of_every_zone() {
        for tz in chrono_tz::TZ_VARIANTS {
            for text in ["2011-12", "2026-03", "2026-10", "2026-11"] {
                let month = Period::month(text, tz).unwrap();
                let mut day = day_of(month.start, tz).unwrap();
                assert_eq!(day.start, month.start, "{tz} {text}");
                while day.end < month.end {
                    let next = day_of(day.end, tz).unwrap();
                    assert_eq!(next.start, day.end, "{tz} {text}");
                    day = next;
                }
                assert_eq!(day.end, month.end, "{tz} {text}");
            }
        }
    }

    #[test]
    fn the_label_of_a_month_is_that_of_the_customers_calendar() {
        for (text, tz, label) in [
            ("2026-11-30T15:59:59Z", Shanghai, "2026-11"),
            ("2026-11-30T16:00:00Z", Shanghai, "2026-12"),
            ("2026-11-30T16:00:00Z", Tz::UTC, "2026-11"),
            ("2027-01-01T04:59:59Z", New_York, "2026-12"),
            // By the clock that went back it is 31 October once more.
            ("2009-11-01T03:00:00Z", St_Johns, "2009-11"),
        ] {
            assert_eq!(month_label(at(text), tz).unwrap(), label, "{text} {tz}");
        }
    }

    #[test]
    fn a_text_that_is_no_month_is_refused() {
        for text in ["2026", "2026-13", "2026-1", "26-11", "2026-11-01", "+026-11", ""] {
            assert!(Period::month(text, Tz::UTC).is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_is_half_open_and_the_next_begins_where_it_ends() {
        for tz in [Tz::UTC, Shanghai, New_York, Kolkata, Lord_Howe, St_Johns] {
            let november = Period::month("2026-11", tz).unwrap();

            assert_eq!(period_of(november.start, tz).unwrap(), november);
            let last = november.end - Duration::microseconds(1);
            assert_eq!(period_of(last, tz).unwrap(), november);
            assert!(november.contains(last) && !november.contains(november.end));
            assert_eq!(period_of(november.end, tz).unwrap(), Period::month("2026-12", tz).unwrap());
        }
    }

    #[test]
    fn an_hour_follows_offsets_of_half_and_three_quarter_hours() {
        assert_eq!(hour("2026-11-24T05:17:00Z", Tz::UTC), "05:00");
        assert_eq!(hour("2026-11-24T05:17:00Z", Shanghai), "05:00");
        assert_eq!(hour("2026-11-24T05:17:00Z", Kolkata), "04:30");
        assert_eq!(hour("2026-11-24T05:17:00Z", Kathmandu), "05:15");
        assert_eq!(hour("1969-12-31T23:59:59Z", Kolkata), "23:30");
    }

    #[test]
    fn a_half_hour_change_of_the_clock_cuts_the_hour() {
        // Lord Howe goes forward from 02:00 to 02:30 at 15:30 UTC …
        assert_eq!(hour("2026-10-03T15:29:59Z", Lord_Howe), "14:30");
        assert_eq!(hour("2026-10-03T15:30:00Z", Lord_Howe), "15:30");
        assert_eq!(hour("2026-10-03T16:00:00Z", Lord_Howe), "16:00");
        // … and back from 02:00 to 01:30 at 15:00 UTC.
        assert_eq!(hour("2026-04-04T14:59:59Z", Lord_Howe), "14:00");
        assert_eq!(hour("2026-04-04T15:00:00Z", Lord_Howe), "15:00");
        assert_eq!(hour("2026-04-04T15:29:59Z", Lord_Howe), "15:00");
        assert_eq!(hour("2026-04-04T15:30:00Z", Lord_Howe), "15:30");
    }

    #[test]
    fn a_repeated_hour_counts_as_two() {
        // New York goes back from 02:00 to 01:00 at 06:00 UTC.
        assert_eq!(hour("2026-11-01T05:59:59Z", New_York), "05:00");
        assert_eq!(hour("2026-11-01T06:00:00Z", New_York), "06:00");
    }

    #[test]
    fn hours_tile_every_month_of_every_zone() {
        for tz in chrono_tz::TZ_VARIANTS {
            for text in ["2026-03", "2026-04", "2026-10", "2026-11"] {
                let period = Period::month(text, tz).unwrap();
                assert_eq!(hour_start(period.start, tz), period.start, "{tz} {text}");
                assert_eq!(hour_start(period.end, tz), period.end, "{tz} {text}");
            }
        }
    }

    #[test]
    fn hours_around_every_change_of_the_clock_are_whole_and_in_order() {
        for tz in [New_York, Lord_Howe, St_Johns, Kathmandu, Havana] {
            let mut instant = at("2026-03-01T00:00:07Z");
            let mut before = hour_start(instant, tz);
            while instant < at("2026-04-10T00:00:00Z") {
                let hour = hour_start(instant, tz);
                assert!(hour <= instant && instant - hour < Duration::hours(1), "{tz} {instant}");
                assert_eq!(hour_start(hour, tz), hour, "{tz} {instant}");
                assert!(before <= hour, "{tz} {instant}");
                before = hour;
                instant += Duration::seconds(437);
            }
        }
    }
}
