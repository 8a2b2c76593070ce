//! Bodies of the internal routes between `permille gateway` and `permille billing`.
//!
//! Not the public API: only a token of role `gateway` may use these routes. An event travels as
//! raw JSON, byte for byte as its journal holds it, because billing compares those bytes (B6).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Batch, NodeId, Sequenced};

/// The version of these bodies that this build writes.
pub const WIRE_VERSION: u16 = 1;

/// Path of the intake: `POST` an [`IntakeRequest`], get an [`IntakeReply`].
pub const INTAKE_PATH: &str = "/internal/v1/intake";

/// Path of the snapshot: `GET ?known=N`, get a [`crate::Snapshot`], or 204 when none is newer.
pub const SNAPSHOT_PATH: &str = "/internal/v1/snapshot";

/// Path of the last turn: `GET ?customer=&session=`, get a [`TurnReply`].
pub const TURN_PATH: &str = "/internal/v1/turn";

/// Why a body is no batch.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Written by a build whose bodies this one does not know.
    #[error("intake body has version {version}, this build reads {WIRE_VERSION}")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// An event carries neither or both of its two forms.
    #[error("event {sequence} has neither or both of `event` and `bytes_hex`")]
    NoPayload {
        /// Its place in the journal.
        sequence: u64,
    },
    /// The hexadecimal form does not read.
    #[error("event {sequence}: read `bytes_hex`")]
    Hex {
        /// Its place in the journal.
        sequence: u64,
        /// The cause.
        #[source]
        cause: hex::FromHexError,
    },
}

/// A batch of one node's journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeRequest {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// Whose journal.
    pub node: NodeId,
    /// Its events, in journal order.
    pub events: Vec<IntakeEvent>,
}

/// One event of a batch: exactly one of `event` and `bytes_hex` is there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeEvent {
    /// Its place in the journal.
    pub sequence: u64,
    /// The event as the journal holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// A payload that is no JSON, hexadecimal: billing quarantines it, so that one bad record
    /// never stops its journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_hex: Option<String>,
}

impl From<&Batch> for IntakeRequest {
    fn from(batch: &Batch) -> Self {
        let events = batch.events.iter().map(IntakeEvent::from).collect();
        Self { version: WIRE_VERSION, node: batch.node.clone(), events }
    }
}

impl From<&Sequenced> for IntakeEvent {
    fn from(event: &Sequenced) -> Self {
        let raw = std::str::from_utf8(&event.payload)
            .ok()
            .and_then(|text| RawValue::from_string(text.to_owned()).ok())
            // Space around the value is not part of it and would not arrive; `null` would arrive
            // as an absent field.
            .filter(|raw| raw.get().len() == event.payload.len() && raw.get() != "null");
        let bytes_hex = raw.is_none().then(|| hex::encode(&event.payload));
        Self { sequence: event.sequence, event: raw, bytes_hex }
    }
}

impl IntakeRequest {
    /// The batch that this body carries, its payloads byte for byte.
    ///
    /// # Errors
    /// [`WireError`] when the version is unknown or an event has no readable payload.
    pub fn into_batch(self) -> Result<Batch, WireError> {
        if self.version != WIRE_VERSION {
            return Err(WireError::UnknownVersion { version: self.version });
        }
        let events = self.events.into_iter().map(IntakeEvent::into_sequenced);
        Ok(Batch { node: self.node, events: events.collect::<Result<_, _>>()? })
    }
}

impl IntakeEvent {
    fn into_sequenced(self) -> Result<Sequenced, WireError> {
        let sequence = self.sequence;
        let payload = match (self.event, self.bytes_hex) {
            (Some(raw), None) => Bytes::from(String::from(Box::<str>::from(raw))),
            (None, Some(text)) => {
                let bytes =
                    hex::decode(text).map_err(|cause| WireError::Hex { sequence, cause })?;
                Bytes::from(bytes)
            }
            _ => return Err(WireError::NoPayload { sequence }),
        };
        Ok(Sequenced { sequence, payload })
    }
}

/// Billing's word that a batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeReply {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// The highest committed sequence number of that node.
    pub sequence: u64,
}

/// The highest turn that billing has of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnReply {
    /// Shape of this body: [`WIRE_VERSION`].
    pub version: u16,
    /// The turn; 0 when billing has none.
    pub turn: u32,
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
    fn payload_bytes_travel_unchanged_even_when_they_are_no_json() {
        let sent = batch(&[br#"{"a": 1.50,  "b":"\u00e9"}"#, b" {} ", b"\xff\x00", b"", b"null"]);

        let body = serde_json::to_vec(&IntakeRequest::from(&sent)).unwrap();
        let read: IntakeRequest = serde_json::from_slice(&body).unwrap();

        assert_eq!(read.into_batch().unwrap(), sent);
    }

    #[test]
    fn the_first_published_body_still_reads() {
        let body = r#"{"version":1,"node":"n1","events":[{"sequence":7,"event":{"x": 1}}]}"#;

        let read: IntakeRequest = serde_json::from_str(body).unwrap();

        assert_eq!(read.into_batch().unwrap().events[0].payload, r#"{"x": 1}"#);
    }

    #[test]
    fn a_newer_body_is_refused() {
        let body = r#"{"version":2,"node":"n1","events":[]}"#;

        let read: IntakeRequest = serde_json::from_str(body).unwrap();

        assert!(matches!(read.into_batch(), Err(WireError::UnknownVersion { version: 2 })));
    }
}
