//! Settled records read back for billing, in journal order, straight from the segments.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use permille_types::Sequenced;

use crate::{
    JournalError,
    format::{self, Kind, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES},
    fs::JournalFile,
    segment::Segment,
    state::State,
};

/// Bytes read at once: a batch has some hundreds of records, more would be read and thrown away. A
/// payload keeps all that was read with it.
const CHUNK_BYTES: u64 = 256 << 10;
/// Bytes read at once where a record has more than those: any fits.
const CHUNK_BYTES_MAX: u64 = 2 << 20;

/// Everything before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cursor {
    segment: u64,
    offset: u64,
}

/// A settled record in the batch that billing has now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandedOut {
    sequence: u64,
    payload_bytes: u64,
    written_at_us: i64,
    after: Cursor,
}

/// What a batch may be read from, taken under the lock and read outside.
pub(crate) struct Window {
    parts: Vec<Part>,
    acknowledged: u64,
    synced: u64,
}

struct Part {
    first: u64,
    file: Arc<dyn JournalFile>,
    from: u64,
    until: u64,
}

impl State {
    /// Where the next batch is, if there is one.
    pub(crate) fn window(&self) -> Option<Window> {
        self.window_up_to(self.settled_synced)
    }

    /// Where every settled record in the files is that billing has not committed, synced or not;
    /// nothing where there is none.
    pub(crate) fn uncommitted(&self) -> Option<Window> {
        self.window_up_to(self.in_file().settled)
    }

    /// Where settled records are from what billing has committed to that of number `last`.
    fn window_up_to(&self, last: u64) -> Option<Window> {
        if last <= self.stats.acknowledged_sequence {
            return None;
        }
        let part = |segment: &Segment, until: u64| Part {
            first: segment.first,
            file: Arc::clone(&segment.file),
            from: if segment.first == self.cursor.segment {
                self.cursor.offset
            } else {
                SEGMENT_HEADER_BYTES
            },
            until,
        };
        let sealed = self.sealed.iter().map(|segment| (segment, segment.end));
        let segments = sealed.chain([(&self.active, self.end_of_file())]);
        let wanted = segments.filter(|(segment, _)| segment.first >= self.cursor.segment);
        Some(Window {
            parts: wanted.map(|(segment, until)| part(segment, until)).collect(),
            acknowledged: self.stats.acknowledged_sequence,
            synced: last,
        })
    }

    /// Takes note of what billing has committed.
    pub(crate) fn acknowledge(&mut self, sequence: u64) -> Result<(), JournalError> {
        let handed_out = self.handed_out.back().map_or(0, |last| last.sequence);
        if sequence > handed_out.max(self.stats.acknowledged_sequence) {
            let acknowledged = sequence;
            return Err(JournalError::AckBeyondHandedOut { acknowledged, handed_out });
        }
        while let Some(done) = self.handed_out.pop_front_if(|next| next.sequence <= sequence) {
            self.stats.acknowledged_sequence = done.sequence;
            self.stats.lag_records = self.stats.lag_records.saturating_sub(1);
            self.stats.lag_bytes = self.stats.lag_bytes.saturating_sub(done.payload_bytes);
            self.cursor = done.after;
            // Until the next batch is read, the last one bounds the age of what follows.
            self.oldest_us = Some(done.written_at_us);
        }
        self.note_oldest();
        Ok(())
    }

    /// Remembers what was handed out, but for what was acknowledged meanwhile.
    pub(crate) fn hand_out(&mut self, mut events: VecDeque<HandedOut>) {
        events.retain(|event| event.sequence > self.stats.acknowledged_sequence);
        self.handed_out = events;
        self.note_oldest();
    }

    fn note_oldest(&mut self) {
        if self.stats.lag_records == 0 {
            self.oldest_us = None;
        } else if let Some(next) = self.handed_out.front() {
            self.oldest_us = Some(next.written_at_us);
        }
    }
}

/// A batch in the making.
struct Batch {
    events: Vec<Sequenced>,
    handed_out: VecDeque<HandedOut>,
    bytes: usize,
}

impl Window {
    /// Reads up to `events_max` events and about `bytes_max` bytes; at least one event.
    pub(crate) fn read(
        &self,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Sequenced>, VecDeque<HandedOut>), JournalError> {
        let mut batch = Batch { events: Vec::new(), handed_out: VecDeque::new(), bytes: 0 };
        for part in &self.parts {
            let (mut offset, mut chunk_bytes) = (part.from, CHUNK_BYTES);
            while offset < part.until {
                let chunk = part.chunk(offset, chunk_bytes)?;
                match self.take(part, offset, &chunk, &mut batch, (events_max, bytes_max)) {
                    None => return Ok((batch.events, batch.handed_out)),
                    Some(0) if chunk_bytes < CHUNK_BYTES_MAX => chunk_bytes = CHUNK_BYTES_MAX,
                    Some(0) => return Err(JournalError::Corrupt { segment: part.first, offset }),
                    Some(read) => offset = offset.saturating_add(read),
                }
            }
        }
        Ok((batch.events, batch.handed_out))
    }

    /// Leaves out everything up to the last of what was read.
    pub(crate) fn skip(&mut self, read: &VecDeque<HandedOut>) {
        let Some(last) = read.back() else {
            self.parts.clear();
            return;
        };
        self.acknowledged = last.sequence;
        self.parts.retain(|part| part.first >= last.after.segment);
        if let Some(part) = self.parts.first_mut().filter(|p| p.first == last.after.segment) {
            part.from = last.after.offset;
        }
    }

    /// Takes what is wanted of a chunk, without a copy. The bytes of the records that are whole in
    /// it, or `None` when the batch is complete.
    fn take(
        &self,
        part: &Part,
        start: u64,
        chunk: &Bytes,
        batch: &mut Batch,
        (events_max, bytes_max): (usize, usize),
    ) -> Option<u64> {
        let mut at = 0_usize;
        while let Ok(record) = format::decode_record(chunk.get(at..).unwrap_or_default()) {
            let head = record.head;
            if head.sequence > self.synced {
                return None;
            }
            at = at.saturating_add(record.bytes());
            if head.kind != Kind::Settled || head.sequence <= self.acknowledged {
                continue;
            }
            let full = batch.events.len() >= events_max
                || batch.bytes.saturating_add(record.payload.len()) > bytes_max;
            if full && !batch.events.is_empty() {
                return None;
            }
            let offset = start.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
            batch.bytes = batch.bytes.saturating_add(record.payload.len());
            batch.handed_out.push_back(HandedOut {
                sequence: head.sequence,
                payload_bytes: u64::try_from(record.payload.len()).unwrap_or(u64::MAX),
                written_at_us: head.written_at_us,
                after: Cursor { segment: part.first, offset },
            });
            batch.events.push(Sequenced {
                sequence: head.sequence,
                payload: chunk.slice_ref(record.payload),
            });
        }
        Some(u64::try_from(at).unwrap_or(u64::MAX))
    }
}

impl Part {
    fn chunk(&self, offset: u64, bytes_max: u64) -> Result<Bytes, JournalError> {
        debug_assert!(offset.saturating_add(RECORD_HEADER_BYTES) <= self.until);
        let bytes = self.until.saturating_sub(offset).min(bytes_max);
        let mut chunk = vec![0; usize::try_from(bytes).unwrap_or_default()];
        match self.file.read_at(offset, &mut chunk) {
            Ok(()) => Ok(chunk.into()),
            Err(cause) => {
                tracing::error!(segment = self.first, offset, %cause, "journal read failed");
                Err(JournalError::Corrupt { segment: self.first, offset })
            }
        }
    }
}
