//! The journal on disk, format version 1. Pure: bytes in, bytes out.
//!
//! A journal is a folder of segment files and a lock file:
//!
//! | name | content |
//! |---|---|
//! | `<first sequence, 20 digits>.segment` | one segment, of a fixed size |
//! | `<first sequence, 20 digits>.segment.corrupt` | a damaged segment, set aside by recovery |
//! | `lock` | empty; locked while a process has the journal open |
//!
//! A segment is created full of zeros, because a sync of a file that neither grows nor
//! allocates is cheap. Until the writer reaches it, it stays all zero. Then it starts with a
//! header of 512 bytes (one disk sector); records follow without gaps; zeros follow the last
//! record. All numbers are little-endian.
//!
//! Segment header:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `PERMILLE` |
//! | 8..10 | format version, 1 |
//! | 10..12 | length of the node id |
//! | 12..16 | zero |
//! | 16..24 | sequence number of the first record |
//! | 24..32 | when the header was written, microseconds since 1970 |
//! | 32..48 | chain value of the last record before this segment |
//! | 48..304 | node id, padded with zeros |
//! | 304..508 | zero |
//! | 508..512 | CRC32C of bytes 0..508 |
//!
//! Record:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | CRC32C of everything after it: header and payload |
//! | 4..8 | length of the payload |
//! | 8 | record version, 2 |
//! | 9 | kind: 1 intent, 2 progress, 3 settled, 4 gap |
//! | 10..12 | zero |
//! | 12..20 | sequence number |
//! | 20..28 | highest sequence number known to be synced when this was written |
//! | 28..36 | when this was written, microseconds since 1970 |
//! | 36..52 | request id; zero for a gap |
//! | 52..68 | chain value: SHA-256 of (previous chain value ‖ bytes 4..52 ‖ payload), 16 bytes |
//! | 68.. | payload: an intent, a progress, a usage event, or a gap |
//!
//! Intents and events are packed, see `permille_types`; progress and gaps, which are few, are JSON.
//! Records of version 1 differ only in that all their payloads are JSON. They are read as those of
//! version 2, whose payloads say by their first byte what they are; a build that knows only
//! version 1 refuses a journal with packed records by name.
//!
//! Inside a segment sequence numbers grow by one. A segment's first number leaves room for as
//! many records as the segment before it could hold, so that its name is known when it is
//! prepared. A fresh folder starts at the current time in microseconds: a node whose folder was
//! wiped never reuses a number that billing has seen.
//!
//! The *synced* number tells recovery whether a damaged place had been promised: what lies at or
//! below the highest one found was on disk once, so losing it is corruption; above it, it may be
//! the ordinary trace of a power cut.
//!
//! A *gap* record says that the segment starting at `before` does not continue the chain of the
//! segment in front of it, and that recovery has reported so.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::JournalError;

/// Size of a segment's header in bytes: one disk sector.
pub const SEGMENT_HEADER_BYTES: u64 = 512;
/// Size of a record's header in bytes.
pub const RECORD_HEADER_BYTES: u64 = 68;
/// Largest payload in bytes. An event has about 1 KiB; the bound keeps a reader's memory small.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The version of segment headers that this build writes.
pub const FORMAT_VERSION: u16 = 1;
/// The version of records that this build writes; it reads those before it too.
pub const RECORD_VERSION: u8 = 2;

pub(crate) const SEGMENT_SUFFIX: &str = ".segment";
pub(crate) const CORRUPT_SUFFIX: &str = ".segment.corrupt";
pub(crate) const LOCK_NAME: &str = "lock";

const MAGIC: &[u8; 8] = b"PERMILLE";
const HEADER: usize = 512;
const RECORD: usize = 68;
/// Where the part of a record header ends that the chain covers.
const CHAINED_END: usize = 52;
const NODE_BYTES_MAX: usize = 256;

/// A link of the hash chain.
pub(crate) type Chain = [u8; 16];

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Intent,
    Progress,
    Settled,
    Gap,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Intent => 1,
            Self::Progress => 2,
            Self::Settled => 3,
            Self::Gap => 4,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Intent, Self::Progress, Self::Settled, Self::Gap]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// The first bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) node: String,
    pub(crate) first: u64,
    pub(crate) created_at_us: i64,
    pub(crate) previous: Chain,
}

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    pub(crate) synced: u64,
    pub(crate) written_at_us: i64,
    pub(crate) request: Uuid,
}

/// A record as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) head: RecordHead,
    pub(crate) chain: Chain,
    pub(crate) payload: &'a [u8],
    /// The header bytes that the chain covers.
    chained: &'a [u8],
}

impl Record<'_> {
    /// Whether this record continues a chain that stands at `previous`.
    pub(crate) fn continues(&self, previous: &Chain) -> bool {
        link(previous, self.chained, self.payload) == self.chain
    }

    /// Header and payload, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        RECORD + self.payload.len()
    }
}

