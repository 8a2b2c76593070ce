//! Who has so much unbilled that their plan asks for an interim invoice.

use std::collections::{HashMap, HashSet};

use permille_types::CustomerId;
use rust_decimal::Decimal;

use super::{
    super::{InvoiceKind, Wanted, compute, found, repo::live, stored},
    repo::{self, Candidate},
};
use crate::{
    Invoice, Ledger, LedgerError, audit::Author, column, error::During, store::Connection,
};

/// What a look found that did not reach the threshold: until it is otherwise, the next one does not
/// compute it again. For the process alone; who looks first looks at everyone.
#[derive(Debug, Default)]
pub struct ThresholdsSeen(HashMap<CustomerId, Seen>);

/// What says that nothing has changed of what a customer's month has unbilled: its records and who
/// has billed of them. Terms may change without either, so a look is good for an hour at most.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    candidate: Candidate,
    hour: i64,
}

/// What came of one customer.
enum Looked {
    Below,
    /// Somebody else drafted or billed it meanwhile.
    Elsewhere,
    Drafted(Box<Invoice>),
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
    /// the subtotal of [`Ledger::preview_interim`] over the running month is at or above it; above
    /// the last draft of the month that somebody made void, by as much again. While an interim
    /// invoice of the month waits to be issued, none is drafted beside it. Several processes may
    /// look at once.
    ///
    /// # Errors
    /// The store's failure; what was drafted before it stays drafted.
    pub async fn draft_over_thresholds(
        &self,
        seen: &mut ThresholdsSeen,
    ) -> Result<ThresholdSweep, LedgerError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let candidates = repo::candidates(&mut reader, now).await?;
        drop(reader);
        let known: HashSet<&CustomerId> = candidates.iter().map(|one| &one.customer).collect();
        seen.0.retain(|customer, _| known.contains(customer));
        let hour = now.timestamp().div_euclid(3_600);
        let mut sweep = ThresholdSweep::default();
        for candidate in candidates {
            let look = Seen { candidate, hour };
            let customer = look.candidate.customer.clone();
            if seen.0.get(&customer) == Some(&look) {
                continue;
            }
            match self.draft_over_threshold(&look.candidate).await {
                Ok(Looked::Drafted(drafted)) => sweep.drafted.push(*drafted),
                Ok(Looked::Elsewhere) => {}
                Ok(Looked::Below) => drop(seen.0.insert(customer, look)),
                Err(cause @ LedgerError::Store { .. }) => return Err(cause),
                // Of this customer alone, and told once; the others are looked at all the same.
                Err(cause) => {
                    seen.0.insert(customer.clone(), look);
                    sweep.failed.push((customer, cause));
                }
            }
        }
        Ok(sweep)
    }

    async fn draft_over_threshold(&self, candidate: &Candidate) -> Result<Looked, LedgerError> {
        let Candidate { customer, threshold, month, .. } = candidate;
        let kind = InvoiceKind::Interim;
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let found = found(&mut view, customer).await?;
        let preview =
            compute(&mut view, (&*catalogue, None), &found, Wanted::preview(month, kind)).await?;
        if !is_reached(&mut view, &preview, *threshold).await? {
            return Ok(Looked::Below);
        }
        drop(view);

        let mut tx = self.store.write().await?;
        if live(&mut tx, customer, month, kind).await?.is_some() {
            return Ok(Looked::Elsewhere);
        }
        let wanted = Wanted::preview(month, kind);
        let drafted = self.draft(&mut tx, customer, wanted, Author::THRESHOLD).await?;
        // Somebody may have billed or declined some of it between the look and the draft.
        if !is_reached(&mut tx, &drafted, *threshold).await? {
            return Ok(Looked::Elsewhere);
        }
        tx.commit().await.during("commit interim draft")?;
        Ok(Looked::Drafted(Box::new(drafted)))
    }
}

/// Whether so much is unbilled that it is time for a draft. Who makes a draft void says that it is
/// not: until as much again has come.
async fn is_reached(
    connection: &mut Connection,
    invoice: &Invoice,
    threshold: Decimal,
) -> Result<bool, LedgerError> {
    if invoice.simulated || invoice.subtotal < threshold {
        return Ok(false);
    }
    let (customer, month) = (&invoice.customer.id, &invoice.period.label);
    let Some(declined) = repo::declined(connection, customer, month).await? else {
        return Ok(true);
    };
    let declined = stored(connection, &declined).await?.invoice.subtotal;
    let next = column::exact_add("threshold of an interim invoice", declined, threshold)?;
    Ok(invoice.subtotal >= next)
}
