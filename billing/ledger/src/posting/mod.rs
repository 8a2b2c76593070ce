//! Postings: double entry in 10⁻⁹ of the currency unit, summing to zero (B7).
//!
//! Usage accrues on `receivable:unbilled:<customer>` against `revenue:unbilled`; what the built-in
//! simulated provider served accrues on accounts of its own and never becomes money. A drawdown
//! posts round(cumulative exact cost) − what is posted already, so however usage is cut into
//! batches, what is posted in the end is the same. An issued invoice takes the exact cost of its
//! lines back from there and books what it says on `receivable:billed:<customer>`,
//! `revenue:billed` and `tax:payable`; money that comes is on `cash`.

mod repo;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::round::{from_nano, to_nano};
use permille_types::{Currency, CustomerId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Customer, Ledger, LedgerError, column, secret::public_id, store::Connection};

/// What drawdowns accrue by: customer, currency code, whether a simulated provider served it.
pub(crate) type CostKey = (CustomerId, Currency, bool);

/// Exact costs by what they accrue on.
pub(crate) type Costs = BTreeMap<(CustomerId, &'static str, bool), (Currency, Decimal)>;

/// What the entries of an account add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AccountBalance {
    /// The account.
    pub account: String,
    /// The currency.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Debits less credits, in 10⁻⁹ of the currency unit.
    pub amount_nano: i64,
}

impl AccountBalance {
    /// The same in the currency's own unit, exact.
    #[must_use]
    pub fn amount(&self) -> Decimal {
        from_nano(self.amount_nano)
    }
}

/// What a receivable has accrued and how much of it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drawdown {
    pub(crate) exact: Decimal,
    pub(crate) posted_nano: i64,
}

/// Whose books a posting is in, what for, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Books<'a> {
    pub(crate) customer: &'a CustomerId,
    pub(crate) currency: Currency,
    pub(crate) subject: &'a str,
    pub(crate) at: DateTime<Utc>,
}

const REVENUE_UNBILLED: &str = "revenue:unbilled";

fn unbilled(customer: &CustomerId) -> String {
    format!("receivable:unbilled:{customer}")
}

fn simulated_account(customer: &CustomerId) -> String {
    format!("receivable:simulated:{customer}")
}

/// What a customer's calls to the built-in simulated provider have cost that were booked from
/// `since` on, in nano-units.
pub(crate) async fn simulated(
    connection: &mut Connection,
    customer: &Customer,
    since: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    let account = simulated_account(&customer.id);
    repo::moved_since(connection, &account, customer.currency, Some(since)).await
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
    let costs = costs.iter().filter(|(_, (_, cost))| !cost.is_zero());
    let accruals = costs.map(|((customer, _, simulated), (currency, cost))| {
        let (receivable, revenue) = if *simulated {
            (simulated_account(customer), "revenue:simulated")
        } else {
            (unbilled(customer), REVENUE_UNBILLED)
        };
        let books = Books { customer, currency: *currency, subject, at };
        Accrual { books, receivable, revenue, cost: *cost }
    });
    accrue(connection, &accruals.collect::<Vec<_>>()).await
}

/// Moves the exact cost that `customer` has accrued, up or down, and posts what the rounded sum
/// moves by.
pub(crate) async fn accrue_unbilled(
    connection: &mut Connection,
    books: Books<'_>,
    cost: Decimal,
) -> Result<(), LedgerError> {
    let receivable = unbilled(books.customer);
    accrue(connection, &[Accrual { books, receivable, revenue: REVENUE_UNBILLED, cost }]).await
}

/// What moves the exact cost on a receivable; each receivable is in a list once for a currency.
struct Accrual<'a> {
    books: Books<'a>,
    receivable: String,
    revenue: &'static str,
    cost: Decimal,
}

async fn accrue(connection: &mut Connection, accruals: &[Accrual<'_>]) -> Result<(), LedgerError> {
    let accounts =
        accruals.iter().map(|accrual| (accrual.receivable.as_str(), accrual.books.currency));
    let stored = repo::drawdowns(connection, accounts).await?;
    let mut after = Vec::with_capacity(accruals.len());
    let mut postings = Vec::with_capacity(accruals.len());
    for Accrual { books, receivable, revenue, cost } in accruals {
        let key = (receivable.as_str(), books.currency);
        let before = stored.get(&(receivable.clone(), books.currency.code()));
        let (exact, posted) =
            before.map_or((Decimal::ZERO, 0), |before| (before.exact, before.posted_nano));
        let exact = column::exact_add("cost of a customer", exact, *cost)?;
        let posted_nano = to_nano(exact)?;
        let amount = posted_nano.checked_sub(posted).ok_or(LedgerError::Count {
            what: "nano-units to post",
            left: posted_nano,
            right: posted,
        })?;
        after.push((key, Drawdown { exact, posted_nano }));
        let revenue = ((*revenue).to_owned(), amount.saturating_neg());
        postings.extend(posting(*books, vec![(receivable.clone(), amount), revenue])?);
    }
    repo::set_drawdowns(connection, &after).await?;
    repo::insert(connection, &postings).await
}

/// Posts amounts to accounts, debits positive. They must sum to zero (B7).
pub(crate) async fn book(
    connection: &mut Connection,
    books: Books<'_>,
    amounts: &[(String, Decimal)],
) -> Result<(), LedgerError> {
    let entries: Vec<(String, i64)> = amounts
        .iter()
        .map(|(account, amount)| Ok((account.clone(), to_nano(*amount)?)))
        .collect::<Result<_, LedgerError>>()?;
    let posting = posting(books, entries)?;
    repo::insert(connection, posting.as_slice()).await
}

/// What is written of a posting: the entries that are not zero; nothing where all are.
struct Posting<'a> {
    id: String,
    books: Books<'a>,
    entries: Vec<(String, i64)>,
}

fn posting(
    books: Books<'_>,
    mut entries: Vec<(String, i64)>,
) -> Result<Option<Posting<'_>>, LedgerError> {
    let sum_nano = entries.iter().try_fold(0_i64, |sum, (_, nano)| {
        column::add_count("nano-units of a posting", sum, *nano)
    })?;
    if sum_nano != 0 {
        return Err(LedgerError::Unbalanced { subject: books.subject.to_owned(), sum_nano });
    }
    entries.retain(|(_, nano)| *nano != 0);
    if entries.is_empty() {
        return Ok(None);
    }
    Ok(Some(Posting { id: public_id("pst_", books.at)?, books, entries }))
}

/// What is wrong with postings and drawdowns on their own, in words. Nothing, unless the file was
/// written by something else.
pub(crate) async fn discrepancies(connection: &mut Connection) -> Result<Vec<String>, LedgerError> {
    let mut found = Vec::new();
    for (posting, sum) in repo::unbalanced(connection).await? {
        found.push(format!("posting {posting} sums to {sum} nano-units, not to zero"));
    }
    for (account, posted, sum) in repo::drifted(connection).await? {
        found.push(format!("account {account} says {posted} nano-units, its entries sum to {sum}"));
    }
    Ok(found)
}

/// What the entries of one account add up to, in 10⁻⁹ of the currency unit.
pub(crate) use repo::balance;

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
