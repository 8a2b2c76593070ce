//! The space thread: prepares segments ahead of the writer, removes what billing has, and
//! carries forward the few open intents that would keep an old segment alive.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{
    JournalError,
    append::{Entry, Write},
    format::{Kind, RECORD_HEADER_BYTES},
    segment::read_payload,
    shared::Shared,
    state::{OpenRequest, State},
    store::PrepareError,
};

/// Pause between attempts while the disk has no room: a failed attempt writes up to a segment.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Open intents carried per turn, so that appenders wait for a few dozen writes at most.
const CARRY_MAX: usize = 32;
/// A segment with open intents is left alone until so many younger ones are full: most streams
/// end before that.
const CARRY_AFTER_SEGMENTS: u64 = 8;

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chore {
    /// The oldest segment, which starts there, is not needed any more.
    Remove(u64),
    /// The oldest segment is needed only for its open intents.
    Carry(u64),
    /// The next segment, starting there, is to be prepared.
    Prepare(u64),
    /// Settled records that found no room are to be written.
    Settle,
}

impl State {
    /// What the space thread should do now.
    pub(crate) fn chore(&self) -> Option<Chore> {
        if !self.owed.is_empty() && !self.are_writes_paused() {
            return Some(Chore::Settle);
        }
        let synced = self.watermark.synced();
        if let Some(oldest) = self.sealed.front()
            && oldest.last_settled <= self.stats.acknowledged_sequence
        {
            if oldest.open == 0 && oldest.closed_by <= synced {
                return Some(Chore::Remove(oldest.first));
            }
            if oldest.open > 0 && self.should_carry() {
                return Some(Chore::Carry(oldest.first));
            }
        }
        let enough = self
            .reserved()
            .saturating_mul(2)
            .saturating_add(self.bounds.segment)
            .saturating_add(self.bounds.headroom);
        // Looked at last: there may be many segments.
        let allowed = || self.allocated().saturating_add(self.bounds.segment) <= self.bounds.total;
        (self.room() < enough && self.disk_full_until.is_none() && allowed())
            .then(|| Chore::Prepare(self.next_prepared_first()))
    }

    fn should_carry(&self) -> bool {
        let sealed = u64::try_from(self.sealed.len()).unwrap_or(u64::MAX);
        let all = self.bounds.total / self.bounds.segment.max(1);
        sealed > CARRY_AFTER_SEGMENTS.min(all / 4) && self.carry_paused_until.is_none()
    }
}

/// Runs until the journal stops.
pub(crate) fn run(shared: &Shared) {
    if let Err(Failure { operation, cause }) = work(shared) {
        shared.fail(operation, cause);
    }
    // Nobody writes them any more. Told outside of the lock: whoever waits is woken.
    let owed = std::mem::take(&mut shared.state.lock().owed);
    drop(owed);
}

fn work(shared: &Shared) -> Result<(), Failure> {
    while let Some(chore) = next_chore(shared) {
        match chore {
            Chore::Remove(first) => remove(shared, first)?,
            Chore::Carry(first) => carry(shared, first)?,
            Chore::Prepare(first) => prepare(shared, first)?,
            Chore::Settle => settle(shared),
        }
    }
    Ok(())
}

/// An error after which the disk cannot be trusted.
struct Failure {
    operation: &'static str,
    cause: std::io::Error,
}

fn next_chore(shared: &Shared) -> Option<Chore> {
    let mut state = shared.state.lock();
    loop {
        if state.stop || shared.watermark.ended().is_some() {
            return None;
        }
        let now = Instant::now();
        if state.disk_full_until.is_some_and(|at| at <= now) {
            state.disk_full_until = None;
        }
        if state.carry_paused_until.is_some_and(|at| at <= now) {
            state.carry_paused_until = None;
        }
        if let Some(chore) = state.chore() {
            return Some(chore);
        }
        let until_settled = state.writes_paused_until.filter(|_| !state.owed.is_empty());
        let pauses = [state.disk_full_until, state.carry_paused_until, until_settled];
        state = match pauses.into_iter().flatten().min() {
            Some(at) => shared.space_due.wait_until(state, at),
            None => shared.space_due.wait(state),
        };
    }
}

fn prepare(shared: &Shared, first: u64) -> Result<(), Failure> {
    let prepared = shared.store.prepare(first);
    let mut state = shared.state.lock();
    match prepared {
        Ok(prepared) => {
            state.prepared.push_back(prepared);
            healed(&mut state);
        }
        Err(PrepareError::Create(cause)) => {
            tracing::error!(%cause, "no segment could be prepared: will try again");
            state.disk_full_until = Some(Instant::now() + RETRY_INTERVAL);
        }
        Err(PrepareError::Sync(cause)) => {
            return Err(Failure { operation: "sync prepared segment", cause });
        }
    }
    // With room, or without: whoever waits must know.
    shared.room_made.notify_all();
    Ok(())
}

