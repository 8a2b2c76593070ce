//! Which band of a price a request takes.
//!
//! The whole request takes the first band whose condition holds, and every part of a condition
//! must hold:
//! - `input_total_over` is strictly over: 200,000 tokens are not over 200,000;
//! - `service_tier`, `batch` and `region` are those of the upstream that answered. A request
//!   without a region is in none;
//! - `hours`, `weekdays` and `except_holidays` are read from the wall clock of `time_zone` at the
//!   instant of admission. All three speak of that instant: at 00:10 on a Saturday, a window
//!   `22:00-06:00` with `weekdays = ["mon-fri"]` does not hold, though it began on a Friday.

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;
use permille_types::{Condition, Price, TokenClass, TokenCount, UsageEvent};

/// The service tier of batch requests.
const BATCH_TIER: &str = "batch";
/// Minutes of an hour of the wall clock.
const HOUR_MINUTES: u32 = 60;

/// The band of `price` that `event` takes: 0 is outside every band, k the k-th band.
pub(crate) fn band_of(price: &Price, event: &UsageEvent) -> u32 {
    (1..).zip(&price.bands).find(|(_, band)| holds(&band.when, event)).map_or(0, |(k, _)| k)
}

fn holds(when: &Condition, event: &UsageEvent) -> bool {
    let tier = event.service_tier.as_deref();
    let asked = |wanted: Option<&String>, found| wanted.is_none_or(|text| found == Some(&**text));
    when.input_total_over.is_none_or(|limit| input_total(event) > limit)
        && asked(when.service_tier.as_ref(), tier)
        && asked(when.region.as_ref(), event.region.as_deref())
        && when.batch.is_none_or(|batch| batch == (tier == Some(BATCH_TIER)))
        && at_that_time(when, event)
}

fn at_that_time(when: &Condition, event: &UsageEvent) -> bool {
    if when.hours.is_empty() && when.weekdays.is_empty() && when.except_holidays.is_empty() {
        return true;
    }
    let local = event.at.with_timezone(&when.time_zone.unwrap_or(Tz::UTC));
    let minute = local.hour().saturating_mul(HOUR_MINUTES).saturating_add(local.minute());
    (when.hours.is_empty() || when.hours.iter().any(|window| window.contains(minute)))
        && (when.weekdays.is_empty() || when.weekdays.contains(&local.weekday()))
        && !when.except_holidays.contains(&local.date_naive())
}

/// The reported total, or the sum of the known input classes where none was reported.
fn input_total(event: &UsageEvent) -> TokenCount {
    event.input_total.unwrap_or_else(|| {
        event
            .tokens
            .iter()
            .filter(|(class, _)| is_input(class))
            .fold(0, |total: TokenCount, (_, quantity)| total.saturating_add(*quantity))
    })
}

fn is_input(class: &TokenClass) -> bool {
    let name = class.as_str();
    name.starts_with("input_") || name.starts_with("cache_") || name.ends_with("_in")
}
