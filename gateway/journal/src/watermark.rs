//! How far the journal is synced, and who waits for it.
//!
//! Apart from the appenders' lock, so that a waiter never delays a writer.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use crate::{
    JournalError,
    lock::Lock,
    threads::{AtomicU64, Ordering},
};

/// The highest synced sequence number, or why it will never move again.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    synced: AtomicU64,
    ended: OnceLock<JournalError>,
    /// One waker per sequence number. Bounded by the requests in flight.
    waiters: Lock<BTreeMap<u64, Waker>>,
    /// Tells the shipper of progress and of the end.
    pub(crate) advanced: Notify,
}

impl Watermark {
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn ended(&self) -> Option<&JournalError> {
        self.ended.get()
    }

    /// Everything up to `sequence` is on disk. [`Watermark::wake`] tells those who wait for it.
    pub(crate) fn reached(&self, sequence: u64) {
        self.synced.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Wakes who waited for a record up to `sequence`, and the shipper.
    pub(crate) fn wake(&self, sequence: u64) {
        let mut ready = {
            let mut waiters = self.waiters.lock();
            let later = waiters.split_off(&sequence.saturating_add(1));
            std::mem::replace(&mut *waiters, later)
        };
        while let Some((_, waker)) = ready.pop_first() {
            waker.wake();
        }
        self.advanced.notify_waiters();
    }

    /// Nothing more will be synced. The first reason stands.
    pub(crate) fn end(&self, reason: JournalError) {
        // A second reason changes nothing: the waiters have the first.
        if self.ended.set(reason).is_err() {
            return;
        }
        let waiters = std::mem::take(&mut *self.waiters.lock());
        for waker in waiters.into_values() {
            waker.wake();
        }
        self.advanced.notify_waiters();
    }

    /// Ready once `sequence` is synced, or never will be.
    pub(crate) fn poll(
        &self,
        sequence: u64,
        context: &Context<'_>,
    ) -> Poll<Result<(), JournalError>> {
        if self.synced() >= sequence {
            return Poll::Ready(Ok(()));
        }
        let mut waiters = self.waiters.lock();
        // Again under the lock: `advance` and `end` store first and take the lock then.
        if self.synced() >= sequence {
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = self.ended() {
            return Poll::Ready(Err(reason.clone()));
        }
        waiters.insert(sequence, context.waker().clone());
        Poll::Pending
    }

    /// Nobody waits for `sequence` any more; whether it is not synced yet.
    pub(crate) fn forget(&self, sequence: u64) -> bool {
        let is_awaited = self.synced() < sequence;
        if is_awaited {
            self.waiters.lock().remove(&sequence);
        }
        is_awaited
    }
}

/// Resolves when a record is durable, as far as the sync mode promises. Dropping it loses
/// nothing: the record is written and will be synced.
///
/// # Errors
/// [`JournalError::Failed`] when the sync failed: the record may be lost to power loss, and the
/// journal has stopped.
#[derive(Debug)]
#[must_use = "a record is durable only when this has resolved"]
pub struct Durable {
    sequence: u64,
    /// Absent when the mode promises nothing more than the write.
    watermark: Option<Arc<Watermark>>,
}

impl Durable {
    pub(crate) fn at_once(sequence: u64) -> Self {
        Self { sequence, watermark: None }
    }

    pub(crate) fn after_sync(sequence: u64, watermark: Arc<Watermark>) -> Self {
        Self { sequence, watermark: Some(watermark) }
    }

    /// The record's sequence number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Future for Durable {
    type Output = Result<(), JournalError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.watermark {
            None => Poll::Ready(Ok(())),
            Some(watermark) => watermark.poll(self.sequence, context),
        }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(watermark) = &self.watermark {
            watermark.forget(self.sequence);
        }
    }
}
