//! What webhooks are told of budgets: that spending has passed the part from which on answers warn,
//! and that it has reached the whole.
//!
//! Budgets of customers, projects, keys and of each of their sessions, and prepaid credit. Rates
//! are not told: one that is used up is free again within the minute, before anybody reads of it.
//!
//! Looked at in the transaction that books the spending or lowers prepaid credit, so of every
//! budget and period each is told once. The gateway counts reservations too and refuses on its own;
//! it may do so a little earlier.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use permille_rating::{
    period::{Period, day_of, period_of},
    round::{from_nano, to_nano},
};
use permille_types::{CustomerId, Level, SpendAccount};
use rust_decimal::Decimal;
use serde::Serialize;

use super::{SessionKeys, SpendingDeltas, repo};
use crate::{
    Budget, LedgerError, Per, column, customer,
    limit::{self, Owner},
    prepaid::{self, Ceiling},
    session,
    store::Connection,
    webhook::{self, Event, EventKind},
};

/// What stands for a budget where prepaid credit is told of.
const CREDIT: &str = "prepaid credit";

/// A budget, as events tell of it.
#[derive(Serialize)]
struct News<'a> {
    customer: &'a CustomerId,
    level: Level,
    id: &'a str,
    /// Such as `50 CNY/month`, or [`CREDIT`].
    budget: &'a str,
    /// The period of the budget that was spent in; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    spent: Decimal,
    warn_percent: u8,
}

/// Tells of the budgets that `deltas`, which are written already, have taken over a threshold.
pub(super) async fn tell(
    connection: &mut Connection,
    deltas: &SpendingDeltas,
    sessions: &SessionKeys,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let kinds = [EventKind::LimitWarning, EventKind::LimitExhausted];
    if deltas.is_empty() || !webhook::tells(connection, &kinds).await? {
        return Ok(());
    }
    let mut owners: BTreeMap<Owner, BTreeMap<DateTime<Utc>, i64>> = BTreeMap::new();
    for (key, nano) in deltas {
        let owner = Owner { customer: key.customer.clone(), level: key.level, id: key.id.clone() };
        owners.entry(owner).or_default().insert(key.day, *nano);
    }
    let mut session_budgets = SessionBudgets::new();
    for (owner, days) in &owners {
        let limits = limit::find(connection, owner).await?.unwrap_or_default();
        let warn_percent = limits.warn_percent();
        if let Some(budgets) = &limits.session_budget {
            let budgets = budgets.iter().map(|budget| (*budget, warn_percent));
            session_budgets.insert(owner.clone(), budgets.collect());
        }
        if let Some(ceiling) = prepaid_of(connection, owner).await? {
            let added = days.values().fold(0, |sum: i64, nano| sum.saturating_add(*nano));
            let thresholds = (ceiling.warn_from(warn_percent), ceiling.nano);
            let name = CREDIT.to_owned();
            let spending = Spending { owner, name, thresholds, period: None, added, warn_percent };
            spending.tell(connection, at).await?;
        }
        let Some(budgets) = &limits.budget else { continue };
        let Some(customer) = customer::find(connection, &owner.customer).await? else { continue };
        for budget in budgets.iter() {
            for (period, added) in by_period(days, budget.per, customer.time_zone)? {
                let (name, thresholds) = (budget.to_string(), thresholds(budget, warn_percent));
                let spending = Spending { owner, name, thresholds, period, added, warn_percent };
                spending.tell(connection, at).await?;
            }
        }
    }
    if session_budgets.is_empty() {
        return Ok(());
    }
    tell_of_sessions(connection, sessions, &session_budgets, at).await
}

/// What owners let each of their sessions spend, and from which part of it on answers warn.
type SessionBudgets = BTreeMap<Owner, Vec<(Budget, u8)>>;

/// Tells of sessions that have passed a threshold of what holds for a key that they were gone on
/// with: the lowest budget of its customer, its project and itself.
async fn tell_of_sessions(
    connection: &mut Connection,
    sessions: &SessionKeys,
    budgets: &SessionBudgets,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    for ((customer, id), keys) in sessions {
        let lowest = keys.iter().filter_map(|(project, key)| {
            let owners = [
                Owner::of_customer(customer),
                Owner::of_project(customer, project),
                Owner::of_key(customer, key),
            ];
            let all = owners.iter().filter_map(|owner| budgets.get(owner)).flatten();
            all.min_by_key(|(budget, warn_percent)| (budget.nano, *warn_percent)).copied()
        });
        let lowest: BTreeMap<u64, (Budget, u8)> =
            lowest.map(|(budget, warn_percent)| (budget.nano, (budget, warn_percent))).collect();
        if lowest.is_empty() {
            continue;
        }
        let spent = to_nano(session::cost(connection, customer, id.as_str()).await?)?;
        let owner = Owner { customer: customer.clone(), level: Level::Session, id: id.to_string() };
        for (budget, warn_percent) in lowest.into_values() {
            let spending = Spending {
                owner: &owner,
                name: budget.to_string(),
                thresholds: thresholds(&budget, warn_percent),
                period: None,
                // All of it: another key may have another budget, and nothing is told again.
                added: spent,
                warn_percent,
            };
            spending.tell_at(connection, spent, at).await?;
        }
    }
    Ok(())
}

