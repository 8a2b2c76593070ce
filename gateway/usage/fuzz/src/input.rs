//! An input of a fuzz target, read from the fuzzer's bytes.

use std::borrow::Cow;

use permille_types::{Endpoint, Family};

/// Bytes before the body: family, endpoint, flags, and five that say how to split.
pub const HEADER_BYTES: usize = 8;

/// What in a body stands for [`FILLER_BYTES`] of text when [`Input::LONG`] is set: bounds of many
/// kilobytes are met by inputs of a few bytes.
const FILLER_MARK: u8 = 0x1A;

/// More than any of the parsers holds of one event (64 KiB).
const FILLER_BYTES: usize = 65_600;

/// Fillers in one body: the longest event that is held, and one behind it. More cost time and show
/// nothing new.
const FILLERS_MAX: usize = 2;

/// Longest body that is split at every byte: each part costs an allocation and a push.
const BYTEWISE_BYTES_MAX: usize = 256;

/// See the module's text.
#[derive(Debug)]
pub struct Input<'a> {
    pub family: Family,
    pub endpoint: Endpoint,
    pub flags: u8,
    pub splits: [u8; 5],
    pub body: Cow<'a, [u8]>,
}

impl<'a> Input<'a> {
    /// The usage-only frame is cut; requests: the path names the model.
    pub const CUT: u8 = 1;
    /// The upstream breaks off; requests: a header asks for a stream.
    pub const ABANDON: u8 = 2;
    /// Fillers are put in.
    pub const LONG: u8 = 4;
    /// The body is split at every byte, as far as that is affordable.
    pub const BYTEWISE: u8 = 8;
    /// Encoded bodies: encoded here, not by the fuzzer; requests: the prompt is counted.
    pub const OWN: u8 = 16;
    /// Encoded bodies: `deflate`, not `gzip`.
    pub const DEFLATE: u8 = 32;
    /// Encoded bodies: the framing, two bits.
    pub const FRAMING: u8 = 64;

    /// Reads `bytes`; absent when they are too short.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [family, endpoint, flags, splits @ ..] = *header;
        let body = if flags & Self::LONG != 0 { expanded(body) } else { Cow::Borrowed(body) };
        Some(Self {
            family: Family::ALL[usize::from(family) % Family::ALL.len()],
            endpoint: Endpoint::ALL[usize::from(endpoint) % Endpoint::ALL.len()],
            flags,
            splits,
            body,
        })
    }

    /// The bytes that are read as this.
    pub fn write(family: Family, endpoint: Endpoint, flags: u8, body: &[u8]) -> Vec<u8> {
        let place = |at: Option<usize>| at.and_then(|at| at.try_into().ok()).unwrap_or(0);
        let family = place(Family::ALL.iter().position(|known| *known == family));
        let endpoint = place(Endpoint::ALL.iter().position(|known| *known == endpoint));
        [&[family, endpoint, flags, 3, 70, 130, 190, 250], body].concat()
    }

    /// Whether this is the one input in `of` for which something dear is checked. `place` is one
    /// of the five bytes that say how to split, so that the fuzzer chooses.
    pub fn is_one_in(&self, of: u8, place: usize) -> bool {
        self.splits[place].is_multiple_of(of)
    }

    /// Whether `flag` is set.
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The body in parts.
    pub fn parts(&self) -> Vec<&[u8]> {
        let body = self.body.as_ref();
        if self.is(Self::BYTEWISE) && body.len() <= BYTEWISE_BYTES_MAX {
            return body.chunks(1).collect();
        }
        let mut cuts: Vec<usize> =
            self.splits.iter().map(|at| usize::from(*at) * (body.len() + 1) / 256).collect();
        // Two cuts close to each other, wherever the first one falls.
        cuts.push(cuts[0] + 1 + usize::from(self.splits[4] % 4));
        cuts.retain(|cut| *cut <= body.len());
        cuts.sort_unstable();
        let mut parts = Vec::with_capacity(cuts.len() + 1);
        let mut start = 0;
        for cut in cuts {
            parts.push(&body[start..cut]);
            start = cut;
        }
        parts.push(&body[start..]);
        parts
    }
}

fn expanded(body: &[u8]) -> Cow<'_, [u8]> {
    if !body.contains(&FILLER_MARK) {
        return Cow::Borrowed(body);
    }
    let mut expanded = Vec::new();
    for (index, part) in body.split(|byte| *byte == FILLER_MARK).enumerate() {
        if (1..=FILLERS_MAX).contains(&index) {
            expanded.resize(expanded.len() + FILLER_BYTES, b'x');
        }
        expanded.extend_from_slice(part);
    }
    Cow::Owned(expanded)
}
