//! Postings: double entry in 10⁻⁹ of the currency unit, summing to zero (B7).
//!
//! Usage accrues on `receivable:unbilled:<customer>` against `revenue:unbilled`; what the built-in
//! simulated provider served accrues on accounts of its own and never becomes money. A drawdown
//! posts round(cumulative exact cost) − what is posted already, so however usage is cut into
//! batches, what is posted in the end is the same.

mod repo;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::round::to_nano;
use permille_types::{Currency, CustomerId};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::{Ledger, LedgerError, column, secret::public_id, store::Connection};

/// What drawdowns accrue by: customer, currency code, whether a simulated provider served it.
pub(crate) type CostKey = (CustomerId, Currency, bool);

/// Exact costs by what they accrue on.
pub(crate) type Costs = BTreeMap<(CustomerId, &'static str, bool), (Currency, Decimal)>;

/// What the entries of an account add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountBalance {
    /// The account.
    pub account: String,
    /// The currency.
    pub currency: Currency,
    /// Debits less credits, in 10⁻⁹ of the currency unit.
    pub amount_nano: i64,
}

/// What a receivable has accrued and how much of it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drawdown {
    pub(crate) exact: Decimal,
    pub(crate) posted_nano: i64,
}

pub(crate) fn add_cost(
    costs: &mut Costs,
    (customer, currency, simulated): CostKey,
    cost: Decimal,
) -> Result<(), LedgerError> {
    let (_, sum) =
        costs.entry((customer, currency.code(), simulated)).or_insert((currency, Decimal::ZERO));
    *sum = column::exact_add("cost of a batch", *sum, cost)?;
    Ok(())
}

/// Posts what `costs` add to each receivable. `subject` says what it was for.
pub(crate) async fn post(
    connection: &mut Connection,
    costs: &Costs,
    subject: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    for ((customer, _, simulated), (currency, cost)) in costs {
        if cost.is_zero() {
            continue;
        }
        let (receivable, revenue) = if *simulated {
            (format!("receivable:simulated:{customer}"), "revenue:simulated")
        } else {
            (format!("receivable:unbilled:{customer}"), "revenue:unbilled")
        };
        let before = repo::drawdown(connection, &receivable, *currency).await?;
        let exact = column::exact_add("cost of a customer", before.exact, *cost)?;
        let posted_nano = to_nano(exact)?;
        repo::set_drawdown(connection, &receivable, *currency, &Drawdown { exact, posted_nano })
            .await?;
        let amount = posted_nano.checked_sub(before.posted_nano).ok_or(LedgerError::Count {
            what: "nano-units to post",
            left: posted_nano,
            right: before.posted_nano,
        })?;
        if amount == 0 {
            continue;
        }
        let id = public_id("pst_", at)?;
        repo::insert(connection, &id, customer, *currency, subject, at).await?;
        repo::insert_entry(connection, &id, &receivable, amount).await?;
        repo::insert_entry(connection, &id, revenue, amount.saturating_neg()).await?;
    }
    Ok(())
}

impl Ledger {
    /// What the entries of every account add up to. The sum over one currency is zero.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn balances(&self) -> Result<Vec<AccountBalance>, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::balances(&mut reader).await
    }
}
