//! What must hold of a reply: M2, M5 and M6 of docs/architecture.md, and the bound on what is held.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use permille_usage::{Encoding, Framing, Piece, Reading, Tap, TapConfig, count};
use serde_json::Value;

use crate::Input;

thread_local! {
    /// Compressors, bare and with zlib's frame: making one costs more than all the rest.
    static COMPRESSORS: [RefCell<Compress>; 2] =
        [false, true].map(|zlib| RefCell::new(Compress::new(Compression::fast(), zlib)));
}

/// Most bytes of a reply that a tap may hold back.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Reads `input` as a reply with this framing.
pub fn reply(input: &Input<'_>, framing: Framing) {
    let config = config(input, framing, Encoding::Identity);
    check(input, config);
    if config.cut_usage_frame && framing == Framing::Sse {
        check_cut(input, config);
    }
}

/// Reads `input` as an encoded reply, whose framing it chooses too.
pub fn encoded(input: &Input<'_>) {
    let framings = [Framing::Sse, Framing::Json, Framing::JsonLines, Framing::JsonArray];
    let framing = framings[usize::from(input.flags / Input::FRAMING)];
    let encoding = if input.is(Input::DEFLATE) { Encoding::Deflate } else { Encoding::Gzip };
    let config = config(input, framing, encoding);
    if !input.is(Input::OWN) {
        check(input, config);
        return;
    }
    let plain = run(input, TapConfig { encoding: Encoding::Identity, ..config }, &[&input.body]);
    let own = Input { body: encode(input, encoding).into(), ..*input };
    let mut read = check(&own, config);
    // A tap that sees encoded bytes does not mark what follows the end as an error.
    read.tap_error = plain.reading.tap_error;
    assert_eq!(read, plain.reading, "an encoded reply reads as the plain one");
}

fn config(input: &Input<'_>, framing: Framing, encoding: Encoding) -> TapConfig {
    TapConfig {
        family: input.family,
        endpoint: input.endpoint,
        framing,
        encoding,
        cut_usage_frame: input.is(Input::CUT),
    }
}

/// The body as an encoder would send it: `gzip`, and `deflate` with and without zlib's frame.
fn encode(input: &Input<'_>, encoding: Encoding) -> Vec<u8> {
    let body = input.body.as_ref();
    if encoding == Encoding::Deflate {
        return compressed(body, input.is_one_in(2, 0));
    }
    let mut crc = Crc::new();
    crc.update(body);
    // Source: RFC 1952, section 2.3: magic, method, no flags, no time, fastest, system unknown.
    let head = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255];
    let tail = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    [head.as_slice(), &compressed(body, false), &tail].concat()
}

fn compressed(body: &[u8], zlib: bool) -> Vec<u8> {
    COMPRESSORS.with(|compressors| {
        let mut compressor = compressors[usize::from(zlib)].borrow_mut();
        compressor.reset();
        // Room for any body: what cannot be made smaller is stored.
        let mut encoded = Vec::with_capacity(body.len() + body.len() / 1000 + 64);
        let status = compressor.compress_vec(body, &mut encoded, FlushCompress::Finish).unwrap();
        assert_eq!(status, Status::StreamEnd, "there is room for all of it");
        encoded
    })
}

/// Gives what was read.
fn check(input: &Input<'_>, config: TapConfig) -> Reading {
    let body = input.body.as_ref();
    let whole = run(input, config, &[body]);
    let parts = run(input, config, &input.parts());
    assert_eq!(parts.bytes, whole.bytes, "the same bytes come out at any split");
    assert_eq!(parts.reading, whole.reading, "the same is read at any split");
    if !config.cut_usage_frame || config.encoding != Encoding::Identity {
        assert_eq!(whole.bytes, body, "the bytes that came in come out");
    }
    check_counts(input, config, &whole.reading);
    whole.reading
}

