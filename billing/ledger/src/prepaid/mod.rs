//! How far customers on prepaid plans may spend: their grants, as a limit that the gateway holds.
//!
//! The limit is on all that a customer has ever spent (`spending`), so it stays the same while
//! usage comes in: what was spent in months that no grant of now can pay, what issued invoices have
//! billed since, and what the grants still pay. It is computed where a grant, a plan or a tax
//! changes, in the same transaction, and looked at again when time changes it and after each step
//! of an invoice. It pays nothing itself: invoices draw on grants. Decision 0035.

mod repo;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use permille_rating::{
    balance::{BalanceError, Held, Paying, balance},
    period::{month_label, period_of},
    plan::{CreditTaken, CreditTerms, PlanKind},
};
use permille_types::{CustomerId, Level, Limit, Measure, PrepaidCredit};

pub(crate) use repo::{all, find, look_soon};

use crate::{
    Customer, Ledger, LedgerError, column, customer, grant, invoice, plan, posting, spending, sql,
    store::Connection,
};

/// A balance is computed again so often at least, each up to a half sooner: what another build or a
/// calculation that failed has left out is in it then.
const LOOK_AGAIN: TimeDelta = TimeDelta::hours(1);
/// The same of customers whose plan is not prepaid, and to whom nothing is left out.
const LOOK_FOR_PLAN: TimeDelta = TimeDelta::days(1);
/// Balances that one transaction computes: the writers beside it wait some tenths of a second.
const AT_ONCE: i64 = 100;

/// How far a customer may spend, in 10⁻⁹ of the currency unit and since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ceiling {
    /// At this nothing is left.
    pub(crate) nano: i64,
    /// What was granted of what is in force: what a part of it means.
    granted: i64,
}

impl Ceiling {
    /// The spending from which on answers warn, where they do so from `warn_percent` of what was
    /// granted; absent where they never do.
    pub(crate) fn warn_from(self, warn_percent: u8) -> Option<i64> {
        let kept = 100_i128.checked_sub(warn_percent.into()).filter(|kept| *kept > 0)?;
        let rest = i128::from(self.granted).saturating_mul(kept).div_euclid(100);
        let from = i128::from(self.nano).saturating_sub(rest).max(0);
        i64::try_from(from).ok()
    }

    /// What the gateway knows of it.
    pub(crate) fn credit(self, warn_percent: u8) -> PrepaidCredit {
        PrepaidCredit {
            max: u64::try_from(self.nano).unwrap_or_default(),
            warn_from: self.warn_from(warn_percent).and_then(|from| u64::try_from(from).ok()),
        }
    }

    /// The limit that it is. A gateway that knows no [`PrepaidCredit`] warns by the percent of all
    /// that was ever spent, and rather too early.
    pub(crate) fn limit(self, warn_percent: u8) -> Limit {
        let PrepaidCredit { max, warn_from } = self.credit(warn_percent);
        let percent = warn_from.map_or(100, |from| {
            let percent = u128::from(from).saturating_mul(100).checked_div(max.into());
            percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100).clamp(1, 100)
        });
        Limit { level: Level::Customer, measure: Measure::Spend, max, warn_percent: percent }
    }
}

/// What came of a look at the balances that are due.
#[derive(Debug, Default)]
pub struct BalanceSweep {
    /// How many were computed.
    pub looked_at: usize,
    /// Whose balance has no result; it stays what it was for an hour.
    pub failed: Vec<(CustomerId, LedgerError)>,
}

impl Ledger {
    /// Finds customers with a plan whose balance nobody has looked at: those of a store that an
    /// earlier build wrote.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn find_balances(&self) -> Result<(), LedgerError> {
        let mut tx = self.store.write().await?;
        repo::add_missing(&mut tx, self.now()).await?;
        self.commit(tx).await
    }

    /// Computes the prepaid balances that are due: a grant or a plan has begun or ended, or an
    /// invoice has changed. Several processes may do so at once.
    ///
    /// # Errors
    /// The store's failure; what was computed before it holds.
    pub async fn follow_balances(&self) -> Result<BalanceSweep, LedgerError> {
        let mut sweep = BalanceSweep::default();
        loop {
            let now = self.now();
            let mut reader = self.store.read().await?;
            let is_any_due = !repo::due(&mut reader, now, 1).await?.is_empty();
            drop(reader);
            if !is_any_due {
                return Ok(sweep);
            }
            let mut tx = self.store.write().await?;
            let mut changed = false;
            // Read behind the lock: another process may have computed them meanwhile.
            for id in repo::due(&mut tx, now, AT_ONCE).await? {
                sweep.looked_at = sweep.looked_at.saturating_add(1);
                let customer = customer::find(&mut tx, &id)
                    .await?
                    .ok_or_else(|| LedgerError::not_found("customer", &id))?;
                match follow(&mut tx, &customer, now).await {
                    Ok(is_other) => changed |= is_other,
                    Err(cause @ LedgerError::Store { .. }) => return Err(cause),
                    Err(cause) => {
                        repo::put_off(&mut tx, &id, within(LOOK_AGAIN, now, &id)).await?;
                        sweep.failed.push((id, cause));
                    }
                }
            }
            if changed {
                self.commit_change(tx).await?;
            } else {
                self.commit(tx).await?;
            }
        }
    }

    /// Commits what may have changed a customer's balance; gateways are told where it has.
    pub(crate) async fn commit_followed(
        &self,
        mut tx: sql::Transaction,
        customer: &Customer,
    ) -> Result<(), LedgerError> {
        if follow(&mut tx, customer, self.now()).await? {
            self.commit_change(tx).await
        } else {
            self.commit(tx).await
        }
    }
}

