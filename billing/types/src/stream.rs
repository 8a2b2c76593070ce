//! The usage stream: batches on their way from gateways to billing through Redis.
//!
//! An entry of the stream holds a batch, framed as for the intake ([`crate::Batch::to_wire`]), and
//! the name of the attempt to hand it over. Billing writes its answer under that name, in one step
//! with the removal of the entry and after its commit. Each attempt has a name that no other one
//! has or had, so an answer speaks of exactly what a gateway has asked, whatever Redis has lost or
//! kept meanwhile: what billing has committed is never concluded from anything older.
//!
//! What is in braces decides the slot of a cluster: everything lies together.

use serde::{Deserialize, Serialize};

/// Key of the stream.
pub const USAGE_STREAM: &str = "permille:{usage}:stream";

/// The consumer group of all billing processes.
pub const USAGE_GROUP: &str = "billing";

// `add.lua` and `done.lua` write the fields below by these names, and the scripts read the first
// field by its place: change them together.

/// Field of an entry: the attempt's name.
pub const ENTRY_ATTEMPT: &str = "attempt";

/// Field of an entry: the framed batch.
pub const ENTRY_BATCH: &str = "batch";

/// Field of an answer: a [`StreamReply`] as JSON.
pub const ANSWER_REPLY: &str = "reply";

/// Key of the answer to an attempt: a stream of its own, so that reading it takes nothing away.
#[must_use]
pub fn answer_key(attempt: &str) -> String {
    format!("permille:{{usage}}:answer:{attempt}")
}

/// What billing says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReply {
    /// Shape of this body: [`crate::WIRE_VERSION`].
    pub version: u16,
    /// What became of the batch.
    pub outcome: StreamOutcome,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamOutcome {
    /// All of it is committed, up to this sequence number of its journal.
    Committed {
        /// The highest of the batch.
        sequence: u64,
        /// How many of its events are in quarantine; absent where none is.
        #[serde(default, skip_serializing_if = "crate::wire::is_none")]
        quarantined: u64,
    },
    /// Nothing of it is: billing would refuse it again.
    Refused {
        /// Why.
        reason: String,
    },
}
