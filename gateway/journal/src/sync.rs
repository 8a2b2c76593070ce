//! The sync thread: one sync for everything appended until then, of which it writes what is not
//! written yet. While it runs, the next group gathers by itself. Where groups hold more than one
//! record that way, load is high enough that a short wait makes them larger, and each sync costs
//! time of the processor: then, and only then, the thread waits for `gather`. A lone request never
//! does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    FullReason, JournalError, append::Last, fs::JournalFile, shared::Shared, space, state::State,
};

/// What one sync covers. Taken before it starts: what is written meanwhile is not covered.
pub(crate) struct Group {
    last: Last,
    files: Vec<Arc<dyn JournalFile>>,
    /// How many records were waited for.
    awaited: usize,
}

impl Group {
    /// Everything in the files so far.
    pub(crate) fn take(state: &mut State) -> Self {
        state.unsynced_since = None;
        Self {
            last: state.in_file(),
            files: std::mem::take(&mut state.unsynced),
            awaited: std::mem::take(&mut state.waiting_for_sync),
        }
    }

    /// Oldest file first, so that a later record is never on disk for sure without the earlier.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())
    }
}

/// Runs until the journal stops.
pub(crate) fn run(shared: &Shared) {
    let mut gather = Duration::ZERO;
    while let Some(group) = next_group(shared, gather) {
        gather = if group.awaited > 1 { shared.gather } else { Duration::ZERO };
        let started = Instant::now();
        match group.sync() {
            Ok(()) => synced(shared, &group, started.elapsed()),
            Err(cause) => {
                shared.fail("sync records", cause);
                return;
            }
        }
    }
}

/// What is to be synced next; when it is asked for, whatever has come `gather` later too.
fn next_group(shared: &Shared, gather: Duration) -> Option<Group> {
    let mut state = shared.state.lock();
    loop {
        if state.stop || shared.watermark.ended().is_some() {
            return None;
        }
        let due_at = match (state.unsynced_since, shared.mode.interval()) {
            (Some(since), Some(interval)) => Some(since + interval),
            _ => None,
        };
        let wanted = state.sync_wanted > shared.watermark.synced();
        if wanted && !gather.is_zero() && !state.closed {
            drop(state);
            std::thread::sleep(gather);
            state = shared.state.lock();
        }
        let mut wake_at = due_at;
        if wanted || due_at.is_some_and(|at| at <= Instant::now()) {
            let written = write_waiting(&mut state);
            if shared.watermark.ended().is_some() {
                return None;
            }
            let is_more_written = state.in_file().sequence > shared.watermark.synced();
            match written {
                Err(error) if !is_more_written && state.closed => {
                    // Nobody can wait for room any more: to the next start they are open.
                    tracing::error!(%error, "settled records are not written");
                    shared.watermark.end(error);
                    return None;
                }
                Err(_) if !is_more_written => wake_at = state.writes_paused_until,
                _ => return Some(Group::take(&mut state)),
            }
        }
        state = match wake_at {
            Some(at) => shared.sync_due.wait_until(state, at),
            None => shared.sync_due.wait(state),
        };
    }
}

/// Writes what waits, but for a while after there was no room.
fn write_waiting(state: &mut State) -> Result<(), JournalError> {
    let waits = state.in_file().sequence < state.stats.appended_sequence;
    if waits && state.are_writes_paused() && !state.closed {
        return Err(JournalError::Full { reason: FullReason::Disk });
    }
    state.flush()?;
    space::healed(state);
    Ok(())
}

fn synced(shared: &Shared, group: &Group, took: Duration) {
    shared.watermark.reached(group.last.sequence);
    let mut state = shared.state.lock();
    state.settled_synced = state.settled_synced.max(group.last.settled);
    state.stats.syncs_total = state.stats.syncs_total.saturating_add(1);
    state.stats.sync_time = state.stats.sync_time.saturating_add(took);
    // A segment may have waited for this sync before it can be removed.
    shared.wake_space(state);
    shared.watermark.wake(group.last.sequence);
}
