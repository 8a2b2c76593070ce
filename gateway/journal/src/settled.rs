//! What a settled record's caller waits for.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{JournalError, shared::Shared};

/// Resolves when a settled record is durable, as far as the sync mode promises. Dropping it loses
/// nothing: what is not written yet is written then, and will be synced.
///
/// # Errors
/// [`JournalError::Failed`] when the write or the sync failed: the record may be lost, and the
/// journal has stopped. [`JournalError::Full`] when the journal was closed while the disk had no
/// room for it; [`JournalError::Closed`].
#[must_use = "a record is durable only when this has resolved"]
pub struct Settled {
    sequence: u64,
    /// Absent when the mode promises nothing more than the write, which is done.
    shared: Option<Arc<Shared>>,
}

impl Settled {
    pub(crate) fn at_once(sequence: u64) -> Self {
        Self { sequence, shared: None }
    }

    pub(crate) fn after_sync(sequence: u64, shared: Arc<Shared>) -> Self {
        Self { sequence, shared: Some(shared) }
    }

    /// The record's sequence number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Has the record written now, where it is not yet: it survives `kill -9` when this returns.
    ///
    /// # Errors
    /// [`JournalError::Full`] when the disk has no room: it is tried again by itself;
    /// [`JournalError::Failed`], [`JournalError::Closed`].
    pub fn write(&self) -> Result<(), JournalError> {
        self.shared.as_ref().map_or(Ok(()), |shared| shared.write_up_to(self.sequence))
    }
}

impl Future for Settled {
    type Output = Result<(), JournalError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.shared {
            None => Poll::Ready(Ok(())),
            Some(shared) => shared.watermark.poll(self.sequence, context),
        }
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        // Once the journal has ended nothing is written, and whoever ended it may be the one that
        // drops this, with the journal's state in its hands.
        if let Some(shared) = &self.shared
            && shared.watermark.forget(self.sequence)
            && shared.watermark.ended().is_none()
            && let Err(error) = shared.write_up_to(self.sequence)
        {
            let sequence = self.sequence;
            tracing::warn!(%error, sequence, "usage that nobody waits for is not written yet");
        }
    }
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settled").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