/// Parts are disjoint and add up to their totals.
fn check_counts(input: &Input<'_>, config: TapConfig, reading: &Reading) {
    if let Some(usage) = &reading.usage {
        for (classes, total) in
            [(&usage.input, usage.input_total), (&usage.output, usage.output_total)]
        {
            assert_eq!(classes.values().sum::<u64>(), total.unwrap_or(0), "parts add up");
        }
    }
    // Estimates cost more than all the rest: one input in eight is enough for sums.
    if input.body.len() > 4096 || !input.is_one_in(8, 1) {
        return;
    }
    let counted = count(reading, config.endpoint, b"{}");
    let sum = counted.input_total.unwrap_or(0) + counted.output_total.unwrap_or(0);
    assert_eq!(counted.tokens.values().sum::<u64>(), sum, "what is billed adds up");
}

struct Outcome {
    bytes: Vec<u8>,
    reading: Reading,
}

fn run(input: &Input<'_>, config: TapConfig, parts: &[&[u8]]) -> Outcome {
    let mut tap = Tap::new(config);
    let (mut pieces, mut bytes, mut pushed) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        tap.push(Bytes::copy_from_slice(part), &mut pieces);
        pushed += part.len();
        take(&mut pieces, &mut bytes);
        let held = pushed - bytes.len();
        assert!(config.cut_usage_frame || held <= HELD_BYTES_MAX, "{held} bytes are held");
    }
    if parts.len() > 1 && input.is_one_in(2, 2) {
        // Looking at what is known, wherever the reply stands, changes nothing.
        drop(tap.reading());
    }
    if input.is(Input::ABANDON) {
        tap.abandon(&mut pieces);
    } else {
        tap.finish(&mut pieces);
    }
    take(&mut pieces, &mut bytes);
    Outcome { bytes, reading: tap.reading() }
}

fn take(pieces: &mut Vec<Piece>, bytes: &mut Vec<u8>) {
    for piece in pieces.drain(..) {
        let (Piece::Pass(part) | Piece::Terminal(part)) = piece;
        assert!(!part.is_empty(), "an empty piece says nothing");
        bytes.extend_from_slice(&part);
    }
}

/// Only whole frames with usage and without choices are cut.
fn check_cut(input: &Input<'_>, config: TapConfig) {
    let mut tap = Tap::new(config);
    let mut pieces = Vec::new();
    let (mut rest, mut is_first) = (input.body.as_ref(), true);
    while !rest.is_empty() {
        let (frame, behind) = rest.split_at(frame_end(rest));
        tap.push(Bytes::copy_from_slice(frame), &mut pieces);
        rest = behind;
        if rest.is_empty() {
            if input.is(Input::ABANDON) {
                tap.abandon(&mut pieces);
            } else {
                tap.finish(&mut pieces);
            }
        }
        let mut bytes = Vec::new();
        take(&mut pieces, &mut bytes);
        let whole = bytes == frame;
        assert!(whole || (bytes.is_empty() && is_usage_only(frame, is_first)), "cut {frame:?}");
        is_first = false;
    }
}

/// Length of the first frame: comments and blank lines are frames of their own.
fn frame_end(stream: &[u8]) -> usize {
    let (mut at, mut in_event) = (0, false);
    while at < stream.len() {
        let line = &stream[at..];
        let length = line.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(line.len());
        let ending = match &line[length..] {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        at += length + ending;
        in_event |= length > 0 && line[0] != b':';
        if !in_event || length == 0 {
            break;
        }
    }
    at
}

fn is_usage_only(frame: &[u8], is_first: bool) -> bool {
    let frame = if is_first { frame.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(frame) } else { frame };
    let lines = frame.split(|byte| b"\r\n".contains(byte));
    let values = lines.filter_map(|line| match line.strip_prefix(b"data")? {
        [] => Some(&[] as &[u8]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    });
    let json = values.collect::<Vec<_>>().join(&b'\n');
    // A number beyond belief in a field that nobody reads is no JSON to this reader.
    serde_json::from_slice::<Value>(&json).map_or(true, |chunk| {
        chunk["choices"].as_array().is_some_and(Vec::is_empty) && chunk["usage"].is_object()
    })
}
