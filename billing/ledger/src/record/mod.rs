//! Records: every booked request is a leaf of the tree of its customer and month.
//!
//! A tree grows in the transaction that books the row, so a root is always over the same requests
//! as the roll-ups beside it. The tree is that of [`permille_rating::proof`]; what is kept of it is
//! its size and at most 64 hashes.

mod evidence;
mod repo;

use std::collections::{BTreeSet, HashMap};

use permille_rating::proof::{Hash, Tree, record};
use permille_types::{CustomerId, DocumentNumber, UsageEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use evidence::RecordEntry;
pub(crate) use evidence::entry;

use crate::{Ledger, LedgerError, catalogue::Catalogue, error::During, store::Connection, usage};

/// Rows that get their place in one transaction when a store of before is opened.
const CATCH_UP_ROWS_MAX: i64 = 500;

/// The records of a month, as an invoice prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordHead {
    /// The month, such as `2026-11`.
    pub period: String,
    /// How many records there were: one for each request.
    pub size: u64,
    /// The root over them (RFC 9162, section 2.1.1).
    pub root: Hash,
    /// How many of them had been held for want of a price and had one by then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priced_later: u64,
    /// Invoices that had billed some of them before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billed_by: Vec<DocumentNumber>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A month's tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaves {
    tree: Tree,
    priced: u64,
}

/// Whose month it is, and which, such as `2026-11`.
pub(crate) type Month = (CustomerId, String);

/// Trees that a transaction makes grow.
#[derive(Debug, Default)]
pub(crate) struct Trees(HashMap<Month, Leaves>);

impl Trees {
    /// Those of `months`, as they are stored.
    pub(crate) async fn of(
        connection: &mut Connection,
        months: BTreeSet<Month>,
    ) -> Result<Self, LedgerError> {
        Ok(Self(repo::find(connection, months.iter()).await?.into_iter().collect()))
    }

    /// Adds the record of `event` to its month, which is one of those that were asked for; its
    /// place.
    pub(crate) fn add(&mut self, month: &str, event: &UsageEvent) -> Result<u64, LedgerError> {
        let leaf = Hash::of_leaf(&text(event)?);
        let tree = &mut self.leaves(&event.customer, month).tree;
        let place = tree.size();
        tree.push(leaf);
        Ok(place)
    }

    /// Notes that a held record has a price now. Which one of its month it is, from 1.
    pub(crate) fn price(&mut self, customer: &CustomerId, month: &str) -> u64 {
        let leaves = self.leaves(customer, month);
        leaves.priced = leaves.priced.saturating_add(1);
        leaves.priced
    }

    /// Stores what has grown.
    pub(crate) async fn write(&self, connection: &mut Connection) -> Result<(), LedgerError> {
        repo::store(connection, &self.0).await
    }

    fn leaves(&mut self, customer: &CustomerId, month: &str) -> &mut Leaves {
        self.0.entry((customer.clone(), month.to_owned())).or_default()
    }
}

/// The records of a customer's month as they are now, and who has billed some of them.
pub(crate) async fn head(
    connection: &mut Connection,
    customer: &CustomerId,
    month: &str,
) -> Result<RecordHead, LedgerError> {
    let asked = (customer.clone(), month.to_owned());
    let stored = repo::find(connection, std::iter::once(&asked)).await?.pop();
    let leaves = stored.map(|(_, leaves)| leaves).unwrap_or_default();
    Ok(RecordHead {
        period: month.to_owned(),
        size: leaves.tree.size(),
        root: leaves.tree.root(),
        priced_later: leaves.priced,
        billed_by: repo::billed_by(connection, customer, month).await?,
    })
}

/// The text that is hashed.
pub(crate) fn text(event: &UsageEvent) -> Result<Vec<u8>, LedgerError> {
    record(event.clone())
        .map_err(|_| LedgerError::corrupt("usage.request_id", &event.request_id.to_string()))
}

impl Ledger {
    /// Gives rows of a store of before records their places, oldest first.
    pub(crate) async fn record_rows_of_before(&self) -> Result<(), LedgerError> {
        loop {
            let mut tx = self.store.write().await?;
            let catalogue = self.current(&mut tx).await?;
            let rows = usage::leafless(&mut tx, CATCH_UP_ROWS_MAX).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let months = rows
                .iter()
                .map(|row| Ok((row.event.customer.clone(), month_of(&row.event, &catalogue)?)));
            let months = months.collect::<Result<_, LedgerError>>()?;
            let mut trees = Trees::of(&mut tx, months).await?;
            for row in rows {
                let month = month_of(&row.event, &catalogue)?;
                let leaf = trees.add(&month, &row.event)?;
                usage::place(&mut tx, &row.event, leaf).await?;
            }
            trees.write(&mut tx).await?;
            tx.commit().await.during("commit places of records")?;
        }
    }
}

fn month_of(event: &UsageEvent, catalogue: &Catalogue) -> Result<String, LedgerError> {
    let customer = catalogue
        .customer(&event.customer)
        .ok_or_else(|| LedgerError::corrupt("usage.customer", event.customer.as_str()))?;
    permille_rating::period::month_label(event.at, customer.time_zone)
        .map_err(|_| LedgerError::corrupt("usage.at", &event.at.to_rfc3339()))
}
