//! The record of a request: the bytes that are its leaf.

use permille_types::{UsageEvent, UsageEventError};

/// What the version of every record reads. The events of newer gateways may say more; what they
/// say beside it is part of the record, and what older ones did not say is absent from it, so a
/// row gives the same record for ever.
pub const RECORD_VERSION: u16 = 4;

/// A text is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no usage event.
    #[error("read record")]
    Read(#[source] UsageEventError),
    /// It cannot be written.
    #[error("write record")]
    Write(#[source] UsageEventError),
    /// It is one, but not written as records are.
    #[error("the record of request {request} is not in its canonical form")]
    NotCanonical {
        /// Whose it would be.
        request: String,
    },
}

/// The record of `event`: one line of JSON, keys in the order of the event's fields, nothing that
/// is absent, no line feed.
///
/// # Errors
/// [`RecordError::Write`] when a value cannot be written as JSON.
pub fn record(mut event: UsageEvent) -> Result<Vec<u8>, RecordError> {
    event.version = RECORD_VERSION;
    event.to_json().map_err(RecordError::Write)
}

/// The event that a record tells of.
///
/// # Errors
/// [`RecordError`] when the bytes are none, or not the one text that tells of it.
pub fn record_of(bytes: &[u8]) -> Result<UsageEvent, RecordError> {
    let event = UsageEvent::from_json(bytes).map_err(RecordError::Read)?;
    if record(event.clone())? != bytes {
        return Err(RecordError::NotCanonical { request: event.request_id.to_string() });
    }
    Ok(event)
}
