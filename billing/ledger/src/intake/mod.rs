//! Intake: a batch of settled events becomes rows, roll-ups and postings, in one transaction.
//!
//! Idempotent (B5, B6): an event is booked once, under its request id; the same payload again
//! changes nothing, another payload under the same id is quarantined. One bad event never stops
//! the others of its batch, and nothing is acknowledged before the commit (D2).

mod candidate;
mod deltas;
mod quarantined;
mod rerate;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    pin::Pin,
};

use chrono::{DateTime, NaiveDate, Utc};
use permille_types::{
    Ack, Batch, CustomerId, Flag, ModelName, NodeId, PriceVersion, RequestId, Sequenced,
    USAGE_EVENT_VERSION, UsageEvent, UsageEventError,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use deltas::{Billed, BilledCost, BilledRequest, BilledTokens};
pub use rerate::Rerated;

use crate::{
    Ledger, LedgerError,
    catalogue::Catalogue,
    checkpoint,
    error::During,
    price,
    quarantine::{self, QuarantineReason, Quarantined},
    record::Trees,
    secret::public_id,
    store::Connection,
    stored_response,
    usage::{self, NewUsage, Pricing},
    webhook::{self, Event, EventKind},
};
use candidate::{Candidate, Refusal};
use deltas::{Booking, Deltas};

/// Most events of one batch: what one transaction takes in well under a second.
pub const BATCH_EVENTS_MAX: usize = 10_000;

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

impl Accepted {
    /// Adds what became of other events of the same batch.
    fn add(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.booked, other.booked),
            (&mut self.duplicates, other.duplicates),
            (&mut self.conflicts, other.conflicts),
            (&mut self.quarantined, other.quarantined),
            (&mut self.unpriced, other.unpriced),
            (&mut self.mismatched, other.mismatched),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.billed.costs.extend(other.billed.costs);
        self.billed.tokens.extend(other.billed.tokens);
        self.billed.requests.extend(other.billed.requests);
    }
}

impl Ledger {
    /// Books a batch: all of it is committed when this answers, nothing of it on an error. The
    /// same events, again and in any batches, change nothing.
    ///
    /// The future is boxed so that it is compiled with this crate, optimised, and not with the one
    /// that awaits it.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for an empty or oversized batch and for an event of a version that
    /// a newer build writes, else the store's failure.
    #[must_use]
    pub fn accept<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> Pin<Box<dyn Future<Output = Result<Accepted, LedgerError>> + Send + 'a>> {
        Box::pin(self.booked(batch))
    }

    async fn booked(&self, batch: &Batch) -> Result<Accepted, LedgerError> {
        let count = batch.events.len();
        let sequence = batch.events.iter().map(|event| event.sequence).max();
        let Some(sequence) = sequence.filter(|_| count <= BATCH_EVENTS_MAX) else {
            let accepted = format!("1 to {BATCH_EVENTS_MAX} events");
            return Err(LedgerError::invalid("batch", &count, accepted));
        };

        let ack = Ack { sequence, quarantined: 0 };
        let accepted = match self.accept_whole(batch, ack).await {
            // What does not fit the books, or is refused by the store, would fail again and again
            // and hold up its journal for ever: the events are booked one by one, without it.
            Err(cause) if is_permanent(&cause) => self.accept_each(batch, ack).await?,
            done => done?,
        };
        let quarantined = accepted.conflicts.saturating_add(accepted.quarantined);
        Ok(Accepted { ack: Ack { sequence, quarantined }, ..accepted })
    }

    async fn accept_whole(&self, batch: &Batch, ack: Ack) -> Result<Accepted, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let catalogue = self.current(&mut tx).await?;
        let read = Read::all(&batch.events, &catalogue)?;
        let mut books = Books::open(&mut tx, ack, &read).await?;
        for read in read {
            books.take(&mut tx, &batch.node, read, now).await?;
        }
        books.write(&mut tx, &batch.node, now).await?;
        checkpoint::advance(&mut tx, &batch.node, ack.sequence, now).await?;
        tx.commit().await.during("commit batch")?;
        Ok(books.closed())
    }

    async fn accept_each(&self, batch: &Batch, ack: Ack) -> Result<Accepted, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let catalogue = self.current(&mut tx).await?;
        let mut accepted = Books::open(&mut tx, ack, &[]).await?.closed();
        let mut refusals = 0_u32;
        let mut refused = None;
        for read in Read::all(&batch.events, &catalogue)? {
            let event = read.event;
            let mut books = Books::open(&mut tx, ack, std::slice::from_ref(&read)).await?;
            tx.begin_part().await.during("begin event")?;
            let booked = match books.take(&mut tx, &batch.node, read, now).await {
                Ok(()) => books.write(&mut tx, &batch.node, now).await,
                Err(cause) => Err(cause),
            };
            match booked {
                Ok(()) => tx.keep_part().await.during("keep event")?,
                Err(cause) if is_permanent(&cause) => {
                    tx.undo_part().await.during("undo event")?;
                    books = Books::open(&mut tx, ack, &[]).await?;
                    refusals = refusals.saturating_add(1);
                    let refusal = Refusal::unbookable(&event.payload, &cause);
                    books.set_aside(&mut tx, &batch.node, event, refusal, now).await?;
                    refused = Some(cause).filter(|cause| !cause.is_overflow()).or(refused);
                }
                Err(cause) => return Err(cause),
            }
            accepted.add(books.closed());
        }
        // Where nothing is booked and more than one event is refused, it is the store that is
        // wrong: the journal keeps them, and what comes behind them is in the next batch.
        if let Some(cause) = refused.filter(|_| accepted.booked == 0 && refusals > 1) {
            return Err(cause);
        }
        checkpoint::advance(&mut tx, &batch.node, ack.sequence, now).await?;
        tx.commit().await.during("commit batch")?;
        Ok(accepted)
    }
}

