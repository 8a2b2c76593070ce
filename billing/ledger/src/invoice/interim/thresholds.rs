//! Who has so much unbilled that their plan asks for an interim invoice.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use permille_rating::period::month_label;
use permille_types::CustomerId;
use rust_decimal::Decimal;

use super::super::{InvoiceKind, Wanted, compute, found, repo::live};
use crate::{
    Invoice, Ledger, LedgerError, RecordHead, audit::Author, close, error::During, plan, record,
};

/// What a look found that did not reach the threshold: until it is otherwise, the next one does not
/// compute it again. For the process alone; who looks first looks at everyone.
#[derive(Debug, Default)]
pub struct ThresholdsSeen(HashMap<CustomerId, Seen>);

/// What says that nothing has changed of what a customer's month has unbilled: its records and who
/// has billed of them. Terms may change without either, so a look is good for an hour at most.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    records: RecordHead,
    threshold: Decimal,
    hour: i64,
}

/// What came of a look.
#[derive(Debug, Default)]
pub struct ThresholdSweep {
    /// Interim invoices that were drafted.
    pub drafted: Vec<Invoice>,
    /// Whose unbilled amount has no result.
    pub failed: Vec<(CustomerId, LedgerError)>,
}

impl Ledger {
    /// Drafts an interim invoice for everyone whose plan has a threshold and who has reached it:
    /// the subtotal of [`Ledger::preview_interim`] over the running month is at or above it. While
    /// an interim invoice of the month waits to be issued, none is drafted beside it. Several
    /// processes may look at once.
    ///
    /// # Errors
    /// The store's failure; what was drafted before it stays drafted.
    pub async fn draft_over_thresholds(
        &self,
        seen: &mut ThresholdsSeen,
    ) -> Result<ThresholdSweep, LedgerError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let customers = plan::thresholds(&mut reader, now).await?;
        drop(reader);
        let known: HashSet<&CustomerId> = customers.iter().map(|(customer, _)| customer).collect();
        seen.0.retain(|customer, _| known.contains(customer));
        let mut sweep = ThresholdSweep::default();
        for (customer, threshold) in &customers {
            match self.draft_over_threshold(customer, *threshold, seen, now).await {
                Ok(drafted) => sweep.drafted.extend(drafted),
                Err(cause @ LedgerError::Store { .. }) => {
                    seen.0.remove(customer);
                    return Err(cause);
                }
                // Of this customer alone; the others are looked at all the same.
                Err(cause) => sweep.failed.push((customer.clone(), cause)),
            }
        }
        Ok(sweep)
    }

    async fn draft_over_threshold(
        &self,
        customer: &CustomerId,
        threshold: Decimal,
        seen: &mut ThresholdsSeen,
        now: DateTime<Utc>,
    ) -> Result<Option<Invoice>, LedgerError> {
        let kind = InvoiceKind::Interim;
        let mut view = self.store.view().await?;
        let found = found(&mut view, customer).await?;
        let label = month_label(now, found.time_zone)
            .map_err(|_| LedgerError::corrupt("clock", &now.to_rfc3339()))?;
        let records = record::head(&mut view, customer, &label).await?;
        let look = Seen { records, threshold, hour: now.timestamp().div_euclid(3_600) };
        if seen.0.get(customer) == Some(&look) {
            return Ok(None);
        }
        if live(&mut view, customer, &label, kind).await?.is_some()
            || close::is_closed(&mut view, &label).await?
        {
            return Ok(None);
        }
        // Also where it fails: that is told once, not every minute.
        seen.0.insert(customer.clone(), look);
        let catalogue = self.current(&mut view).await?;
        let preview =
            compute(&mut view, (&*catalogue, None), &found, Wanted::preview(&label, kind)).await?;
        drop(view);
        let is_reached = |invoice: &Invoice| invoice.subtotal >= threshold && !invoice.simulated;
        if !is_reached(&preview) {
            return Ok(None);
        }
        seen.0.remove(customer);

        let mut tx = self.store.write().await?;
        if live(&mut tx, customer, &label, kind).await?.is_some() {
            return Ok(None);
        }
        let wanted = Wanted::preview(&label, kind);
        let drafted = self.draft(&mut tx, customer, wanted, Author::THRESHOLD).await?;
        // Somebody may have billed some of it between the look and the draft.
        if !is_reached(&drafted) {
            return Ok(None);
        }
        tx.commit().await.during("commit interim draft")?;
        Ok(Some(drafted))
    }
}
