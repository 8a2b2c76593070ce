//! How gateway and billing meet. In one process the calls go straight to the ledger, between
//! processes over HTTP; neither side can tell.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use serde::{Deserialize, Serialize};

use crate::{CustomerId, NodeId, SessionId, Snapshot, SpendQuery, Spent, UsageEvent};

/// A settled usage event with its place in its node's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequenced {
    /// Journal sequence number; grows, with gaps.
    pub sequence: u64,
    /// The event as the journal holds it, byte for byte: see [`UsageEvent::from_payload`].
    pub payload: Bytes,
}

/// Settled events of one node, in journal order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whose journal.
    pub node: NodeId,
    /// The events. Never empty.
    pub events: Vec<Sequenced>,
}

/// Billing's word that everything up to `sequence` of that node's journal is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The highest committed sequence number.
    pub sequence: u64,
    /// How many events of the batch were put in quarantine instead of being booked.
    pub quarantined: u64,
}

/// Why the other half gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be reached or its storage failed; the same call may work later.
    #[error("{operation}: billing is unavailable")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused; repeating the call will not help.
    #[error("{operation}: billing refused: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Its words.
        reason: String,
    },
}

/// A response that a provider stores, as billing knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredResponse {
    /// The request that created it.
    pub created: UsageEvent,
    /// Whether its usage was settled after its reply: see [`crate::RequestId::settlement`].
    pub settled: bool,
}

/// Takes usage events in. Idempotent: the same events, again and in any batches, change nothing.
pub trait Intake: Send + Sync + 'static {
    /// Commits `batch` and only then answers (D2).
    ///
    /// # Errors
    /// [`ControlError`] when nothing of the batch was committed.
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>>;
}

/// Tells the gateway what it must know.
pub trait ControlPlane: Send + Sync + 'static {
    /// The newest snapshot. Waits, within a bound, for one newer than `known`; `None` when there
    /// is none by then.
    ///
    /// # Errors
    /// [`ControlError`] when the snapshot cannot be had.
    fn snapshot(&self, known: Option<u64>)
    -> BoxFuture<'_, Result<Option<Snapshot>, ControlError>>;

    /// The highest turn that billing has of a session; 0 when it has none.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be had.
    fn last_turn<'a>(
        &'a self,
        customer: &'a CustomerId,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<u32, ControlError>>;

    /// The response that a provider stores for `customer` under its own `id`; `None` when billing
    /// knows none that this customer created.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be had.
    fn stored_response<'a>(
        &'a self,
        customer: &'a CustomerId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredResponse>, ControlError>>;

    /// What was spent so far, all as of one instant: usage as it was rated when it was booked.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be had.
    fn spent<'a>(&'a self, query: &'a SpendQuery) -> BoxFuture<'a, Result<Spent, ControlError>>;
}
