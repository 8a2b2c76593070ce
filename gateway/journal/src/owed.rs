//! Settled records of open requests that found no room: kept in memory until there is some.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::error::JournalError;

/// A record that waits for room.
pub(crate) struct Owed {
    pub(crate) request: Uuid,
    pub(crate) payload: Vec<u8>,
    pub(crate) written: oneshot::Sender<u64>,
}

impl Owed {
    /// A record, and what resolves once it is written.
    pub(crate) fn new(request: Uuid, payload: Vec<u8>) -> (Self, Written) {
        let (written, told) = oneshot::channel();
        (Self { request, payload, written }, Written(told))
    }
}

/// Why a record is not written, and what tells when it is.
#[derive(Debug)]
pub struct Unsettled {
    /// Why not now.
    pub cause: JournalError,
    /// Absent where the journal does not keep the record.
    pub written: Option<Written>,
}

impl From<JournalError> for Unsettled {
    fn from(cause: JournalError) -> Self {
        Self { cause, written: None }
    }
}

/// Resolves to the sequence number of a record once there was room for it; to nothing where the
/// journal ends before.
#[derive(Debug)]
#[must_use = "it tells only whoever waits for it"]
pub struct Written(oneshot::Receiver<u64>);

impl Future for Written {
    type Output = Option<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<u64>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}
