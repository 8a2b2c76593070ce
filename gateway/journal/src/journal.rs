//! The handle that the gateway writes through.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use permille_types::{
    Batch, Clock, Intent, NodeId, Progress, Sequenced, UsageEvent, UsageEventError,
};
use uuid::Uuid;

use crate::{
    Durable, FullReason, Health, JournalConfig, JournalError, JournalFs, RecoveryReport, Settled,
    Stats, SyncMode, Unsettled,
    append::{Entry, Write},
    format::{Kind, RECORD_HEADER_BYTES},
    lock::{Held, Lock},
    recovery,
    shared::Shared,
    space,
    state::{OpenRequest, State},
    sync,
};

/// How long an appender waits for a segment that is being prepared. It is zeroed in some 10 ms;
/// past the bound the disk is in trouble and the caller should answer instead of waiting.
const PREPARE_WAIT: Duration = Duration::from_millis(50);

/// Records that are read back at once by [`Journal::uncommitted`].
const UNCOMMITTED_AT_ONCE: usize = 1_024;

/// What a background thread does until the journal ends.
type Run = fn(&Shared);

/// An open journal and what was found when it was opened.
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What recovery found and did.
    pub recovered: RecoveryReport,
}

/// One node's journal. Clones are handles of the same journal; dropping the last one without
/// [`Journal::close`] leaves it as a crash would, less the unwritten.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// Ends the background threads with the last handle.
struct Threads {
    shared: Arc<Shared>,
    handles: Lock<Vec<JoinHandle<()>>>,
    /// Held until the threads have ended, so that nobody else opens the folder before.
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

impl Threads {
    fn stop(&self) {
        {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.stop = true;
            self.shared.sync_due.notify_all();
            self.shared.space_due.notify_all();
        }
        for handle in self.handles.lock().drain(..) {
            if handle.join().is_err() {
                tracing::error!("a journal thread panicked");
            }
        }
        // Before the folder is anybody else's, and so that nobody writes after that.
        let mut state = self.shared.state.lock();
        if let Err(error) = state.flush() {
            tracing::error!(%error, "settled records are not written");
        }
        self.shared.watermark.end(JournalError::Closed);
        drop(state);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Journal {
    /// Opens the journal in `config.directory`, creating it when missing: verifies every
    /// segment, cuts unfinished writes, sets damaged segments aside, settles requests that were
    /// open as orphaned. Blocks on the disk; everything in it is synced when this returns.
    ///
    /// # Errors
    /// [`JournalError`] when the folder cannot be used, belongs to another node or process, was
    /// written by a newer build, or the disk fails. Nothing is lost by an error: repair what it
    /// names and open again.
    pub fn open(
        fs: Arc<dyn JournalFs>,
        config: &JournalConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Opened, JournalError> {
        config.check()?;
        let recovered = recovery::recover(fs, config, &*clock)?;
        let shared = Arc::new(Shared::new(
            recovered.state,
            recovered.watermark,
            recovered.store,
            clock,
            config,
        ));
        let threads = Threads {
            shared: Arc::clone(&shared),
            handles: Lock::new(Vec::new()),
            _lock: recovered.lock,
        };
        let runs = [("journal-sync", sync::run as Run), ("journal-space", space::run)];
        for (name, run) in runs {
            let shared = Arc::clone(&shared);
            let spawned = std::thread::Builder::new().name(name.into()).spawn(move || run(&shared));
            let handle =
                spawned.map_err(|cause| JournalError::Thread { cause: Arc::new(cause) })?;
            threads.handles.lock().push(handle);
        }
        let journal = Self { shared, threads: Arc::new(threads) };
        Ok(Opened { journal, recovered: recovered.report })
    }

    /// Writes the intent of a request: from now on it exists, whatever crashes. Takes some
    /// microseconds; while a segment is being prepared in a rush, up to 50 ms.
    ///
    /// # Errors
    /// [`JournalError::Full`] when its settled record might find no room;
    /// [`JournalError::AlreadyAdmitted`], [`JournalError::AlreadySettled`];
    /// [`JournalError::Failed`] and [`JournalError::Closed`] when the journal has stopped.
    pub fn admit(&self, intent: &Intent) -> Result<(), JournalError> {
        self.write_intent(&intent.event, intent.request_bytes, false).map(|_| ())
    }

    /// Like [`Journal::admit`] of an intent with these parts; the future waits for the sync in
    /// [`SyncMode::IntentAndSettle`] and resolves at once in the other modes.
    ///
    /// # Errors
    /// As [`Journal::admit`].
    pub fn admit_durable(
        &self,
        event: &UsageEvent,
        request_bytes: u64,
    ) -> Result<Durable, JournalError> {
        let wait = self.shared.mode == SyncMode::IntentAndSettle;
        let sequence = self.write_intent(event, request_bytes, wait)?;
        Ok(self.durable(sequence, wait))
    }

    fn write_intent(
        &self,
        event: &UsageEvent,
        request_bytes: u64,
        sync: bool,
    ) -> Result<u64, JournalError> {
        let payload = Intent::to_payload(event, request_bytes);
        let request = event.request_id.as_uuid();
        let shared = &*self.shared;
        let now_us = shared.now_us();
        let mut state = shared.state.lock();
        let refuse_known = |state: &State| {
            if state.open.contains_key(&request) {
                Err(JournalError::AlreadyAdmitted { request })
            } else if state.recent.contains(&request) {
                Err(JournalError::AlreadySettled { request })
            } else {
                Ok(())
            }
        };
        let spare = state.admission_spare();
        state = self.wait_for_room(state, &payload, spare, refuse_known)?;
        let place =
            state.append(&Entry { kind: Kind::Intent, request, payload: &payload, now_us })?;
        state.open.insert(request, OpenRequest { intent: place, progress: None });
        state.active.open = state.active.open.saturating_add(1);
        space::healed(&mut state);
        let sequence = state.stats.appended_sequence;
        shared.appended(state, sequence, sync);
        Ok(sequence)
    }

    /// Writes what is known of an open request so far.
    ///
    /// # Errors
    /// [`JournalError::NotOpen`] for a request that is not open; [`JournalError::Full`] when
    /// only room for settled records is left: the request then simply has less progress.
    pub fn progress(&self, progress: &Progress) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(progress).map_err(|cause| JournalError::Encode {
            what: "progress",
            cause: Arc::new(UsageEventError::Malformed(cause)),
        })?;
        let request = progress.request_id.as_uuid();
        let now_us = self.shared.now_us();
        let mut state = self.shared.state.lock();
        state.check_usable()?;
        if !state.open.contains_key(&request) {
            return Err(JournalError::NotOpen { request });
        }
        let spare = state.bounds.headroom;
        if let Some(reason) = state.lack_of_room(record_bytes(&payload), spare) {
            return Err(JournalError::Full { reason });
        }
        let place =
            state.append(&Entry { kind: Kind::Progress, request, payload: &payload, now_us })?;
        if let Some(open) = state.open.get_mut(&request) {
            open.progress = Some(place);
        }
        let sequence = state.stats.appended_sequence;
        self.shared.appended(state, sequence, false);
        Ok(())
    }

    /// Appends the one settled record of a request. It survives power loss, as far as the sync mode
    /// promises, when the future resolves, and `kill -9` then or when the future is dropped: an
    /// admitted request's is written with the next record, or before the next sync. In the modes
    /// without a wait it is written when this returns. A request without an intent is accepted.
    ///
    /// # Errors
    /// [`JournalError::AlreadySettled`] when it has one: the first stands;
    /// [`JournalError::Full`] for a request without intent, when records were far larger than the
    /// reserve, or when the disk has no room even for what was zeroed ahead. The record of an
    /// admitted request is kept in memory then, and written once there is room;
    /// [`JournalError::Failed`], [`JournalError::Closed`].
    pub fn settle(&self, event: &UsageEvent) -> Result<Settled, JournalError> {
        self.settle_or_owe(event, Write::Later).map_err(|unsettled| unsettled.cause)
    }

    /// As [`Self::settle`], but for when the record is written; and tells of a record that is kept
    /// in memory when it is written.
    ///
    /// # Errors
    /// Those of [`Self::settle`].
    pub fn settle_or_owe(&self, event: &UsageEvent, write: Write) -> Result<Settled, Unsettled> {
        let payload = event.to_payload();
        let request = event.request_id.as_uuid();
        match self.append_settled(request, &payload, write) {
            Ok(sequence) if self.shared.syncs_settled() => {
                Ok(Settled::after_sync(sequence, Arc::clone(&self.shared)))
            }
            Ok(sequence) => Ok(Settled::at_once(sequence)),
            Err(cause @ JournalError::Full { .. }) => {
                Err(Unsettled { cause, written: self.shared.owe(request, payload) })
            }
            Err(cause) => Err(cause.into()),
        }
    }

    fn append_settled(
        &self,
        request: Uuid,
        payload: &[u8],
        write: Write,
    ) -> Result<u64, JournalError> {
        let shared = &*self.shared;
        let now_us = shared.now_us();
        let mut state = shared.state.lock();
        let refuse_settled = |state: &State| {
            if !state.open.contains_key(&request) && state.recent.contains(&request) {
                return Err(JournalError::AlreadySettled { request });
            }
            Ok(())
        };
        let has_room = state.open.contains_key(&request) && state.fits(record_bytes(payload));
        if has_room {
            state.check_usable()?;
        } else {
            state = self.wait_for_room(state, payload, 0, refuse_settled)?;
        }
        let may_wait = has_room && shared.syncs_settled() && state.may_wait();
        let write = if may_wait { write } else { Write::Now };
        let sequence = state.append_settled(request, payload, now_us, write)?;
        shared.appended(state, sequence, shared.syncs_settled());
        Ok(sequence)
    }

    /// Waits, within a bound, until a record with `payload` fits beside what is reserved.
    fn wait_for_room<'a>(
        &self,
        mut state: Held<'a, State>,
        payload: &[u8],
        spare: u64,
        check: impl Fn(&State) -> Result<(), JournalError>,
    ) -> Result<Held<'a, State>, JournalError> {
        // The clock is read only where there is something to wait for.
        let mut until = None;
        loop {
            state.check_usable()?;
            check(&state)?;
            let Some(reason) = state.lack_of_room(record_bytes(payload), spare) else {
                return Ok(state);
            };
            let now = Instant::now();
            let deadline = *until.get_or_insert(now + PREPARE_WAIT);
            if reason != FullReason::Preparing || now >= deadline {
                Shared::refused(&mut state, reason);
                return Err(JournalError::Full { reason });
            }
            state = self.shared.room_made.wait_until(state, deadline);
        }
    }

