//! Reads one segment and says how far it can be believed. Pure.

use crate::{
    format::{
        self, Chain, Fault, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader,
    },
    segment::next_first,
};

/// What a segment's bytes hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scan {
    /// Absent when the header does not verify.
    pub(crate) header: Option<SegmentHeader>,
    /// Where the unbroken run of records from the start ends; 0 without a header.
    pub(crate) end: u64,
    /// Last sequence number of that run; the number before the first one when it is empty.
    pub(crate) last: u64,
    /// Chain value at its end.
    pub(crate) chain: Chain,
    /// Highest sequence number that any record knew to be synced.
    pub(crate) synced: u64,
    /// Records that verify, salvaged ones included.
    pub(crate) records: u64,
    /// What follows the run.
    pub(crate) tail: Tail,
}

/// What follows the unbroken run of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tail {
    /// Zeros.
    #[default]
    Clean,
    /// So many bytes until the last that is not zero, and no record among them.
    Torn { bytes: u64 },
    /// Bytes that do not verify with records after them, or records out of their order.
    Broken,
}

/// A newer build wrote what lies at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newer {
    pub(crate) offset: u64,
    pub(crate) what: &'static str,
    pub(crate) found: u16,
}

/// Reads the segment that should start at sequence number `first` and shows every record that
/// verifies, with its offset. `None` when all bytes are zero.
pub(crate) fn scan(
    bytes: &[u8],
    first: u64,
    visit: &mut dyn FnMut(u64, &Record<'_>),
) -> Result<Option<Scan>, Newer> {
    if format::is_blank(bytes) {
        return Ok(None);
    }
    let header = match format::decode_segment_header(bytes) {
        Ok(header) if header.first == first => Some(header),
        Ok(_) | Err(Fault::Invalid) => None,
        Err(Fault::Newer { what, found }) => return Err(Newer { offset: 0, what, found }),
    };
    let mut scan = Scan {
        end: if header.is_some() { SEGMENT_HEADER_BYTES } else { 0 },
        last: first.saturating_sub(1),
        chain: header.as_ref().map(|header| header.previous).unwrap_or_default(),
        header,
        synced: 0,
        records: 0,
        tail: Tail::Clean,
    };
    if scan.header.is_some() {
        scan.read_run(bytes, visit)?;
    }
    let rest = slice_from(bytes, scan.end);
    if !format::is_blank(rest) {
        let range = first..next_first(first, to_u64(bytes.len()));
        let from = scan.end.max(SEGMENT_HEADER_BYTES);
        let found = scan.salvage(bytes, from, &range, visit)?;
        scan.tail = if found { Tail::Broken } else { Tail::Torn { bytes: extent(rest) } };
    }
    Ok(Some(scan))
}

impl Scan {
    /// Follows records as long as each continues the one before.
    fn read_run(
        &mut self,
        bytes: &[u8],
        visit: &mut dyn FnMut(u64, &Record<'_>),
    ) -> Result<(), Newer> {
        while let Some(record) = decode(bytes, self.end)? {
            if record.head.sequence != self.last.saturating_add(1) || !record.continues(&self.chain)
            {
                break;
            }
            visit(self.end, &record);
            self.end = self.end.saturating_add(to_u64(record.bytes()));
            self.last = record.head.sequence;
            self.chain = record.chain;
            self.synced = self.synced.max(record.head.synced);
            self.records = self.records.saturating_add(1);
        }
        Ok(())
    }

    /// Looks for records from `offset` on, at every byte, and shows those that verify by
    /// checksum. Whether there were any.
    fn salvage(
        &mut self,
        bytes: &[u8],
        mut offset: u64,
        range: &std::ops::Range<u64>,
        visit: &mut dyn FnMut(u64, &Record<'_>),
    ) -> Result<bool, Newer> {
        let mut found = false;
        let stop = to_u64(bytes.len()).saturating_sub(RECORD_HEADER_BYTES);
        while offset <= stop {
            match decode(bytes, offset)? {
                Some(record) if range.contains(&record.head.sequence) => {
                    found = true;
                    visit(offset, &record);
                    self.synced = self.synced.max(record.head.synced);
                    self.records = self.records.saturating_add(1);
                    offset = offset.saturating_add(to_u64(record.bytes()));
                }
                _ => offset = offset.saturating_add(1),
            }
        }
        Ok(found)
    }
}

/// The record at `offset`, if one verifies there.
fn decode(bytes: &[u8], offset: u64) -> Result<Option<Record<'_>>, Newer> {
    match format::decode_record(slice_from(bytes, offset)) {
        Ok(record) => Ok(Some(record)),
        Err(Fault::Invalid) => Ok(None),
        Err(Fault::Newer { what, found }) => Err(Newer { offset, what, found }),
    }
}

/// Bytes up to the last that is not zero.
fn extent(bytes: &[u8]) -> u64 {
    to_u64(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1)))
}

fn slice_from(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
