//! Spending by local day: what customers, projects and keys have cost, for their budgets.
//!
//! Whole nano-units, rounded for each request, so that the gateway, which counts the same way,
//! comes to the same sum. What a session has cost stands in its own row. Not what is invoiced:
//! invoices round once, on their lines.
//!
//! Beside it stands what providers take, by day and customer, for lists that compare the two.

mod news;
mod repo;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Utc};
use permille_rating::round::to_nano;
use permille_types::{
    CustomerId, KeyId, Level, NodeSequence, ProjectId, SpendAccount, SpendQuery, Spent,
};
use rust_decimal::Decimal;

pub(crate) use news::tell_of_credit;

use crate::{
    Ledger, LedgerError, checkpoint, column,
    session::{self, SessionKey},
    store::Connection,
};

/// What spending is added up by: whose, and the start of the local day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpendingKey {
    pub(crate) customer: CustomerId,
    pub(crate) level: Level,
    pub(crate) id: String,
    pub(crate) day: DateTime<Utc>,
}

/// What a batch adds, in 10⁻⁹ of the currency unit.
pub(crate) type SpendingDeltas = BTreeMap<SpendingKey, i64>;

/// By which keys, each with its project, a batch has added to sessions.
pub(crate) type SessionKeys = BTreeMap<SessionKey, BTreeSet<(ProjectId, KeyId)>>;

/// What of the requests whose provider's price is known in the customer's currency, by its code:
/// the level of such a day's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProviderSide {
    /// What providers take for all of their calls.
    Taken,
    /// What they cost their customer at their own prices.
    Sold,
}

impl ProviderSide {
    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "provider_cost",
            Self::Sold => "provider_priced",
        }
    }
}

/// Whose, the start of the local day, in which currency, and which side.
pub(crate) type ProviderKey = (CustomerId, DateTime<Utc>, &'static str, ProviderSide);

/// What a batch adds to these, in 10⁻⁹ of the currency unit.
pub(crate) type ProviderDeltas = BTreeMap<ProviderKey, i64>;

/// Adds the cost of one request.
pub(crate) fn add<K: Ord>(
    deltas: &mut BTreeMap<K, i64>,
    key: K,
    cost: Decimal,
) -> Result<(), LedgerError> {
    // What does not fit here fits no posting either, which refuses the request by name.
    let Ok(nano) = to_nano(cost) else { return Ok(()) };
    if nano != 0 {
        let sum = deltas.entry(key).or_default();
        *sum = column::add_count("spending of a day", *sum, nano)?;
    }
    Ok(())
}

/// Writes what a batch adds, and tells of the budgets that it takes over a threshold. Sessions are
/// written already.
pub(crate) async fn write(
    connection: &mut Connection,
    (deltas, sessions): (&SpendingDeltas, &SessionKeys),
    providers: &ProviderDeltas,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let spent = deltas.iter().map(|(key, nano)| repo::Addition {
        customer: &key.customer,
        level: key.level.as_str(),
        id: &key.id,
        day: key.day,
        nano: *nano,
    });
    let taken = providers.iter().map(|((customer, day, currency, side), nano)| repo::Addition {
        customer,
        level: side.as_str(),
        id: currency,
        day: *day,
        nano: *nano,
    });
    repo::add(connection, &spent.chain(taken).collect::<Vec<_>>()).await?;
    news::tell(connection, deltas, sessions, at).await
}

/// What a customer has spent in days that begin before `end`, or in all, as far as it is booked.
pub(crate) async fn before(
    connection: &mut Connection,
    customer: &CustomerId,
    end: Option<DateTime<Utc>>,
) -> Result<i64, LedgerError> {
    let (level, id) = (Level::Customer, customer.to_string());
    let account = SpendAccount { level, id, from: None, until: end };
    repo::sum(connection, customer, &account).await
}

impl Ledger {
    /// The customers that have cost most in the last days, dearest first. Amounts of different
    /// currencies are not compared: the dearest of each come first, then the second ones.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn dearest_customers(
        &self,
        days: u32,
        most: u32,
    ) -> Result<Vec<CustomerId>, LedgerError> {
        let since = self.now().checked_sub_days(Days::new(days.into())).unwrap_or_default();
        let mut reader = self.store.read().await?;
        repo::dearest(&mut reader, since, most).await
    }

    /// What was spent so far and how far each journal is in it, as of one instant.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn spent(&self, query: &SpendQuery) -> Result<Spent, LedgerError> {
        let mut view = self.store.view().await?;
        let mut sums = Vec::with_capacity(query.accounts.len());
        for account in &query.accounts {
            sums.push(match account.level {
                Level::Session => {
                    let cost = session::cost(&mut view, &query.customer, &account.id).await?;
                    to_nano(cost)?
                }
                _ => repo::sum(&mut view, &query.customer, account).await?,
            });
        }
        let journals = checkpoint::all(&mut view).await?;
        let journals = journals.into_iter();
        let journals = journals.map(|at| NodeSequence { node: at.node, sequence: at.sequence });
        Ok(Spent::new(sums, journals.collect()))
    }
}