    fn durable(&self, sequence: u64, wait: bool) -> Durable {
        if wait {
            Durable::after_sync(sequence, Arc::clone(&self.shared.watermark))
        } else {
            Durable::at_once(sequence)
        }
    }

    /// Whether a request would be admitted now.
    #[must_use]
    pub fn is_admitting(&self) -> bool {
        matches!(self.health(), Health::Ok)
    }

    /// Whether the journal works, and if not, why.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The unacknowledged settled records from the oldest on, at most `events_max` and about
    /// `bytes_max` payload bytes, at least one. Waits until there is one that is synced. Asked
    /// again without an acknowledgement, it gives the same records again.
    ///
    /// # Errors
    /// [`JournalError::Failed`] and [`JournalError::Closed`] when the journal has stopped;
    /// [`JournalError::Corrupt`] when the disk does not give back what was written.
    pub async fn next_batch(
        &self,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, JournalError> {
        loop {
            let advanced = self.shared.watermark.advanced.notified();
            tokio::pin!(advanced);
            // Listens before it looks, so that no progress is missed in between.
            advanced.as_mut().enable();
            let window = {
                let state = self.shared.state.lock();
                state.check_usable()?;
                state.window()
            };
            let Some(window) = window else {
                advanced.await;
                continue;
            };
            let read = tokio::task::spawn_blocking(move || window.read(events_max, bytes_max));
            // The read neither panics nor is cancelled but by the end of the runtime.
            let (events, handed_out) = read.await.map_err(|_| JournalError::Closed)??;
            self.shared.state.lock().hand_out(handed_out);
            if !events.is_empty() {
                return Ok(Batch { node: self.shared.store.node.clone(), events });
            }
        }
    }

    /// Every settled record that billing has not acknowledged, synced or not, from the oldest on;
    /// the sequence number up to which it is every one. Blocks on the disk.
    ///
    /// # Errors
    /// [`JournalError::Full`] when one waits to be written and the disk has no room for it;
    /// [`JournalError::Corrupt`] when the disk does not give back what was written;
    /// [`JournalError::Failed`] and [`JournalError::Closed`] when the journal has stopped.
    pub fn uncommitted(&self, mut take: impl FnMut(Sequenced)) -> Result<u64, JournalError> {
        let (window, up_to) = {
            let mut state = self.shared.state.lock();
            state.check_usable()?;
            state.flush()?;
            (state.uncommitted(), state.last_settled)
        };
        let Some(mut window) = window else { return Ok(up_to) };
        loop {
            let (events, read) = window.read(UNCOMMITTED_AT_ONCE, usize::MAX)?;
            if events.is_empty() {
                return Ok(up_to);
            }
            events.into_iter().for_each(&mut take);
            window.skip(&read);
        }
    }

    /// Whose journal it is.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.shared.store.node
    }

