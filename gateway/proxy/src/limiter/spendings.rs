//! What was spent before a counter was there: the ledger's sum, and what this gateway has settled
//! that is not in it yet.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use permille_journal::Journal;
use permille_limits::{Booked, Kind, LoadError, Settlement, Spendings};
use permille_types::{ControlPlane, CustomerId, SpendAccount, SpendQuery, UsageEvent};

use super::{cost_nano, posts, unbooked::Unbooked};
use crate::known::Knowledge;

pub(super) struct Spent {
    pub(super) control: Arc<dyn ControlPlane>,
    pub(super) journal: Journal,
    pub(super) knowledge: Knowledge,
    pub(super) unbooked: Arc<Unbooked>,
}

impl Spendings for Spent {
    fn booked<'a>(
        &'a self,
        customer: &'a CustomerId,
        accounts: &'a [Arc<SpendAccount>],
    ) -> BoxFuture<'a, Result<Booked, LoadError>> {
        Box::pin(async move {
            self.unbooked.until_read().await;
            let accounts = accounts.iter().map(|account| SpendAccount::clone(account));
            let query = SpendQuery { customer: customer.clone(), accounts: accounts.collect() };
            let spent = self.control.spent(&query).await?;
            let journals = spent.journals.into_iter().map(|at| (at.node, at.sequence));
            let nano = spent.nano.into_iter().map(|nano| u64::try_from(nano).unwrap_or_default());
            Ok(Booked { nano: nano.collect(), journals: journals.collect() })
        })
    }

    fn with_unbooked(
        &self,
        customer: &CustomerId,
        accounts: &[Arc<SpendAccount>],
        booked: &Booked,
        load: &mut dyn FnMut(&[u64]),
    ) -> Result<(), LoadError> {
        let booked = booked.sequence_of(self.journal.node());
        Ok(self.unbooked.with(customer, accounts, booked, load)?)
    }

    fn unbooked_settlements(&self) -> BoxFuture<'_, Result<Vec<Settlement>, LoadError>> {
        let (journal, knowledge) = (self.journal.clone(), self.knowledge.clone());
        Box::pin(async move {
            let read = move || {
                let known = knowledge.current().ok_or("no snapshot of keys and prices yet")?;
                let mut all = Vec::new();
                journal.uncommitted(|written| {
                    let Ok(event) = UsageEvent::from_payload(&written.payload) else { return };
                    let Some(key) = known.key_of(&event.key) else { return };
                    let nano = cost_nano(&event, &known.prices, key.currency);
                    let mut posts = posts(&event, key, nano);
                    // A minute's rate is free again by now.
                    posts.retain(|post| post.kind == Kind::Money);
                    if !posts.is_empty() {
                        let (customer, id) = (event.customer, event.request_id);
                        all.push(Settlement { customer, id, sequence: written.sequence, posts });
                    }
                })?;
                Ok::<_, LoadError>(all)
            };
            tokio::task::spawn_blocking(read).await?
        })
    }
}