/// Why bytes are not a record or header of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They do not verify.
    Invalid,
    /// They verify, but a newer build wrote them.
    Newer { what: &'static str, found: u16 },
}

/// Whether `bytes` are all zero. By blocks, so that it is fast without optimisation too.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// The header of a segment, as it lies on disk.
pub(crate) fn encode_segment_header(header: &SegmentHeader) -> Vec<u8> {
    let node = header.node.as_bytes();
    let node = node.get(..NODE_BYTES_MAX).unwrap_or(node);
    let node_length = u16::try_from(node.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&node_length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&header.first.to_le_bytes());
    bytes.extend_from_slice(&header.created_at_us.to_le_bytes());
    bytes.extend_from_slice(&header.previous);
    bytes.extend_from_slice(node);
    bytes.resize(HEADER - 4, 0);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the header at the start of `segment`.
pub(crate) fn decode_segment_header(segment: &[u8]) -> Result<SegmentHeader, Fault> {
    let header = segment.first_chunk::<HEADER>().ok_or(Fault::Invalid)?;
    let (body, checksum) = header.split_last_chunk::<4>().ok_or(Fault::Invalid)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) || !body.starts_with(MAGIC) {
        return Err(Fault::Invalid);
    }
    let version = u16::from_le_bytes(array(body, 8)?);
    if version != FORMAT_VERSION {
        return Err(Fault::Newer { what: "format version", found: version });
    }
    let node_length = usize::from(u16::from_le_bytes(array(body, 10)?));
    let node = body.get(48..).and_then(|rest| rest.get(..node_length)).ok_or(Fault::Invalid)?;
    Ok(SegmentHeader {
        node: String::from_utf8(node.to_vec()).map_err(|_| Fault::Invalid)?,
        first: u64::from_le_bytes(array(body, 16)?),
        created_at_us: i64::from_le_bytes(array(body, 24)?),
        previous: array(body, 32)?,
    })
}

/// Writes a record behind what is in `buffer` and returns the new chain value.
pub(crate) fn encode_record(
    buffer: &mut Vec<u8>,
    head: &RecordHead,
    previous: &Chain,
    payload: &[u8],
) -> Result<Chain, JournalError> {
    let too_large = JournalError::TooLarge { bytes: payload.len(), bytes_max: PAYLOAD_BYTES_MAX };
    let length = match u32::try_from(payload.len()) {
        Ok(length) if payload.len() <= PAYLOAD_BYTES_MAX => length,
        _ => return Err(too_large),
    };
    let checked = buffer.len().saturating_add(4);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[RECORD_VERSION, head.kind.code(), 0, 0]);
    buffer.extend_from_slice(&head.sequence.to_le_bytes());
    buffer.extend_from_slice(&head.synced.to_le_bytes());
    buffer.extend_from_slice(&head.written_at_us.to_le_bytes());
    buffer.extend_from_slice(head.request.as_bytes());
    let chain = link(previous, buffer.get(checked..).unwrap_or_default(), payload);
    buffer.extend_from_slice(&chain);
    buffer.extend_from_slice(payload);
    let checksum = crc32c::crc32c(buffer.get(checked..).unwrap_or_default());
    if let Some(place) = buffer.get_mut(..checked).and_then(|before| before.last_chunk_mut()) {
        *place = checksum.to_le_bytes();
    }
    Ok(chain)
}

/// Reads the record at the start of `bytes`. Does not look at sequence and chain.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record<'_>, Fault> {
    let [version, code, _, _] = array(bytes, 8)?;
    let length = usize::try_from(u32::from_le_bytes(array(bytes, 4)?)).unwrap_or(usize::MAX);
    // No version is 0: a search through zeros must not compute a checksum at every byte.
    if version == 0 || length > PAYLOAD_BYTES_MAX {
        return Err(Fault::Invalid);
    }
    let covered = bytes.get(4..RECORD + length).ok_or(Fault::Invalid)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(array(bytes, 0)?) {
        return Err(Fault::Invalid);
    }
    if version > RECORD_VERSION {
        return Err(Fault::Newer { what: "record version", found: version.into() });
    }
    let newer_kind = Fault::Newer { what: "record kind", found: code.into() };
    Ok(Record {
        head: RecordHead {
            kind: Kind::of(code).ok_or(newer_kind)?,
            sequence: u64::from_le_bytes(array(bytes, 12)?),
            synced: u64::from_le_bytes(array(bytes, 20)?),
            written_at_us: i64::from_le_bytes(array(bytes, 28)?),
            request: Uuid::from_bytes(array(bytes, 36)?),
        },
        chain: array(bytes, CHAINED_END)?,
        payload: bytes.get(RECORD..RECORD + length).ok_or(Fault::Invalid)?,
        chained: bytes.get(4..CHAINED_END).ok_or(Fault::Invalid)?,
    })
}

fn link(previous: &Chain, chained: &[u8], payload: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(chained);
    hash.update(payload);
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Fault::Invalid)
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
