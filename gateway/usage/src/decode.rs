//! Reads an encoded body beside the bytes that pass: a decoder whose output goes into a
//! [`Reader`] and nowhere else.
//!
//! Bounded against bombs: a body is decoded in small portions that are read and thrown away, and
//! beyond [`DECODED_BYTES_MAX`] or [`RATIO_MAX`] reading stops. The bytes pass all the same (M5).

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::reader::Reader;

/// Decoded bytes that are read of one body: an embeddings reply of 30 MB four times over.
const DECODED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Decoded bytes per encoded byte. Streams of near-identical chunks reach about 50; deflate's own
/// limit, which bombs use, is 1,032.
const RATIO_MAX: u64 = 250;

/// Decoded bytes that are read whatever the ratio, so that small bodies are never suspect.
const RATIO_FREE_BYTES: u64 = 1024 * 1024;

/// Encoded bytes that are decoded in one go: at deflate's limit they give 0.5 MiB, which is what
/// a bomb can cost in memory.
const PORTION_BYTES: usize = 512;

/// An encoding that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Decoder {
    stage: Stage,
    reader: Reader,
    encoded: u64,
    decoded: u64,
}

#[derive(Debug)]
enum Stage {
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// `deflate` is zlib by standard and raw by habit: the first two bytes tell.
    Undecided(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
    /// Reading has stopped.
    Stopped,
}

impl Decoder {
    pub(crate) fn new(coding: Coding, reader: Reader) -> Self {
        let stage = match coding {
            Coding::Gzip => Stage::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => Stage::Undecided(Vec::new()),
        };
        Self { stage, reader, encoded: 0, decoded: 0 }
    }

    /// Reads the next encoded bytes.
    pub(crate) fn push(&mut self, encoded: &[u8]) {
        self.encoded = self.encoded.saturating_add(encoded.len().try_into().unwrap_or(u64::MAX));
        let head;
        let encoded = match self.stage.decide(encoded) {
            None => encoded,
            Some(bytes) => {
                head = bytes;
                &head
            }
        };
        for portion in encoded.chunks(PORTION_BYTES) {
            let written = self.stage.write(portion);
            if written.is_err() {
                // What was decoded before the defect comes out first: how much is read must not
                // depend on the split.
                drop(self.stage.finish());
            }
            self.drain();
            if written.is_err() {
                return self.stop();
            }
        }
        // What the decoder still holds back may be the usage: a client may be gone before the
        // next push.
        if self.stage.flush().is_err() {
            self.stop();
        }
        self.drain();
    }

    /// The body ended.
    pub(crate) fn finish(&mut self) {
        let whole = self.stage.finish();
        self.drain();
        if whole.is_err() {
            self.stop();
        }
        self.reader.finish();
    }

    /// The reader of the decoded side, to ask.
    pub(crate) fn as_reader(&self) -> &Reader {
        &self.reader
    }

    /// The reader of the decoded side.
    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Reads what has been decoded.
    fn drain(&mut self) {
        let Some(decoded) = self.stage.decoded().filter(|decoded| !decoded.is_empty()) else {
            return;
        };
        let portion = Bytes::copy_from_slice(decoded);
        decoded.clear();
        self.decoded = self.decoded.saturating_add(portion.len().try_into().unwrap_or(u64::MAX));
        let allowed = self.encoded.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        if self.decoded > allowed.min(DECODED_BYTES_MAX) {
            return self.stop();
        }
        // These pieces are a copy of what has already gone to the client.
        self.reader.push(portion, &mut Vec::new());
    }

    /// Stops reading. Behind the reply's end nothing is lost by that.
    fn stop(&mut self) {
        self.stage = Stage::Stopped;
        if !self.reader.is_terminal() {
            let facts = self.reader.facts();
            facts.tap_error = true;
            facts.unreadable = true;
        }
    }
}

impl Stage {
    /// Chooses the kind of `deflate` once two bytes have come; returns the bytes kept till then.
    fn decide(&mut self, encoded: &[u8]) -> Option<Vec<u8>> {
        let Self::Undecided(head) = self else { return None };
        head.extend_from_slice(encoded);
        let [method, check, ..] = head.as_slice() else { return Some(Vec::new()) };
        // Source: RFC 1950, section 2.2: method 8, and the pair is a multiple of 31.
        let zlib = method & 0x0F == 8 && u16::from_be_bytes([*method, *check]) % 31 == 0;
        let head = std::mem::take(head);
        *self = if zlib {
            Self::Zlib(ZlibDecoder::new(Vec::new()))
        } else {
            Self::Raw(DeflateDecoder::new(Vec::new()))
        };
        Some(head)
    }

    fn write(&mut self, portion: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(portion),
            Self::Zlib(decoder) => decoder.write_all(portion),
            Self::Raw(decoder) => decoder.write_all(portion),
            Self::Undecided(_) | Self::Stopped => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zlib(decoder) => decoder.flush(),
            Self::Raw(decoder) => decoder.flush(),
            Self::Undecided(_) | Self::Stopped => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Raw(decoder) => decoder.try_finish(),
            Self::Undecided(_) | Self::Stopped => Ok(()),
        }
    }

    fn decoded(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::Raw(decoder) => Some(decoder.get_mut()),
            Self::Undecided(_) | Self::Stopped => None,
        }
    }
}