    /// Takes billing's word that everything up to `sequence` is committed. Segments that are
    /// not needed any more are removed, some moments later.
    ///
    /// # Errors
    /// [`JournalError::AckBeyondHandedOut`] for a number above what was handed out; nothing is
    /// removed then. [`JournalError::Failed`], [`JournalError::Closed`].
    pub fn acknowledge(&self, sequence: u64) -> Result<(), JournalError> {
        let mut state = self.shared.state.lock();
        state.check_usable()?;
        state.acknowledge(sequence)?;
        self.shared.wake_space(state);
        Ok(())
    }

    /// Whether [`Journal::next_batch`] would answer without waiting.
    pub(crate) fn has_batch(&self) -> bool {
        let state = self.shared.state.lock();
        state.check_usable().is_ok() && state.window().is_some()
    }

    /// Counts a batch that billing refused.
    pub(crate) fn note_refused(&self) {
        let mut state = self.shared.state.lock();
        state.stats.batches_refused_total = state.stats.batches_refused_total.saturating_add(1);
    }

    /// Syncs what is appended until now, in any mode.
    ///
    /// # Errors
    /// [`JournalError::Failed`] when the sync, or one before, failed; [`JournalError::Closed`].
    pub async fn sync(&self) -> Result<(), JournalError> {
        let last = {
            let mut state = self.shared.state.lock();
            let last = state.stats.appended_sequence;
            state.sync_wanted = state.sync_wanted.max(last);
            self.shared.sync_due.notify_all();
            last
        };
        self.durable(last, true).await
    }

    /// Syncs what is appended and ends the journal. Open requests stay open in it: the next
    /// start settles them as orphaned.
    ///
    /// # Errors
    /// [`JournalError::Failed`] when the sync, or one before, failed; [`JournalError::Full`] when
    /// the disk has no room for what is not written: its requests stay open too.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.shared.state.lock().closed = true;
        let synced = self.sync().await;
        let threads = Arc::clone(&self.threads);
        // Joining waits for at most one operation of the file system.
        let stopped = tokio::task::spawn_blocking(move || threads.stop()).await;
        if stopped.is_err() {
            tracing::error!("the journal's threads were not waited for");
        }
        match synced {
            Err(JournalError::Closed) => Ok(()),
            other => other,
        }
    }
}

fn record_bytes(payload: &[u8]) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX).saturating_add(RECORD_HEADER_BYTES)
}
