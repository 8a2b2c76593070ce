//! Intake: a batch of settled events becomes rows, roll-ups and postings, in one transaction.
//!
//! Idempotent (B5, B6): an event is booked once, under its request id; the same payload again
//! changes nothing, another payload under the same id is quarantined. One bad event never stops
//! the others of its batch, and nothing is acknowledged before the commit (D2).

mod candidate;
mod deltas;

use permille_types::{Ack, Batch, Flag, NodeId, Sequenced};
use sha2::{Digest, Sha256};

pub use deltas::{Billed, BilledCost, BilledTokens};

use crate::{
    Ledger, LedgerError,
    catalogue::Catalogue,
    checkpoint, column,
    error::During,
    quarantine::{self, QuarantineReason, Quarantined},
    secret::public_id,
    store::Connection,
    usage::{self, Inserted, Pricing},
};
use candidate::{Candidate, Refusal};
use deltas::{Booking, Deltas};

/// Most events of one batch: what one transaction takes in well under a second.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Rows that are priced in one transaction when a price arrives: other writers wait for it.
const RERATE_ROWS_MAX: i64 = 500;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the sender is told.
    pub ack: Ack,
    /// Events that were booked.
    pub booked: u64,
    /// Events that were booked or quarantined before, with the same content.
    pub duplicates: u64,
    /// Events whose request id is booked with another content; quarantined.
    pub conflicts: u64,
    /// Events that were quarantined for another reason.
    pub quarantined: u64,
    /// Booked events that are held for want of a price.
    pub unpriced: u64,
    /// Booked events whose classes do not add up to the provider's total.
    pub mismatched: u64,
    /// What the booked events cost.
    pub billed: Billed,
}

/// What pricing held usage did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Requests that were held and now have a price.
    pub priced: u64,
    /// What they cost.
    pub billed: Vec<Billed>,
}

impl Ledger {
    /// Books a batch: all of it is committed when this answers, nothing of it on an error. The
    /// same events, again and in any batches, change nothing.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for an empty or oversized batch, else the store's failure.
    pub async fn accept(&self, batch: &Batch) -> Result<Accepted, LedgerError> {
        let count = batch.events.len();
        let sequence = batch.events.iter().map(|event| event.sequence).max();
        let Some(sequence) = sequence.filter(|_| count <= BATCH_EVENTS_MAX) else {
            let accepted = format!("1 to {BATCH_EVENTS_MAX} events");
            return Err(LedgerError::invalid("batch", &count, accepted));
        };

        let now = self.now();
        let mut tx = self.store.write().await?;
        let catalogue = self.current(&mut tx).await?;
        let mut books = Books::new(Ack { sequence });
        for event in &batch.events {
            books.take(&mut tx, &catalogue, &batch.node, event, now).await?;
        }
        let subject = format!("usage of node {} up to {sequence}", batch.node);
        books.deltas.write(&mut tx, &subject, now).await?;
        checkpoint::advance(&mut tx, &batch.node, sequence, now).await?;
        tx.commit().await.during("commit batch")?;
        books.accepted.billed = books.deltas.billed();
        Ok(books.accepted)
    }

    /// Prices usage that is held for want of a price, where there is one now: exactly once each,
    /// by the book in force at the time of the request.
    ///
    /// # Errors
    /// The store's failure; what was priced before it stays priced.
    pub async fn rerate_held(&self) -> Result<Rerated, LedgerError> {
        let mut rerated = Rerated::default();
        let mut place = (i64::MIN, String::new());
        loop {
            let now = self.now();
            let mut tx = self.store.write().await?;
            let catalogue = self.current(&mut tx).await?;
            let held = usage::held(&mut tx, (place.0, &place.1), RERATE_ROWS_MAX).await?;
            let Some(last) = held.last() else { break };
            place = (column::micros(last.event.at), last.event.request_id.to_string());
            let mut deltas = Deltas::default();
            let mut priced = 0_u64;
            for row in held {
                // What cannot be rated stays held: it was booked, so it is not quarantined.
                let Ok(found) = Candidate::rated(row.event, &catalogue) else { continue };
                let pricing = found.pricing();
                if pricing == Pricing::Held {
                    continue;
                }
                usage::price(&mut tx, &found.event.request_id, &pricing).await?;
                deltas.add(&found, Booking::Repriced)?;
                priced = priced.saturating_add(1);
            }
            if priced > 0 {
                deltas.write(&mut tx, "held usage priced", now).await?;
                tx.commit().await.during("commit priced usage")?;
                rerated.priced = rerated.priced.saturating_add(priced);
                rerated.billed.push(deltas.billed());
            }
        }
        Ok(rerated)
    }
}

/// The state of a batch while it is booked.
struct Books {
    accepted: Accepted,
    deltas: Deltas,
}

impl Books {
    fn new(ack: Ack) -> Self {
        let accepted = Accepted {
            ack,
            booked: 0,
            duplicates: 0,
            conflicts: 0,
            quarantined: 0,
            unpriced: 0,
            mismatched: 0,
            billed: Billed::default(),
        };
        Self { accepted, deltas: Deltas::default() }
    }

    async fn take(
        &mut self,
        connection: &mut Connection,
        catalogue: &Catalogue,
        node: &NodeId,
        event: &Sequenced,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), LedgerError> {
        let hash = Sha256::digest(&event.payload);
        let refusal = match Candidate::read(&event.payload, catalogue) {
            Ok(found) => match self.book(connection, &found, &hash).await? {
                None => return Ok(()),
                Some(conflict) => conflict,
            },
            Err(refusal) => refusal,
        };
        let reason = refusal.reason;
        let quarantined = Quarantined {
            id: public_id("qtn_", now)?,
            node: node.clone(),
            sequence: event.sequence,
            reason,
            detail: refusal.detail,
            request_id: refusal.request_id,
            payload: event.payload.to_vec(),
            created_at: now,
        };
        let new = quarantine::insert(connection, &quarantined, &hash).await?;
        let counter = match reason {
            _ if !new => &mut self.accepted.duplicates,
            QuarantineReason::Conflict => &mut self.accepted.conflicts,
            _ => &mut self.accepted.quarantined,
        };
        *counter = counter.saturating_add(1);
        Ok(())
    }

    /// Books an event. The refusal is that of a request id which is booked with other content.
    async fn book(
        &mut self,
        connection: &mut Connection,
        found: &Candidate,
        hash: &[u8],
    ) -> Result<Option<Refusal>, LedgerError> {
        let pricing = found.pricing();
        if usage::insert(connection, &found.event, hash, &pricing).await? == Inserted::IdTaken {
            let stored = usage::payload_sha256(connection, &found.event.request_id).await?;
            if stored.as_deref() == Some(hash) {
                self.accepted.duplicates = self.accepted.duplicates.saturating_add(1);
                return Ok(None);
            }
            return Ok(Some(Refusal {
                reason: QuarantineReason::Conflict,
                detail: "the request is booked with another content".to_owned(),
                request_id: Some(found.event.request_id.to_string()),
            }));
        }
        self.deltas.add(found, Booking::First)?;
        let accepted = &mut self.accepted;
        accepted.booked = accepted.booked.saturating_add(1);
        if pricing == Pricing::Held {
            accepted.unpriced = accepted.unpriced.saturating_add(1);
        }
        if found.event.flags.contains(&Flag::UsageMismatch) {
            accepted.mismatched = accepted.mismatched.saturating_add(1);
        }
        Ok(None)
    }
}
