//! What was spent before a counter was there: the ledger's sum, and what of this gateway's journal
//! is not in it yet.
//!
//! The journal is read first. What billing commits between the two is in the ledger's sum, and the
//! sequence number that comes with the sum says so.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use permille_journal::Journal;
use permille_limits::{Base, LoadError, Spendings};
use permille_types::{ControlPlane, CustomerId, SpendAccount, SpendQuery, UsageEvent};

use super::{cost_nano, counters::is_of};
use crate::known::{Knowledge, Known};

pub(super) struct Spent {
    pub(super) control: Arc<dyn ControlPlane>,
    pub(super) journal: Journal,
    pub(super) knowledge: Knowledge,
}

impl Spendings for Spent {
    fn bases<'a>(
        &'a self,
        customer: &'a CustomerId,
        counters: Vec<(Arc<str>, Arc<SpendAccount>)>,
    ) -> BoxFuture<'a, Result<Vec<Base>, LoadError>> {
        Box::pin(async move {
            let known = self.knowledge.current().ok_or("no snapshot of keys and prices yet")?;
            let (journal, whose) = (self.journal.clone(), customer.clone());
            let read = move || uncommitted(&journal, &whose);
            let (own, up_to) = tokio::task::spawn_blocking(read).await??;
            let accounts = counters.iter().map(|(_, account)| SpendAccount::clone(account));
            let query = SpendQuery { customer: customer.clone(), accounts: accounts.collect() };
            let spent = self.control.spent(&query).await?;

            let node = self.journal.node();
            let committed = spent.sequence_of(node);
            let mut seen: Vec<_> = spent
                .journals
                .iter()
                .filter(|other| other.node != *node)
                .map(|other| (other.node.clone(), other.sequence))
                .collect();
            seen.push((node.clone(), committed.max(up_to)));
            let bases = counters.into_iter().enumerate().map(|(place, (counter, account))| {
                let booked = spent.nano.get(place).copied().unwrap_or_default();
                let later = own.iter().filter(|(sequence, _)| *sequence > committed);
                let later = later.filter(|(_, event)| is_of(event, &account));
                let later = later.map(|(_, event)| known_cost(&known, event));
                let booked = u64::try_from(booked).unwrap_or_default();
                let spent = later.fold(booked, u64::saturating_add);
                Base { counter, spent, seen: seen.clone() }
            });
            Ok(bases.collect())
        })
    }
}

/// Events of `customer` that billing has not committed, and up to where these are all of them.
fn uncommitted(
    journal: &Journal,
    customer: &CustomerId,
) -> Result<(Vec<(u64, UsageEvent)>, u64), LoadError> {
    let mut events = Vec::new();
    let up_to = journal.uncommitted(|written| {
        // An event that does not read is none that costs anything; billing quarantines it.
        if let Ok(event) = UsageEvent::from_json(&written.payload)
            && event.customer == *customer
        {
            events.push((written.sequence, event));
        }
    })?;
    Ok((events, up_to))
}

fn known_cost(known: &Known, event: &UsageEvent) -> u64 {
    let key = known.key_of(&event.key);
    key.map_or(0, |key| cost_nano(event, &known.prices, key.currency))
}
