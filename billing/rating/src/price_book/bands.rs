//! Reads the bands of an entry: conditions, and the prices that then hold instead. What the
//! conditions mean is said in `band.rs`.

use std::collections::BTreeMap;

use chrono::{NaiveDate, Weekday};
use chrono_tz::Tz;
use permille_types::{Band, Condition, DayWindow, Rates};
use toml::Value;

use super::{
    price_of,
    rates::{PriceScale, rate_keys, rates},
};
use crate::{
    FieldError, Meter,
    fields::{Fields, unknown, wrong_type},
};

/// Dates by the name of their calendar: the `[holidays]` of a price file.
pub(super) type Holidays = BTreeMap<String, Vec<NaiveDate>>;

const CONDITIONS: [&str; 9] = [
    "input_total_over",
    "service_tier",
    "batch",
    "region",
    "hours_utc",
    "hours",
    "weekdays",
    "except_holidays",
    "time_zone",
];

/// The calendars of a price file.
pub(super) fn holidays(document: Fields<'_>) -> Result<Holidays, FieldError> {
    const EXPECTED: &str = "a list of dates such as [2026-10-01]";
    let Some(table) = document.table("holidays")? else { return Ok(Holidays::new()) };
    let calendar = |(name, value): (&String, &Value)| {
        let list = value.as_array().ok_or_else(|| wrong_type(name, value, EXPECTED))?;
        Ok((name.clone(), dates(name, list)?))
    };
    table.0.iter().map(calendar).collect()
}

/// The bands of an entry, in their order.
pub(super) fn bands(
    entry: Fields<'_>,
    scale: PriceScale,
    base: &Rates,
    holidays: &Holidays,
) -> Result<Vec<Band>, FieldError> {
    let mut bands: Vec<Band> = Vec::new();
    for table in entry.tables("band")? {
        let band = band(table, scale, holidays)?;
        check(&bands, &band, base)?;
        bands.push(band);
    }
    Ok(bands)
}

/// Refuses a band that leaves out what `base` prices, or can never apply after `earlier`.
pub(super) fn check(earlier: &[Band], band: &Band, base: &Rates) -> Result<(), FieldError> {
    let left_out = meters(base).find(|meter| price_of(&band.rates, meter).is_none());
    if let Some(meter) = left_out {
        return Err(FieldError::invalid(
            "band",
            format!(
                "prices every class anew, but leaves out `{meter}`, which the entry prices; \
                 repeat its price in the band"
            ),
        ));
    }
    if earlier.iter().any(|earlier| covers(&earlier.when, &band.when)) {
        return Err(FieldError::invalid(
            "band.when",
            "can never apply, because an earlier band always applies first; \
             put the highest `input_total_over` first",
        ));
    }
    Ok(())
}

/// Refuses a condition that asks for nothing, or excepts from nothing.
pub(super) fn check_condition(condition: &Condition) -> Result<(), FieldError> {
    if *condition == Condition::default() {
        return Err(FieldError::invalid("band.when", "is empty: it would always apply"));
    }
    if condition.hours.is_empty()
        && condition.weekdays.is_empty()
        && !condition.except_holidays.is_empty()
    {
        return Err(FieldError::invalid(
            "when.except_holidays",
            "excepts from `hours` or `weekdays`, and neither is given",
        ));
    }
    Ok(())
}

/// Whether `earlier` surely holds wherever `later` does.
fn covers(earlier: &Condition, later: &Condition) -> bool {
    let over = match (earlier.input_total_over, later.input_total_over) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => earlier <= later,
    };
    let same_clock = earlier.time_zone == later.time_zone;
    over && (earlier.service_tier.is_none() || earlier.service_tier == later.service_tier)
        && (earlier.batch.is_none() || earlier.batch == later.batch)
        && (earlier.region.is_none() || earlier.region == later.region)
        && (earlier.hours.is_empty() || (same_clock && earlier.hours == later.hours))
        && (earlier.weekdays.is_empty() || (same_clock && earlier.weekdays == later.weekdays))
        && (earlier.except_holidays.is_empty()
            || (same_clock && earlier.except_holidays == later.except_holidays))
}

fn band(table: Fields<'_>, scale: PriceScale, holidays: &Holidays) -> Result<Band, FieldError> {
    let known: Vec<&str> = ["when"].into_iter().chain(rate_keys()).collect();
    table.refuse_unknown(&known)?;
    let when = table.table("when")?.ok_or_else(|| FieldError::Missing {
        key: "band.when".to_owned(),
        expected: "a condition such as { input_total_over = 200000 }",
    })?;
    Ok(Band { when: condition(when, holidays)?, rates: rates(table, scale)? })
}

fn condition(when: Fields<'_>, holidays: &Holidays) -> Result<Condition, FieldError> {
    if let Some(key) = when.0.keys().find(|key| !CONDITIONS.contains(&key.as_str())) {
        return Err(unknown(key, &CONDITIONS));
    }
    let mut condition = Condition {
        input_total_over: when.integer("input_total_over")?,
        service_tier: when.text("service_tier")?.map(str::to_owned),
        batch: when.read("batch", "true or false", Value::as_bool)?,
        region: when.text("region")?.map(str::to_owned),
        hours: hours(when)?,
        weekdays: weekdays(when)?,
        except_holidays: except_holidays(when, holidays)?,
        time_zone: None,
    };
    check_condition(&condition)?;
    condition.time_zone = time_zone(when, &condition)?;
    Ok(condition)
}

