//! How a limit is told to a client: in a refusal, and in the header that warns of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use permille_limits::{Blocked, Use};
use permille_rating::round::from_nano;
use permille_types::{Currency, Level, Limit, Measure, PrepaidCredit};

use super::counters::Subject;
use crate::refusal::Refusal;

/// How soon to ask again where an open request must end first.
const SOON: Duration = Duration::from_secs(1);

/// Whose limit it is, such as the key of that id.
fn whose(subject: Subject<'_>, level: Level) -> String {
    match level {
        Level::Customer => format!("customer `{}`", subject.key.customer),
        Level::Project => format!("project `{}`", subject.key.project),
        Level::Key => format!("key `{}`", subject.key.key),
        Level::Session => format!("session `{}`", subject.session),
    }
}

fn money(nano: u64, currency: Currency) -> String {
    format!("{} {}", from_nano(i64::try_from(nano).unwrap_or(i64::MAX)), currency.code())
}

fn period(measure: Measure) -> &'static str {
    match measure {
        Measure::SpendPerDay => " a day",
        Measure::SpendPerMonth => " a month",
        _ => " in all",
    }
}

fn resets(subject: Subject<'_>, measure: Measure) -> Option<DateTime<Utc>> {
    subject.period(measure).map(|period| period.end)
}

/// The refusal of a request that would take `take` of a limit without room.
pub(super) fn refusal(
    subject: Subject<'_>,
    limit: &Limit,
    take: u64,
    Blocked { is, wait_ms, .. }: Blocked,
) -> Refusal {
    let (whose, max) = (whose(subject, limit.level), limit.max);
    let wait = wait_ms.map_or(SOON, Duration::from_millis);
    let wait = Duration::from_secs(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(1));
    let seconds = wait.as_secs().max(1);
    let Use { used, held } = is;
    let text = match limit.measure {
        Measure::RequestsPerMinute => {
            format!(
                "the {whose} may make {max} requests per minute; try again in {seconds} seconds"
            )
        }
        Measure::TokensPerMinute => format!(
            "the {whose} may use {max} tokens per minute: {used} are used and {held} are reserved \
             by open requests; try again in {seconds} seconds"
        ),
        Measure::OpenRequests => format!(
            "the {whose} may have {max} requests open at once; try again when one has ended"
        ),
        Measure::SpendPerDay | Measure::SpendPerMonth | Measure::Spend => {
            return over_budget(subject, limit, take, is);
        }
    };
    Refusal::RateLimited { text, retry_after: wait }
}

fn over_budget(subject: Subject<'_>, limit: &Limit, take: u64, is: Use) -> Refusal {
    if let Some(credit) = credit(subject, limit) {
        return over_credit(subject, credit.max, take, is);
    }
    let currency = subject.key.currency;
    let amount = |nano| money(nano, currency);
    let resets = resets(subject, limit.measure);
    // Room comes back when others settle, unless what is spent leaves none.
    let passes = is.used.saturating_add(take) <= limit.max;
    let when = match resets {
        _ if passes => "; try again when open requests have ended".to_owned(),
        Some(at) => {
            let zone = subject.key.time_zone.unwrap_or_default();
            format!("; the budget resets at {}", at.with_timezone(&zone).to_rfc3339())
        }
        None => "; the budget does not reset".to_owned(),
    };
    let text = format!(
        "the {} may spend {}{}: {} is spent, {} is reserved by open requests, and this request may \
         cost up to {}{when}",
        whose(subject, limit.level),
        amount(limit.max),
        period(limit.measure),
        amount(is.used),
        amount(is.held),
        amount(take),
    );
    let retry_after = match resets {
        _ if passes => Some(SOON),
        Some(at) => (at - subject.at).to_std().ok(),
        None => None,
    };
    Refusal::BudgetExceeded { text, passes, retry_after }
}

/// The refusal of a request that a customer's prepaid credit has no room for.
fn over_credit(subject: Subject<'_>, max: u64, take: u64, is: Use) -> Refusal {
    let amount = |nano| money(nano, subject.key.currency);
    let passes = is.used.saturating_add(take) <= max;
    let when = if passes {
        "try again when open requests have ended"
    } else {
        "it can be served when there is more"
    };
    let text = format!(
        "the {} has {} of prepaid credit left, of which {} is reserved by open requests, and this \
         request may cost up to {}; {when}",
        whose(subject, Level::Customer),
        amount(max.saturating_sub(is.used)),
        amount(is.held),
        amount(take),
    );
    Refusal::BudgetExceeded { text, passes, retry_after: passes.then_some(SOON) }
}

/// The customer's prepaid credit, if that is what `limit` holds to.
fn credit(subject: Subject<'_>, limit: &Limit) -> Option<PrepaidCredit> {
    let is_of_all = limit.level == Level::Customer && limit.measure == Measure::Spend;
    subject.key.prepaid.filter(|credit| is_of_all && credit.max == limit.max)
}

/// Whether `is` has come to the part of `limit` from which on answers warn.
pub(super) fn is_near(subject: Subject<'_>, limit: &Limit, is: Use) -> bool {
    if let Some(credit) = credit(subject, limit) {
        return credit.warn_from.is_some_and(|from| is.total() >= from);
    }
    let percent = u128::from(is.total()).saturating_mul(100);
    limit.warn_percent < 100
        && percent >= u128::from(limit.max).saturating_mul(limit.warn_percent.into())
}

/// What an answer says of a limit that is nearly used.
pub(super) fn warning(subject: Subject<'_>, limit: &Limit, is: Use) -> Option<HeaderValue> {
    if let Some(credit) = credit(subject, limit) {
        let whose = whose(subject, limit.level);
        let left = money(credit.max.saturating_sub(is.total()), subject.key.currency);
        return HeaderValue::from_str(&format!("prepaid_credit of {whose}: {left} left")).ok();
    }
    let (used, max) = if limit.measure.is_money() {
        let amount = |nano| money(nano, subject.key.currency);
        (amount(is.total()), amount(limit.max))
    } else {
        (is.total().to_string(), limit.max.to_string())
    };
    let percent = u128::from(is.total()) * 100 / u128::from(limit.max.max(1));
    let resets = resets(subject, limit.measure).map_or_else(String::new, |at| {
        let zone = subject.key.time_zone.unwrap_or_default();
        format!(", resets {}", at.with_timezone(&zone).to_rfc3339())
    });
    let text = format!(
        "{} of {}: {used} of {max} used or reserved, {percent} percent{resets}",
        limit.measure.as_str(),
        whose(subject, limit.level),
    );
    HeaderValue::from_str(&text).ok()
}
