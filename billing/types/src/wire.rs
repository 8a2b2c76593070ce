//! Bodies of the internal routes between `permille gateway` and `permille billing`.
//!
//! Not the public API: only a token of role `gateway` may use these routes. A batch of events is
//! framed in binary, because its payloads must arrive byte for byte as the journal holds them,
//! whatever they are: billing compares those bytes (B6). All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | version, [`BATCH_VERSION`] |
//! | 2 | length of the node id |
//! | | node id |
//! | 8, 8, … | of each event: sequence number, length of its payload, payload |
//!
//! Version 2 came with payloads that are packed: a billing that reads JSON only refuses it, so that
//! the journal keeps what it holds, and does not put it into quarantine.
//!
//! Every other body is JSON.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Batch, IdError, Sequenced, StoredResponse};

/// The version of the JSON bodies that this build writes.
pub const WIRE_VERSION: u16 = 1;

/// The version of a framed batch that this build writes; it reads every one up to it.
pub const BATCH_VERSION: u16 = 2;

/// Path of the intake: `POST` a [`Batch`] as [`BATCH_MEDIA_TYPE`], get an [`IntakeReply`].
pub const INTAKE_PATH: &str = "/internal/v1/intake";

/// Content type of a framed batch.
pub const BATCH_MEDIA_TYPE: &str = "application/vnd.permille.batch";

/// Path of the snapshot: `GET ?known=N`, get a [`crate::Snapshot`], or 204 when none is newer.
pub const SNAPSHOT_PATH: &str = "/internal/v1/snapshot";

/// Path of the last turn: `GET ?customer=&session=`, get a [`TurnReply`].
pub const TURN_PATH: &str = "/internal/v1/turn";

/// Path of a stored response: `GET ?customer=&id=`, get a [`StoredReply`].
pub const STORED_RESPONSE_PATH: &str = "/internal/v1/stored-response";

/// Path of what was spent: `POST` a [`crate::SpendQuery`], get a [`crate::Spent`].
pub const SPENT_PATH: &str = "/internal/v1/spent";

/// Bytes before the node id.
const PREFIX_BYTES: usize = 4;
/// Bytes before each payload.
const EVENT_PREFIX_BYTES: usize = 16;

/// Why a body is no batch.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Written by a build whose bodies this one does not know.
    #[error("intake body has version {version}, this build reads up to {BATCH_VERSION}")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// It ends before what it announces.
    #[error("intake body ends within its {part}")]
    Torn {
        /// What is missing a part.
        part: &'static str,
    },
    /// The node is none.
    #[error(transparent)]
    Node(#[from] IdError),
}

impl Batch {
    /// The batch as the body of a request, see the module's text.
    #[must_use]
    pub fn to_wire(&self) -> Bytes {
        let node = self.node.as_str().as_bytes();
        let bytes = |event: &Sequenced| EVENT_PREFIX_BYTES.saturating_add(event.payload.len());
        let events = self.events.iter().map(bytes).fold(0, usize::saturating_add);
        let head = PREFIX_BYTES.saturating_add(node.len());
        let mut body = BytesMut::with_capacity(head.saturating_add(events));
        body.put_u16_le(BATCH_VERSION);
        // No id has more than 256 bytes.
        body.put_u16_le(u16::try_from(node.len()).unwrap_or(u16::MAX));
        body.put_slice(node);
        for event in &self.events {
            body.put_u64_le(event.sequence);
            body.put_u64_le(u64::try_from(event.payload.len()).unwrap_or(u64::MAX));
            body.put_slice(&event.payload);
        }
        body.freeze()
    }

    /// The batch that `body` carries; its payloads are parts of it.
    ///
    /// # Errors
    /// [`WireError`] when the version is unknown or the body is not framed as a batch.
    pub fn from_wire(mut body: Bytes) -> Result<Self, WireError> {
        let torn = |part| WireError::Torn { part };
        let version = body.try_get_u16_le().map_err(|_| torn("version"))?;
        if !(1..=BATCH_VERSION).contains(&version) {
            return Err(WireError::UnknownVersion { version });
        }
        let length = body.try_get_u16_le().map_err(|_| torn("node id"))?;
        let node = take(&mut body, length.into()).ok_or(torn("node id"))?;
        let node = String::from_utf8_lossy(&node).parse()?;
        let mut events = Vec::new();
        while !body.is_empty() {
            let sequence = body.try_get_u64_le().map_err(|_| torn("events"))?;
            let length = body.try_get_u64_le().map_err(|_| torn("events"))?;
            let payload = take(&mut body, length).ok_or(torn("events"))?;
            events.push(Sequenced { sequence, payload });
        }
        Ok(Self { node, events })
    }
}

/// Takes the first `length` bytes off `body`, when it has them.
fn take(body: &mut Bytes, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
    Some(body.split_to(length))
}

/// Billing's word that a batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeReply {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// The highest committed sequence number of that node.
    pub sequence: u64,
    /// How many events of the batch are in quarantine; absent from earlier versions.
    #[serde(default, skip_serializing_if = "is_none")]
    pub quarantined: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
pub(crate) fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The highest turn that billing has of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnReply {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// The turn; 0 when billing has none.
    pub turn: u32,
}

/// A response that a provider stores for a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReply {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// The response; absent when billing knows none of that id and customer.
    pub response: Option<StoredResponse>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(payloads: &[&[u8]]) -> Batch {
        let events = payloads.iter().zip(1..).map(|(payload, sequence)| Sequenced {
            sequence,
            payload: Bytes::copy_from_slice(payload),
        });
        Batch { node: "n1".parse().unwrap(), events: events.collect() }
    }

    #[test]
    fn a_body_that_is_cut_off_is_refused_wherever_it_is_cut_within_a_part() {
        let body = batch(&[b"one", b""]).to_wire();
        let ends_of_parts = [6, 6 + 16 + 3, body.len()];

        for end in 0..=body.len() {
            let read = Batch::from_wire(body.slice(..end));

            assert_eq!(read.is_ok(), ends_of_parts.contains(&end), "{end}: {read:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_body_takes_no_memory() {
        let mut body = batch(&[]).to_wire().to_vec();
        body.extend_from_slice(&1_u64.to_le_bytes());
        body.extend_from_slice(&u64::MAX.to_le_bytes());

        let refused = Batch::from_wire(body.into()).unwrap_err();

        assert_eq!(refused.to_string(), "intake body ends within its events");
    }

    #[test]
    fn a_newer_body_and_one_without_a_node_are_refused_by_name() {
        let refused = |body: &'static [u8]| Batch::from_wire(body.into()).unwrap_err().to_string();

        assert_eq!(refused(&[3, 0, 0, 0]), "intake body has version 3, this build reads up to 2");
        assert_eq!(refused(&[1, 0, 0, 0]), "node id is empty");
    }
}
