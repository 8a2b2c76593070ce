//! A mutex and a condition that sleep when contended.
//!
//! The appenders' lock is held over a write of some microseconds. A lock that yields the
//! processor while it is contended hands a whole time slice to another process instead: on two
//! cores that was 1.5 ms for each contended record. The standard library's lock sleeps until it
//! is woken. Its poisoning is of no use here: a thread that panicked has left the journal's state
//! as it was after its last complete step, and what it was writing is judged by its checksum.

use std::{sync::PoisonError, time::Instant};

use crate::threads::{AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

/// A value that one thread at a time works on.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

/// The value, until it is dropped.
pub(crate) type Held<'a, T> = MutexGuard<'a, T>;

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Held<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that those who work on a [`Lock`]'s value wait for. Who brings it about changes the
/// value first and notifies then; it costs nothing while nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Due {
    condition: Condvar,
    /// Changed only by those who hold the value.
    waiting: AtomicUsize,
}

impl Due {
    pub(crate) fn notify_all(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.condition.notify_all();
        }
    }

    /// Gives the value up until notified, perhaps without a reason.
    pub(crate) fn wait<'a, T>(&self, held: Held<'a, T>) -> Held<'a, T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let held = self.condition.wait(held).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        held
    }

    /// Like [`Due::wait`], at most until `deadline`.
    pub(crate) fn wait_until<'a, T>(&self, held: Held<'a, T>, deadline: Instant) -> Held<'a, T> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waited = self.condition.wait_timeout(held, left);
        let (held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        held
    }
}