/// Whether the same event would fail with it again.
fn is_permanent(cause: &LedgerError) -> bool {
    cause.is_overflow() || cause.is_of_what_was_written()
}

/// An event as it was read, before the store is asked.
struct Read<'a> {
    event: &'a Sequenced,
    /// What can be booked, and the hash of its content.
    found: Result<(Candidate, Vec<u8>), Refusal>,
}

impl<'a> Read<'a> {
    fn all(events: &'a [Sequenced], catalogue: &Catalogue) -> Result<Vec<Self>, LedgerError> {
        let read = |event: &'a Sequenced| {
            let found = match UsageEvent::from_payload(&event.payload) {
                Ok(read) => {
                    let hash = Sha256::digest(content(&event.payload, &read));
                    Candidate::read(read, catalogue).map(|found| (found, hash.to_vec()))
                }
                Err(cause) => {
                    refuse_newer(&cause)?;
                    Err(Refusal::unreadable(&cause))
                }
            };
            Ok(Self { event, found })
        };
        events.iter().map(read).collect()
    }
}

/// The state of a batch while it is booked.
struct Books {
    accepted: Accepted,
    /// Hashes of what is stored under the batch's request ids, and of what it books itself.
    taken: HashMap<RequestId, Vec<u8>>,
    booked: Vec<NewUsage>,
    deltas: Deltas,
    trees: Trees,
    created: stored_response::Created,
    /// Derived prices that this batch has stored.
    kept: HashSet<PriceVersion>,
    /// Hashes of what is in quarantine and is not to be billed.
    dismissed: HashSet<Vec<u8>>,
    /// Days of which it cannot be told any more what is booked.
    forgotten: HashSet<NaiveDate>,
    /// Whose requests are held, for want of a price of which model.
    held: BTreeSet<(CustomerId, ModelName)>,
}