/// Tells where `lower` credit than `before`, such as after a grant has ended, is one that the
/// customer's spending has passed already.
pub(crate) async fn tell_of_credit(
    connection: &mut Connection,
    customer: &CustomerId,
    (before, lower): (Ceiling, Ceiling),
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let kinds = [EventKind::LimitWarning, EventKind::LimitExhausted];
    if before == lower || !webhook::tells(connection, &kinds).await? {
        return Ok(());
    }
    let (level, id) = (Level::Customer, customer.to_string());
    let owner = Owner { customer: customer.clone(), level, id };
    let limits = limit::find(connection, &owner).await?.unwrap_or_default();
    let warn_percent = limits.warn_percent();
    let spent = super::before(connection, customer, None).await?;
    let spending = Spending {
        owner: &owner,
        name: CREDIT.to_owned(),
        thresholds: (lower.warn_from(warn_percent), lower.nano),
        period: None,
        added: 0,
        warn_percent,
    };
    for (kind, was, is) in [
        (EventKind::LimitWarning, before.warn_from(warn_percent), spending.thresholds.0),
        (EventKind::LimitExhausted, Some(before.nano), Some(lower.nano)),
    ] {
        if was.zip(is).is_some_and(|(was, is)| is <= spent && spent < was) {
            spending.write(connection, kind, spent, at).await?;
        }
    }
    Ok(())
}

/// What was added to each period of a budget.
fn by_period(
    days: &BTreeMap<DateTime<Utc>, i64>,
    per: Per,
    zone: Tz,
) -> Result<Vec<(Option<Period>, i64)>, LedgerError> {
    let mut periods: BTreeMap<Option<DateTime<Utc>>, (Option<Period>, i64)> = BTreeMap::new();
    for (day, nano) in days {
        let unreadable = |_| LedgerError::corrupt("spending_day.day", day);
        let period = match per {
            Per::Day => Some(day_of(*day, zone).map_err(unreadable)?),
            Per::Month => Some(period_of(*day, zone).map_err(unreadable)?),
            Per::Total => None,
        };
        let start = period.map(|period| period.start);
        let (_, sum) = periods.entry(start).or_insert((period, 0));
        *sum = column::add_count("spending of a period", *sum, *nano)?;
    }
    Ok(periods.into_values().collect())
}

/// How far the owner may spend by prepaid credit: a customer may have such a balance.
async fn prepaid_of(
    connection: &mut Connection,
    owner: &Owner,
) -> Result<Option<Ceiling>, LedgerError> {
    match owner.level {
        Level::Customer => prepaid::find(connection, &owner.customer).await,
        Level::Project | Level::Key | Level::Session => Ok(None),
    }
}

/// The spending from which on a budget warns, and that at which it is reached.
fn thresholds(budget: &Budget, warn_percent: u8) -> (Option<i64>, i64) {
    let whole = i64::try_from(budget.nano).unwrap_or(i64::MAX);
    // A warning at 80 percent comes at them, rounded down to a nano-unit.
    let warned = i128::from(whole).saturating_mul(i128::from(warn_percent)).div_euclid(100);
    (i64::try_from(warned).ok(), whole)
}

/// What was spent of one budget in one period, or of prepaid credit.
struct Spending<'a> {
    owner: &'a Owner,
    /// What the budget is called.
    name: String,
    /// From where on it warns, and where it is reached.
    thresholds: (Option<i64>, i64),
    period: Option<Period>,
    /// What the batch has added.
    added: i64,
    warn_percent: u8,
}

impl Spending<'_> {
    async fn tell(
        &self,
        connection: &mut Connection,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let account = SpendAccount {
            level: self.owner.level,
            id: self.owner.id.clone(),
            from: self.period.map(|period| period.start),
            until: self.period.map(|period| period.end),
        };
        let after = repo::sum(connection, &self.owner.customer, &account).await?;
        self.tell_at(connection, after, at).await
    }

    /// The same where `after` is what was spent with what the batch has added.
    async fn tell_at(
        &self,
        connection: &mut Connection,
        after: i64,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let before = after.saturating_sub(self.added);
        let (warned, whole) = self.thresholds;
        for (kind, threshold) in
            [(EventKind::LimitWarning, warned), (EventKind::LimitExhausted, Some(whole))]
        {
            let is_passed = |threshold| before < threshold && threshold <= after;
            if threshold.is_some_and(is_passed) {
                self.write(connection, kind, after, at).await?;
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        connection: &mut Connection,
        kind: EventKind,
        spent: i64,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let Owner { customer, level, id } = self.owner;
        let news = News {
            customer,
            level: *level,
            id,
            budget: &self.name,
            period: self.period,
            spent: from_nano(spent),
            warn_percent: self.warn_percent,
        };
        let subject = format!("limit {customer}/{}/{id}", level.as_str());
        let start = self.period.map_or(0, |period| column::micros(period.start));
        let mut once = format!("{} {subject} {} {start}", kind.as_str(), self.name);
        if self.name == CREDIT {
            // More credit may be spent again, and another warning then says something new.
            once = format!("{once} {}", self.thresholds.1);
        }
        let event =
            Event { kind, customer: Some(customer), subject, once: Some(once), data: &news };
        webhook::tell(connection, event, at).await
    }
}
