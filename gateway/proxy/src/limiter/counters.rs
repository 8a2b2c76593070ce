//! Which counters a request meets: their names in a customer's books, and where the ledger knows
//! what was spent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use permille_limits::{Kind, Line};
use permille_rating::period::{Period, day_of, period_of};
use permille_types::{KeyPolicy, Level, Limit, Measure, SessionId, SpendAccount, UsageEvent};

/// Whose counters, and of when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) key: &'a KeyPolicy,
    pub(super) session: &'a SessionId,
    /// When the request was admitted: that decides its period, as it does its price.
    pub(super) at: DateTime<Utc>,
}

impl<'a> Subject<'a> {
    pub(super) fn of_event(key: &'a KeyPolicy, event: &'a UsageEvent) -> Self {
        Self { key, session: &event.session, at: event.at }
    }

    fn id(&self, level: Level) -> &'a str {
        match level {
            Level::Customer => self.key.customer.as_str(),
            Level::Project => self.key.project.as_str(),
            Level::Key => self.key.key.as_str(),
            Level::Session => self.session.as_str(),
        }
    }

    /// The period of a limit of money; absent where it has none.
    pub(super) fn period(&self, measure: Measure) -> Option<Period> {
        let zone = self.key.time_zone.unwrap_or_default();
        match measure {
            Measure::SpendPerDay => day_of(self.at, zone).ok(),
            Measure::SpendPerMonth => period_of(self.at, zone).ok(),
            _ => None,
        }
    }

    /// The counter's name: neither the limit nor the currency is part of it.
    pub(super) fn counter(&self, limit: &Limit) -> Arc<str> {
        let letter = match limit.level {
            Level::Customer => 'c',
            Level::Project => 'p',
            Level::Key => 'k',
            Level::Session => 's',
        };
        let id = self.id(limit.level);
        let start = || {
            let period = self.period(limit.measure);
            period.map_or(0, |period| period.start.timestamp())
        };
        match limit.measure {
            Measure::RequestsPerMinute => format!("r/{letter}:{id}"),
            Measure::TokensPerMinute => format!("t/{letter}:{id}"),
            Measure::OpenRequests => format!("o/{letter}:{id}"),
            Measure::SpendPerDay => format!("m/day:{}/{letter}:{id}", start()),
            Measure::SpendPerMonth => format!("m/month:{}/{letter}:{id}", start()),
            Measure::Spend => format!("m/all/{letter}:{id}"),
        }
        .into()
    }

    /// The line of a limit, of which the request takes `take`.
    pub(super) fn line(&self, limit: &Limit, take: u64, fresh: bool) -> Line {
        let account = limit.measure.is_money().then(|| {
            let period = self.period(limit.measure);
            Arc::new(SpendAccount {
                level: limit.level,
                id: self.id(limit.level).to_owned(),
                from: period.map(|period| period.start),
                until: period.map(|period| period.end),
            })
        });
        Line {
            kind: kind(limit.measure),
            counter: self.counter(limit),
            limit: limit.max,
            take,
            account,
            fresh,
        }
    }
}

pub(super) fn kind(measure: Measure) -> Kind {
    match measure {
        Measure::RequestsPerMinute => Kind::Requests,
        Measure::TokensPerMinute => Kind::Tokens,
        Measure::OpenRequests => Kind::Open,
        _ => Kind::Money,
    }
}

/// Every limit of a key, with its requests per minute where billing told them apart.
pub(super) fn limits_of(key: &KeyPolicy) -> Vec<Limit> {
    let own = key.rpm.map(|rpm| Limit {
        level: Level::Key,
        measure: Measure::RequestsPerMinute,
        max: rpm.into(),
        warn_percent: RPM_WARN_PERCENT,
    });
    let mut limits: Vec<Limit> = key.limits.iter().copied().chain(own).collect();
    limits.sort_by_key(|limit| limit.level);
    limits
}

/// Such a billing does not say from when on they warn: never.
const RPM_WARN_PERCENT: u8 = 100;

#[cfg(test)]
mod tests {
    use permille_types::{Currency, KeyHash};

    use super::*;

    #[test]
    fn money_counts_by_the_days_and_months_of_the_customers_time_zone() {
        let mut key = KeyPolicy {
            hash: KeyHash::new([0; 32]),
            key: "key_1".parse().unwrap(),
            customer: "acme".parse().unwrap(),
            project: "default".parse().unwrap(),
            currency: Currency::CNY,
            rpm: None,
            limits: Vec::new(),
            prepaid: None,
            time_zone: Some("Asia/Shanghai".parse().unwrap()),
            revoked: false,
        };
        let session = "s".parse().unwrap();
        // One in the morning of 1 April there, the evening of 31 March in UTC.
        let at: DateTime<Utc> = "2026-03-31T17:00:00Z".parse().unwrap();
        let line = |key: &KeyPolicy, measure| {
            let limit = Limit { level: Level::Customer, measure, max: 1, warn_percent: 80 };
            let subject = Subject { key, session: &session, at };
            let account = subject.line(&limit, 1, true).account.unwrap();
            (subject.counter(&limit), account.from.unwrap(), account.until.unwrap())
        };
        let instant = |text: &str| text.parse::<DateTime<Utc>>().unwrap();

        let midnight = instant("2026-03-31T16:00:00Z");
        let name = |period: &str, start: DateTime<Utc>| {
            Arc::<str>::from(format!("m/{period}:{}/c:acme", start.timestamp()))
        };
        assert_eq!(
            line(&key, Measure::SpendPerDay),
            (name("day", midnight), midnight, instant("2026-04-01T16:00:00Z"))
        );
        assert_eq!(
            line(&key, Measure::SpendPerMonth),
            (name("month", midnight), midnight, instant("2026-04-30T16:00:00Z"))
        );

        key.time_zone = None;
        let march = instant("2026-03-01T00:00:00Z");
        assert_eq!(
            line(&key, Measure::SpendPerMonth),
            (name("month", march), march, instant("2026-04-01T00:00:00Z"))
        );
    }
}