/// Computes the balance of a customer anew; whether it is another.
pub(crate) async fn follow(
    connection: &mut Connection,
    customer: &Customer,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let again = within(LOOK_FOR_PLAN, now, &customer.id);
    let Some(plan) = plan::in_force(connection, customer, now, again).await? else {
        return Ok(false);
    };
    let mut due = plan.until;
    let mut ceiling = None;
    if let Some(terms) = plan.plan.filter(|plan| plan.kind == PlanKind::Prepaid) {
        let (computed, changes) = compute(connection, customer, terms.credit, now).await?;
        ceiling = Some(computed);
        due = due.min(within(LOOK_AGAIN, now, &customer.id)).min(changes.unwrap_or(due));
    }
    let before = repo::find(connection, &customer.id).await?;
    repo::put(connection, &customer.id, ceiling, due).await?;
    if let Some(change) = before.zip(ceiling) {
        spending::tell_of_credit(connection, &customer.id, change, now).await?;
    }
    Ok(before != ceiling)
}

/// How far a customer may spend now, and when time changes that.
///
/// A grant pays no month before its own, and what grants could not pay of an earlier month is due
/// in money. So of every month in which a grant begins, and of the present one, it is asked how far
/// the grants go that begin in it or later, where all that was spent before is behind them. None of
/// the answers is more than they pay, and the farthest holds.
async fn compute(
    connection: &mut Connection,
    customer: &Customer,
    terms: CreditTerms,
    now: DateTime<Utc>,
) -> Result<(Ceiling, Option<DateTime<Utc>>), LedgerError> {
    let grants = grant::with_rest(connection, customer, now).await?;
    let changes = grants.iter().flat_map(|rest| [Some(rest.from), rest.expires_at()]);
    let changes = changes.flatten().filter(|at| *at > now).min();
    let tax_percent = match terms.taken {
        CreditTaken::AfterTax => customer.tax.percent(),
        CreditTaken::BeforeTax => rust_decimal::Decimal::ZERO,
    };
    let paying = Paying { order: terms.order, tax_percent };
    let begun = grants.iter().map(|rest| rest.from).filter(|from| *from <= now);
    let mut months = BTreeSet::new();
    for at in begun.chain([now]) {
        let unreadable = |_| LedgerError::corrupt("credit_grant.from_at", &at);
        months.insert(period_of(at, customer.time_zone).map_err(unreadable)?.start);
    }
    let mut farthest: Option<Ceiling> = None;
    for month in months {
        let settled = settled(connection, customer, month).await?;
        let later = grants.iter().filter(|rest| rest.from >= month);
        let later: Vec<Held> = later.map(|rest| rest.held(settled)).collect();
        let found = balance(&later, paying, now).map_err(|cause| match cause {
            BalanceError::Amount(cause) => LedgerError::Posting(cause),
            BalanceError::Sum(cause) => LedgerError::Amount { what: "prepaid credit", cause },
        })?;
        let nano = column::add_count("how far credit goes", settled, found.reach)?;
        // What a part of it means are all that pay still: those of the first month.
        let granted = farthest.map_or(found.granted, |before| before.granted);
        let nano = farthest.map_or(nano, |before| before.nano.max(nano));
        farthest = Some(Ceiling { nano, granted });
    }
    let ceiling = farthest.ok_or_else(|| LedgerError::corrupt("prepaid_balance", &customer.id))?;
    Ok((ceiling, changes))
}

/// What of a customer's spending is behind the grants that begin in the month from `start` or
/// later: all before it, and since then what invoices have billed.
async fn settled(
    connection: &mut Connection,
    customer: &Customer,
    start: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    let label = month_label(start, customer.time_zone)
        .map_err(|_| LedgerError::corrupt("credit_grant.from_at", &start))?;
    let before = spending::before(connection, &customer.id, Some(start)).await?;
    let billed = invoice::billed_usage(connection, &customer.id, &label).await?;
    // Calls to the built-in provider are in what was spent, and no invoice will ever bill them.
    let simulated = posting::simulated(connection, customer, start).await?;
    let behind = column::add_count("billed and simulated usage", billed, simulated)?;
    let settled = column::add_count("spending that is behind", before, behind)?;
    // Invoices may be over usage that is older than what counts spending by day.
    Ok(settled.min(spending::before(connection, &customer.id, None).await?))
}

/// An instant between a half of `time` after `now` and all of it, by whose it is: customers who
/// were looked at together, as after a start, are not due together again.
fn within(time: TimeDelta, now: DateTime<Utc>, customer: &CustomerId) -> DateTime<Utc> {
    // FNV-1a of 64 bits.
    let hash = customer.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let half = u64::try_from(time.num_milliseconds()).unwrap_or_default().div_euclid(2);
    let sooner = hash.checked_rem(half).and_then(|sooner| i64::try_from(sooner).ok());
    let later = time.checked_sub(&TimeDelta::milliseconds(sooner.unwrap_or_default()));
    later.and_then(|later| now.checked_add_signed(later)).unwrap_or(now)
}
