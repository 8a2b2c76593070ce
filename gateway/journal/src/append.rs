//! How a record gets behind the last one.
//!
//! Intents and progress are in the file when their call returns. A settled record whose caller
//! waits for the sync need not be there before the sync begins: it gets its place in the chain at
//! once and its bytes wait in memory, for the next record that is written or for the sync thread,
//! whichever comes first. Where requests follow one another closely, that is one write each
//! instead of two.
//!
//! What waits is never overtaken: whatever is written later goes behind it, in the same write.

use std::{sync::Arc, time::Instant};

use uuid::Uuid;

use crate::{
    FullReason, JournalError,
    format::{self, Chain, Kind, RECORD_HEADER_BYTES, RecordHead, SEGMENT_HEADER_BYTES},
    segment::Place,
    space::RETRY_INTERVAL,
    state::State,
    store::is_no_space,
};

/// Bytes from which on no further record waits. A hundred records: more than come between two
/// writes, unless the disk stalls, and then memory is bounded by this.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// A record to be written.
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    pub(crate) request: Uuid,
    pub(crate) payload: &'a [u8],
    pub(crate) now_us: i64,
}

/// When a settled record is to be in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// When the call returns.
    Now,
    /// Before the next sync begins, where the mode has its caller wait for that; else when the call
    /// returns.
    Later,
}

/// The records that are to be written with the next one, as they will lie in the file.
#[derive(Default)]
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    /// What is in the file in front of them.
    behind: Last,
}

/// Where the journal ends, by sequence number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Last {
    /// Its last record.
    pub(crate) sequence: u64,
    /// Its last settled one.
    pub(crate) settled: u64,
}