/// The zone of a condition that speaks of time; UTC is absent.
fn time_zone(when: Fields<'_>, condition: &Condition) -> Result<Option<Tz>, FieldError> {
    const KEY: &str = "when.time_zone";
    let timed = !condition.hours.is_empty() || !condition.weekdays.is_empty();
    let Some(name) = when.text("time_zone")? else {
        if when.has("hours") {
            let expected = "the zone of `hours`, such as Asia/Shanghai (or write `hours_utc`)";
            return Err(FieldError::Missing { key: KEY.to_owned(), expected });
        }
        return Ok(None);
    };
    if when.has("hours_utc") {
        return Err(FieldError::invalid(KEY, "stands beside `hours_utc`: write `hours`"));
    }
    if !timed {
        return Err(FieldError::invalid(KEY, "has no meaning without `hours` or `weekdays`"));
    }
    let zone: Tz = name.parse().map_err(|_| {
        FieldError::invalid(KEY, format!("`{name}` is no IANA zone such as Asia/Shanghai"))
    })?;
    Ok(Some(zone).filter(|zone| *zone != Tz::UTC))
}

fn hours(when: Fields<'_>) -> Result<Vec<DayWindow>, FieldError> {
    if when.has("hours") && when.has("hours_utc") {
        return Err(FieldError::invalid("when.hours", "stands beside `hours_utc`: give one"));
    }
    let key = if when.has("hours") { "hours" } else { "hours_utc" };
    let texts = texts(when, key, "a window such as \"16:30-00:30\", or a list of them")?;
    let mut windows = texts
        .into_iter()
        .map(|text| text.parse().map_err(|cause| FieldError::invalid(key, format!("{cause}"))))
        .collect::<Result<Vec<DayWindow>, _>>()?;
    windows.sort_unstable();
    windows.dedup();
    Ok(windows)
}

/// Days and ranges of days, Monday first, each once.
fn weekdays(when: Fields<'_>) -> Result<Vec<Weekday>, FieldError> {
    const KEY: &str = "weekdays";
    const DAYS: [Weekday; 7] = [
        Weekday::Mon,
        Weekday::Tue,
        Weekday::Wed,
        Weekday::Thu,
        Weekday::Fri,
        Weekday::Sat,
        Weekday::Sun,
    ];
    let mut named = Vec::new();
    for text in texts(when, KEY, "days such as [\"mon-fri\", \"sun\"]")? {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let day = |name: &str| {
            name.parse::<Weekday>().map_err(|_| {
                FieldError::invalid(KEY, format!("`{name}` is no day, accepted are mon to sun"))
            })
        };
        let (mut current, last) = (day(first)?, day(last)?);
        named.push(current);
        while current != last {
            current = current.succ();
            named.push(current);
        }
    }
    Ok(DAYS.into_iter().filter(|day| named.contains(day)).collect())
}

fn except_holidays(when: Fields<'_>, holidays: &Holidays) -> Result<Vec<NaiveDate>, FieldError> {
    const KEY: &str = "except_holidays";
    match when.0.get(KEY) {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => holidays.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = holidays.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let reason = format!("`{name}` is no calendar of `[holidays]`; there are: {known}");
            FieldError::invalid(KEY, reason)
        }),
        Some(Value::Array(list)) => dates(KEY, list),
        Some(other) => Err(wrong_type(KEY, other, "a calendar of `[holidays]` or dates")),
    }
}

/// Dates in order, each once.
fn dates(key: &str, list: &[Value]) -> Result<Vec<NaiveDate>, FieldError> {
    let mut dates = list
        .iter()
        .map(|value| {
            let text = match value {
                Value::Datetime(date) => date.to_string(),
                Value::String(text) => text.clone(),
                other => return Err(wrong_type(key, other, "a date such as 2026-10-01")),
            };
            text.parse().map_err(|_| {
                FieldError::invalid(key, format!("`{text}` is no date such as 2026-10-01"))
            })
        })
        .collect::<Result<Vec<NaiveDate>, _>>()?;
    if dates.is_empty() {
        return Err(FieldError::invalid(key, "holds no date"));
    }
    dates.sort_unstable();
    dates.dedup();
    Ok(dates)
}

/// One text, or a list of texts; none when the key is absent.
fn texts<'a>(
    when: Fields<'a>,
    key: &str,
    expected: &'static str,
) -> Result<Vec<&'a str>, FieldError> {
    let texts = match when.0.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| value.as_str().ok_or_else(|| wrong_type(key, value, expected)))
            .collect::<Result<Vec<_>, _>>()?,
        Some(other) => return Err(wrong_type(key, other, expected)),
    };
    if texts.is_empty() {
        return Err(FieldError::invalid(key, format!("is empty, accepted is {expected}")));
    }
    Ok(texts)
}

/// Everything that `rates` prices.
pub(crate) fn meters(rates: &Rates) -> impl Iterator<Item = Meter> {
    let classes = rates.per_thousand.keys().cloned().map(Meter::Tokens);
    classes.chain(rates.per_unit.keys().copied().map(Meter::Units))
}