/// Writes settled records that found no room, as far as there is some now.
fn settle(shared: &Shared) {
    let now_us = shared.now_us();
    loop {
        let mut state = shared.state.lock();
        let Some(owed) = state.owed.pop_front() else { return };
        if !state.open.contains_key(&owed.request) {
            continue;
        }
        match state.append_settled(owed.request, &owed.payload, now_us, Write::Now) {
            Ok(sequence) => {
                healed(&mut state);
                shared.appended(state, sequence, true);
                if owed.written.send(sequence).is_err() {
                    tracing::debug!(sequence, "nobody waits for a record that was written late");
                }
            }
            Err(error) => {
                tracing::warn!(%error, owed = state.owed.len(), "usage waits for room");
                state.owed.push_front(owed);
                state.writes_paused_until = Some(Instant::now() + RETRY_INTERVAL);
                return;
            }
        }
    }
}

/// Tells the log, once, that admission goes on.
pub(crate) fn healed(state: &mut State) {
    let spare = state.admission_spare();
    if state.told_full && state.lack_of_room(state.bounds.reserve, spare).is_none() {
        state.told_full = false;
        tracing::info!("journal has room again: requests are admitted");
    }
}

fn remove(shared: &Shared, first: u64) -> Result<(), Failure> {
    let Some(segment) = shared.state.lock().sealed.pop_front() else { return Ok(()) };
    debug_assert_eq!(segment.first, first, "only this thread takes segments away");
    shared
        .store
        .remove(segment.first)
        .map_err(|cause| Failure { operation: "remove acknowledged segment", cause })?;
    let mut state = shared.state.lock();
    // What was freed may be what the disk lacked.
    state.disk_full_until = None;
    state.writes_paused_until = None;
    drop(state);
    // It may hold records that found no room.
    shared.sync_due.notify_all();
    Ok(())
}

/// Writes open intents of the segment `first` again, with their latest progress, behind the
/// last record. Once that is synced, the segment is free.
fn carry(shared: &Shared, first: u64) -> Result<(), Failure> {
    let failure = |cause| Failure { operation: "read open intent", cause };
    let chosen: Vec<(Uuid, OpenRequest)> = {
        let state = shared.state.lock();
        let here = state.open.iter().filter(|(_, open)| open.intent.segment == first);
        here.take(CARRY_MAX).map(|(request, open)| (*request, *open)).collect()
    };
    for (request, open) in chosen {
        let mut payloads = Vec::new();
        for (kind, place) in [(Kind::Intent, Some(open.intent)), (Kind::Progress, open.progress)] {
            let Some(place) = place else { continue };
            let file = shared.state.lock().segment_mut(place.segment).map(|s| s.file.clone());
            let Some(file) = file else { continue };
            payloads.push((kind, read_payload(&*file, place).map_err(failure)?));
        }
        if !carry_request(shared, request, open, &payloads) {
            break;
        }
    }
    Ok(())
}

/// Whether to go on with the next.
fn carry_request(
    shared: &Shared,
    request: Uuid,
    open: OpenRequest,
    payloads: &[(Kind, Vec<u8>)],
) -> bool {
    let now_us = shared.now_us();
    let mut state = shared.state.lock();
    if state.open.get(&request) != Some(&open) {
        // Settled or progressed meanwhile; if it is still open, the next turn takes it.
        return true;
    }
    let bytes = payloads.iter().fold(0_u64, |sum, (_, payload)| {
        let payload = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        sum.saturating_add(payload).saturating_add(RECORD_HEADER_BYTES)
    });
    if state.lack_of_room(bytes, 0).is_some() {
        state.carry_paused_until = Some(Instant::now() + RETRY_INTERVAL);
        return false;
    }
    match append_carried(&mut state, request, payloads, now_us) {
        Ok((carried, sequence)) => {
            move_open(&mut state, request, open, carried, sequence);
            shared.appended(state, sequence, true);
            true
        }
        Err(error) => {
            tracing::error!(%error, "open intent not carried forward");
            state.carry_paused_until = Some(Instant::now() + RETRY_INTERVAL);
            false
        }
    }
}

fn append_carried(
    state: &mut State,
    request: Uuid,
    payloads: &[(Kind, Vec<u8>)],
    now_us: i64,
) -> Result<(OpenRequest, u64), JournalError> {
    let mut carried: Option<OpenRequest> = None;
    for (kind, payload) in payloads {
        let place = state.append(&Entry { kind: *kind, request, payload, now_us })?;
        carried = Some(match carried {
            None => OpenRequest { intent: place, progress: None },
            Some(open) => OpenRequest { progress: Some(place), ..open },
        });
    }
    let sequence = state.stats.appended_sequence;
    carried.map(|open| (open, sequence)).ok_or(JournalError::NotOpen { request })
}

fn move_open(state: &mut State, request: Uuid, from: OpenRequest, to: OpenRequest, sequence: u64) {
    if let Some(old) = state.segment_mut(from.intent.segment) {
        old.open = old.open.saturating_sub(1);
        old.closed_by = old.closed_by.max(sequence);
    }
    if let Some(new) = state.segment_mut(to.intent.segment) {
        new.open = new.open.saturating_add(1);
    }
    state.open.insert(request, to);
    state.stats.carried_total = state.stats.carried_total.saturating_add(1);
}
