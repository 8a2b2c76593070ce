//! What the journal's handles and its two background threads share.

use std::{sync::Arc, time::Duration};

use permille_types::Clock;
use uuid::Uuid;

use crate::{
    FullReason, Health, JournalConfig, JournalError, Stats, SyncMode,
    lock::{Due, Held, Lock},
    owed::{Owed, Written},
    state::State,
    store::Store,
    watermark::Watermark,
};

pub(crate) struct Shared {
    pub(crate) state: Lock<State>,
    pub(crate) watermark: Arc<Watermark>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) mode: SyncMode,
    /// How long a sync waits for more records.
    pub(crate) gather: Duration,
    /// Wakes the sync thread.
    pub(crate) sync_due: Due,
    /// Wakes the space thread.
    pub(crate) space_due: Due,
    /// Wakes appenders that wait for a prepared segment.
    pub(crate) room_made: Due,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        watermark: Arc<Watermark>,
        store: Store,
        clock: Arc<dyn Clock>,
        config: &JournalConfig,
    ) -> Self {
        Self {
            state: Lock::new(state),
            watermark,
            store,
            clock,
            mode: config.sync,
            gather: config.gather,
            sync_due: Due::default(),
            space_due: Due::default(),
            room_made: Due::default(),
        }
    }

    /// Now, in microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        self.clock.now().timestamp_micros()
    }

    /// Whether whoever settles a request waits for the sync.
    pub(crate) fn syncs_settled(&self) -> bool {
        matches!(self.mode, SyncMode::Settle | SyncMode::IntentAndSettle)
    }

    /// Keeps the settled record of an open request until there is room for it, once.
    pub(crate) fn owe(&self, request: Uuid, payload: Vec<u8>) -> Option<Written> {
        let mut state = self.state.lock();
        let is_owed = state.owed.iter().any(|owed| owed.request == request);
        if is_owed || !state.open.contains_key(&request) || state.check_usable().is_err() {
            return None;
        }
        let (owed, written) = Owed::new(request, payload);
        state.owed.push_back(owed);
        drop(state);
        self.space_due.notify_all();
        Some(written)
    }

    /// Writes what waits, where the record `sequence` does. What finds no room the sync
    /// thread tries again.
    pub(crate) fn write_up_to(&self, sequence: u64) -> Result<(), JournalError> {
        let mut state = self.state.lock();
        if state.in_file().sequence < sequence { state.flush() } else { Ok(()) }
    }

    /// Gives the state back after a record was appended and wakes whoever has work then. `sync`
    /// asks for a sync of it.
    pub(crate) fn appended(&self, mut state: Held<'_, State>, sequence: u64, sync: bool) {
        if sync {
            state.sync_wanted = state.sync_wanted.max(sequence);
            state.waiting_for_sync = state.waiting_for_sync.saturating_add(1);
        }
        self.wake_space(state);
        if sync || self.mode.interval().is_some() {
            self.sync_due.notify_all();
        }
    }

    /// Gives the state back and wakes the space thread when it has something to do: in this
    /// order, or it would wake only to wait for the state.
    pub(crate) fn wake_space(&self, state: Held<'_, State>) {
        let work = state.chore().is_some();
        drop(state);
        if work {
            self.space_due.notify_all();
        }
    }

    /// Stops the journal for good: a write or sync failed, so nothing later can be promised.
    pub(crate) fn fail(&self, operation: &'static str, cause: std::io::Error) {
        tracing::error!(operation, %cause, "journal has stopped: nothing more is acknowledged");
        let mut state = self.state.lock();
        // Nobody is told of it, and yet the next start may find it.
        if let Err(error) = state.flush() {
            tracing::error!(%error, "settled records are not written");
        }
        // Before anybody can append what nobody would write any more.
        self.watermark.end(JournalError::Failed { operation, cause: Arc::new(cause) });
        drop(state);
    }

    /// Tells the log, once, that admission has stopped.
    pub(crate) fn refused(state: &mut State, reason: FullReason) {
        state.stats.refused_total = state.stats.refused_total.saturating_add(1);
        if reason != FullReason::Preparing && !state.told_full {
            state.told_full = true;
            tracing::error!(%reason, "journal is full: no request is admitted until it heals");
        }
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.state.lock();
        if let Err(cause) = state.check_usable() {
            return Health::Failed { cause };
        }
        match state.lack_of_room(state.bounds.reserve, state.admission_spare()) {
            Some(reason) => Health::Full { reason },
            None => Health::Ok,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let now_us = self.now_us();
        let state = self.state.lock();
        let age = |oldest: i64| {
            Duration::from_micros(u64::try_from(now_us.saturating_sub(oldest)).unwrap_or_default())
        };
        Stats {
            synced_sequence: self.watermark.synced(),
            oldest_unacknowledged: state.oldest_us.map(age),
            open_requests: state.open.len(),
            segments: state.sealed.len() + state.prepared.len() + 1,
            segment_bytes: state.allocated(),
            segment_bytes_max: state.bounds.total,
            ..state.stats.clone()
        }
    }
}
