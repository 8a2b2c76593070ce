//! Billing periods and roll-up hours of a customer's time zone, as instants in UTC.
//!
//! Periods are half open, `[start, end)`. A month ends when the customer's wall clock says so:
//! a month of Asia/Shanghai ends eight hours before the month of UTC. No clock is read here.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    let local = at.with_timezone(&tz).date_naive();
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

fn offset_seconds(at: DateTime<Utc>, tz: Tz) -> i64 {
    i64::from(tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
}

/// The first instant of a local date: midnight, or the end of the gap where there is none.
fn first_instant(date: NaiveDate, tz: Tz) -> Option<DateTime<Utc>> {
    let midnight = date.and_time(NaiveTime::MIN);
    tz.from_local_datetime(&midnight)
        .earliest()
        .or_else(|| GapInfo::new(&midnight, &tz)?.end)
        .map(|instant| instant.to_utc())
}