impl State {
    /// Writes a record behind the last one, and whatever waits in front of it. An error that is
    /// not about room stops the journal; after one that is, everything but this record waits on.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<Place, JournalError> {
        let bytes = self.make_place(entry)?;
        let (from, waiting) = (self.end_of_file(), self.waiting.bytes.len());
        let chain = self.encode(entry)?;
        if let Err(error) = self.write_at(from) {
            self.waiting.bytes.truncate(waiting);
            return Err(error);
        }
        Ok(self.accept(entry, chain, bytes))
    }

    /// Gives a record its place behind the last one, to be written with the next.
    fn append_later(&mut self, entry: &Entry<'_>) -> Result<Place, JournalError> {
        let bytes = self.make_place(entry)?;
        self.waiting.behind = self.in_file();
        let chain = self.encode(entry)?;
        Ok(self.accept(entry, chain, bytes))
    }

    /// Appends the settled record of a request and takes note that it has one; its number.
    pub(crate) fn append_settled(
        &mut self,
        request: Uuid,
        payload: &[u8],
        now_us: i64,
        write: Write,
    ) -> Result<u64, JournalError> {
        let entry = Entry { kind: Kind::Settled, request, payload, now_us };
        match write {
            Write::Now => self.append(&entry)?,
            Write::Later => self.append_later(&entry)?,
        };
        let sequence = self.stats.appended_sequence;
        close_request(self, request, sequence);
        Ok(sequence)
    }

    /// Whether one more record may wait. Where the disk had no room a moment ago, the record finds
    /// out whether it has, and its caller is told.
    pub(crate) fn may_wait(&self) -> bool {
        self.waiting.bytes.len() < WAITING_BYTES_MAX && !self.are_writes_paused()
    }

    /// Writes what waits. Without room it waits on, at the same place.
    pub(crate) fn flush(&mut self) -> Result<(), JournalError> {
        if self.waiting.bytes.is_empty() {
            return Ok(());
        }
        // Once the journal has ended, the folder may be another process's.
        if let Some(reason) = self.watermark.ended() {
            return Err(reason.clone());
        }
        self.write_at(self.end_of_file())
    }

    /// How far the journal is in its files.
    pub(crate) fn in_file(&self) -> Last {
        if self.waiting.bytes.is_empty() {
            Last { sequence: self.stats.appended_sequence, settled: self.last_settled }
        } else {
            self.waiting.behind
        }
    }

    /// How far the active segment is in its file.
    pub(crate) fn end_of_file(&self) -> u64 {
        let waiting = u64::try_from(self.waiting.bytes.len()).unwrap_or(u64::MAX);
        self.active.end.saturating_sub(waiting)
    }

    /// Sees to it that the active segment has room for a record; its length in bytes.
    fn make_place(&mut self, entry: &Entry<'_>) -> Result<u64, JournalError> {
        let payload_bytes = u64::try_from(entry.payload.len()).unwrap_or(u64::MAX);
        let bytes = payload_bytes.saturating_add(RECORD_HEADER_BYTES);
        let most = self.bounds.segment.saturating_sub(SEGMENT_HEADER_BYTES);
        if bytes > most {
            let most = most.saturating_sub(RECORD_HEADER_BYTES);
            return Err(JournalError::TooLarge {
                bytes: entry.payload.len(),
                bytes_max: usize::try_from(most).unwrap_or(usize::MAX),
            });
        }
        if bytes > self.active.remaining() {
            self.rotate(entry.now_us)?;
        }
        Ok(bytes)
    }

    /// Encodes a record behind what waits; the chain value that it has.
    fn encode(&mut self, entry: &Entry<'_>) -> Result<Chain, JournalError> {
        let head = RecordHead {
            kind: entry.kind,
            sequence: self.next_sequence,
            synced: self.watermark.synced(),
            written_at_us: entry.now_us,
            request: entry.request,
        };
        format::encode_record(&mut self.waiting.bytes, &head, &self.chain, entry.payload)
    }

    /// Takes an encoded record into the books.
    fn accept(&mut self, entry: &Entry<'_>, chain: Chain, bytes: u64) -> Place {
        let (sequence, offset) = (self.next_sequence, self.active.end);
        let payload_bytes = bytes.saturating_sub(RECORD_HEADER_BYTES);
        self.chain = chain;
        self.next_sequence = sequence.saturating_add(1);
        self.active.end = offset.saturating_add(bytes);
        self.stats.appended_sequence = sequence;
        self.stats.records_total = self.stats.records_total.saturating_add(1);
        self.stats.bytes_total = self.stats.bytes_total.saturating_add(bytes);
        if entry.kind == Kind::Settled {
            self.last_settled = sequence;
            self.active.last_settled = sequence;
            self.stats.lag_records = self.stats.lag_records.saturating_add(1);
            self.stats.lag_bytes = self.stats.lag_bytes.saturating_add(payload_bytes);
            self.oldest_us.get_or_insert(entry.now_us);
        }
        Place { segment: self.active.first, offset, payload_bytes }
    }

    /// Writes all that is encoded and not in the file yet, which goes to `offset`: from here on the
    /// file has something to be synced.
    fn write_at(&mut self, offset: u64) -> Result<(), JournalError> {
        if let Err(cause) = self.active.file.write_at(offset, &self.waiting.bytes) {
            return Err(self.write_failed(cause));
        }
        self.waiting.bytes.clear();
        if self.unsynced.is_empty() {
            self.unsynced.push(Arc::clone(&self.active.file));
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Seals the active segment and goes on in the next prepared one.
    fn rotate(&mut self, now_us: i64) -> Result<(), JournalError> {
        self.flush()?;
        let Some(next) = self.prepared.front() else {
            let reason = self.lack_of_room(self.bounds.segment, 0);
            return Err(JournalError::Full { reason: reason.unwrap_or(FullReason::Preparing) });
        };
        let segment = match next.activate(&self.node, self.chain, now_us) {
            Ok(segment) => segment,
            Err(cause) => return Err(self.write_failed(cause)),
        };
        self.prepared.pop_front();
        self.next_sequence = segment.first;
        self.unsynced.push(Arc::clone(&segment.file));
        self.sealed.push_back(std::mem::replace(&mut self.active, segment));
        Ok(())
    }

    /// A write without room may be tried again, over the same bytes; any other error stops the
    /// journal.
    fn write_failed(&mut self, cause: std::io::Error) -> JournalError {
        if is_no_space(&cause) {
            self.writes_paused_until = Some(Instant::now() + RETRY_INTERVAL);
            return JournalError::Full { reason: FullReason::Disk };
        }
        tracing::error!(%cause, "journal write failed: nothing more is admitted or settled");
        let error = JournalError::Failed { operation: "write record", cause: Arc::new(cause) };
        self.watermark.end(error.clone());
        error
    }
}

/// Takes note that `sequence` settles `request`.
pub(crate) fn close_request(state: &mut State, request: Uuid, sequence: u64) {
    if let Some(open) = state.open.remove(&request)
        && let Some(segment) = state.segment_mut(open.intent.segment)
    {
        segment.open = segment.open.saturating_sub(1);
        segment.closed_by = segment.closed_by.max(sequence);
    }
    state.recent.insert(request);
}