impl Books {
    /// The books as they stand, as far as events are about them. Nobody else writes until the
    /// transaction ends.
    async fn open(
        connection: &mut Connection,
        ack: Ack,
        read: &[Read<'_>],
    ) -> Result<Self, LedgerError> {
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
        let found = || read.iter().filter_map(|read| read.found.as_ref().ok());
        let requests = found().map(|(found, _)| found.event.request_id);
        let months = found().map(|(found, _)| found.of_month());
        let hashes = found().map(|(_, hash)| hash.as_slice());
        Ok(Self {
            accepted,
            taken: usage::payloads(connection, requests).await?,
            booked: Vec::new(),
            deltas: Deltas::default(),
            trees: Trees::of(connection, months.collect()).await?,
            created: stored_response::Created::new(),
            dismissed: quarantine::dismissed(connection, hashes).await?,
            kept: HashSet::new(),
            forgotten: usage::forgotten(connection, found().map(|(found, _)| found.event.at))
                .await?,
            held: BTreeSet::new(),
        })
    }

    async fn take(
        &mut self,
        connection: &mut Connection,
        node: &NodeId,
        read: Read<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let event = read.event;
        match self.try_book(connection, read, now).await? {
            None => Ok(()),
            Some(refusal) => self.set_aside(connection, node, event, refusal, now).await,
        }
    }

    /// Books what can be booked of it, or says why nothing can.
    async fn try_book(
        &mut self,
        connection: &mut Connection,
        read: Read<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LedgerError> {
        match read.found {
            Ok((found, hash)) => self.book(connection, found, hash, now).await,
            Err(refusal) => Ok(Some(refusal)),
        }
    }

    /// Writes the events and what they add to roll-ups, sessions, receivables and trees of records.
    async fn write(
        &self,
        connection: &mut Connection,
        node: &NodeId,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        usage::insert(connection, &self.booked).await?;
        stored_response::note(connection, &self.created).await?;
        self.trees.write(connection).await?;
        for (customer, model) in &self.held {
            tell_held(connection, customer, model, now).await?;
        }
        let subject = format!("usage of node {node} up to {}", self.accepted.ack.sequence);
        self.deltas.write(connection, &subject, now).await
    }

    fn closed(mut self) -> Accepted {
        self.accepted.billed = self.deltas.billed();
        self.accepted
    }

    /// Quarantines an event that is not booked.
    async fn set_aside(
        &mut self,
        connection: &mut Connection,
        node: &NodeId,
        event: &Sequenced,
        refusal: Refusal,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let reason = refusal.reason;
        let payload = match UsageEvent::from_payload(&event.payload) {
            Ok(read) => content(&event.payload, &read),
            Err(_) => Cow::Borrowed(&*event.payload),
        };
        let hash = Sha256::digest(&payload);
        let quarantined = Quarantined {
            request_id: refusal.request_id,
            ..Quarantined::new(
                public_id("qtn_", now)?,
                (node.clone(), event.sequence),
                (reason, refusal.detail),
                payload.into_owned(),
                now,
            )
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

    /// Books an event. The refusal is that of a request id which is booked with other content, or
    /// of one that is too old to tell.
    async fn book(
        &mut self,
        connection: &mut Connection,
        found: Candidate,
        hash: Vec<u8>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LedgerError> {
        let request = found.event.request_id;
        if self.dismissed.contains(&hash) {
            self.accepted.duplicates = self.accepted.duplicates.saturating_add(1);
            return Ok(None);
        }
        if let Some(stored) = self.taken.get(&request) {
            if *stored == hash {
                self.accepted.duplicates = self.accepted.duplicates.saturating_add(1);
                return Ok(None);
            }
            return Ok(Some(Refusal {
                reason: QuarantineReason::Conflict,
                detail: "the request is booked with another content".to_owned(),
                request_id: Some(request.to_string()),
            }));
        }
        let day = found.event.at.date_naive();
        if self.forgotten.contains(&day) {
            return Ok(Some(Refusal {
                reason: QuarantineReason::OutOfRange,
                detail: format!("admitted on {day}, whose keys are gone: it may be booked already"),
                request_id: Some(request.to_string()),
            }));
        }
        if let Some(derived) = &found.rated.derived
            && self.kept.insert(derived.version.clone())
        {
            price::keep(connection, derived, now).await?;
        }
        let pricing = found.pricing();
        let event = &found.event;
        let leaf = self.trees.add(&found.month, event)?;
        stored_response::add(&mut self.created, event);
        self.deltas.add(&found, Booking::First)?;
        let accepted = &mut self.accepted;
        accepted.booked = accepted.booked.saturating_add(1);
        if pricing == Pricing::Held {
            accepted.unpriced = accepted.unpriced.saturating_add(1);
            self.held.insert((event.customer.clone(), event.model().clone()));
        }
        if event.flags.contains(&Flag::UsageMismatch) {
            accepted.mismatched = accepted.mismatched.saturating_add(1);
        }
        self.taken.insert(request, hash.clone());
        self.booked.push(NewUsage { event: found.event, payload_sha256: hash, pricing, leaf });
        Ok(None)
    }
}

/// What tells an event from another one of its id (B6): its JSON, in whatever form it came. So the
/// same event from a journal of an earlier build, which held JSON, is the same content.
fn content<'a>(payload: &'a [u8], event: &UsageEvent) -> Cow<'a, [u8]> {
    let json = if payload.starts_with(b"{") { None } else { event.to_json().ok() };
    json.map_or(Cow::Borrowed(payload), Cow::Owned)
}

/// Tells, once a day, that requests are held for want of a price.
async fn tell_held(
    connection: &mut Connection,
    customer: &CustomerId,
    model: &ModelName,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    /// What is held, as events tell of it.
    #[derive(Serialize)]
    struct News<'a> {
        customer: &'a CustomerId,
        model: &'a ModelName,
    }
    let subject = format!("held {customer}/{model}");
    let once = Some(format!("{subject} {}", at.date_naive()));
    let data = &News { customer, model };
    let kind = EventKind::UsageHeld;
    webhook::tell(connection, Event { kind, customer: Some(customer), subject, once, data }, at)
        .await
}

/// Refuses an event that a newer gateway wrote. Quarantined, it would be acknowledged and never
/// booked; refused, it stays in its journal until this half is upgraded too (D2).
fn refuse_newer(cause: &UsageEventError) -> Result<(), LedgerError> {
    match cause {
        UsageEventError::UnknownVersion { version } if *version > USAGE_EVENT_VERSION => {
            let accepted = format!("up to {USAGE_EVENT_VERSION}; upgrade billing before gateways");
            Err(LedgerError::invalid("version of a usage event", version, accepted))
        }
        _ => Ok(()),
    }
}
