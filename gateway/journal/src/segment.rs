//! A segment as the writer sees it, and places inside it.

use std::{io, sync::Arc};

use crate::{
    format::{
        Chain, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, encode_segment_header,
    },
    fs::JournalFile,
};

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Its segment, by first sequence number.
    pub(crate) segment: u64,
    /// Its first byte in the segment.
    pub(crate) offset: u64,
    /// Length of its payload in bytes.
    pub(crate) payload_bytes: u64,
}

/// Fills a buffer with the payload at `place` in `file`.
pub(crate) fn read_payload(file: &dyn JournalFile, place: Place) -> io::Result<Vec<u8>> {
    let length = usize::try_from(place.payload_bytes).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    file.read_at(place.offset.saturating_add(RECORD_HEADER_BYTES), &mut payload)?;
    Ok(payload)
}

/// The first sequence number of the segment that follows one of `capacity` bytes which starts
/// at `first`: one more than any record in it can have.
pub(crate) fn next_first(first: u64, capacity: u64) -> u64 {
    let records_max = capacity.saturating_sub(SEGMENT_HEADER_BYTES) / RECORD_HEADER_BYTES;
    first.saturating_add(records_max).saturating_add(1)
}

/// A file full of zeros, synced with its directory entry, waiting for its turn.
pub(crate) struct Prepared {
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn JournalFile>,
    pub(crate) capacity: u64,
}

impl Prepared {
    /// Writes the header that turns this file into a segment. On error it is still unused.
    pub(crate) fn activate(&self, node: &str, previous: Chain, now_us: i64) -> io::Result<Segment> {
        let header = encode_segment_header(&SegmentHeader {
            node: node.to_owned(),
            first: self.first,
            created_at_us: now_us,
            previous,
        });
        self.file.write_at(0, &header)?;
        Ok(Segment {
            first: self.first,
            file: Arc::clone(&self.file),
            capacity: self.capacity,
            end: SEGMENT_HEADER_BYTES,
            last_settled: 0,
            open: 0,
            closed_by: 0,
        })
    }
}

/// A segment with a header.
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn JournalFile>,
    /// Size of the file in bytes.
    pub(crate) capacity: u64,
    /// Where the next record goes.
    pub(crate) end: u64,
    /// Sequence number of its last settled record; 0 without one.
    pub(crate) last_settled: u64,
    /// Intents in it that no settled record has closed.
    pub(crate) open: usize,
    /// The highest sequence number of a record that closed or took over an intent in it. Until
    /// that is synced, power loss would bring the intent back to life.
    pub(crate) closed_by: u64,
}

impl Segment {
    pub(crate) fn remaining(&self) -> u64 {
        self.capacity.saturating_sub(self.end)
    }
}
