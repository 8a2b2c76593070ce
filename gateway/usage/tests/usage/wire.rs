//! Recorded replies of every family: the counts are the expected ones, however the bytes are
//! split, whatever their line ends, and the bytes that come out are the ones that went in.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use permille_usage::{Encoding, Framing, Piece, Tap};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{self, Fixture, check, fixtures, run, split};

/// The body without its usage-only frames: an independent, slow way to cut them.
fn without_usage_frames(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let separator = ["\r\n\r\n", "\n\n", "\r\r"].into_iter().find(|end| text.contains(end));
    let Some(separator) = separator else { return body.to_vec() };
    text.split_inclusive(separator)
        .filter(|frame| {
            let data = frame.trim().trim_start_matches("data:");
            let Ok(json) = serde_json::from_str::<Value>(data) else { return true };
            json["choices"] != serde_json::json!([]) || !json["usage"].is_object()
        })
        .collect::<String>()
        .into_bytes()
}

/// Streams that can be rewritten with other line ends.
fn plain_streams() -> impl Iterator<Item = Fixture> {
    fixtures().into_iter().filter(|fixture| {
        fixture.framing == Framing::Sse
            && fixture.encoding == Encoding::Identity
            && !fixture.body.contains(&b'\r')
            && !fixture.body.starts_with(b"{")
    })
}

fn with_line_ends(fixture: &Fixture, end: &str) -> Vec<u8> {
    String::from_utf8(fixture.body.clone()).unwrap().replace('\n', end).into_bytes()
}

#[test]
fn every_recorded_reply_gives_the_expected_counts() {
    for fixture in fixtures() {
        let outcome = run(fixture.config(false), [fixture.body.as_slice()]);

        check(&outcome.reading, &fixture);
        assert_eq!(outcome.bytes, fixture.body, "{}", fixture.name);
        assert!(!outcome.reading.tap_error, "{}", fixture.name);
    }
}

#[test]
fn two_parts_split_anywhere_are_the_same_reply() {
    for fixture in fixtures() {
        for cut in [false, true] {
            let whole = run(fixture.config(cut), [fixture.body.as_slice()]);
            for at in 0..=fixture.body.len() {
                let (left, right) = fixture.body.split_at(at);

                let outcome = run(fixture.config(cut), [left, right]);

                assert_eq!(outcome, whole, "{} split at {at}", fixture.name);
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_is_the_same_reply() {
    for fixture in fixtures() {
        for cut in [false, true] {
            let whole = run(fixture.config(cut), [fixture.body.as_slice()]);

            let outcome = run(fixture.config(cut), fixture.body.chunks(1));

            assert_eq!(outcome, whole, "{}", fixture.name);
        }
    }
}

#[test]
fn only_the_usage_only_frame_is_cut() {
    let mut cut_frames = 0;
    for fixture in fixtures().iter().filter(|fixture| fixture.encoding == Encoding::Identity) {
        let expected = without_usage_frames(&fixture.body);

        let outcome = run(fixture.config(true), [fixture.body.as_slice()]);

        assert_eq!(
            String::from_utf8_lossy(&outcome.bytes),
            String::from_utf8_lossy(&expected),
            "{}",
            fixture.name
        );
        check(&outcome.reading, fixture);
        cut_frames += usize::from(expected.len() < fixture.body.len());
    }
    assert!(cut_frames >= 15, "{cut_frames} fixtures had a frame to cut");
}

#[test]
fn line_ends_of_any_kind_are_the_same_reply() {
    for fixture in plain_streams() {
        let reading = run(fixture.config(true), [fixture.body.as_slice()]).reading;
        for end in ["\r\n", "\r"] {
            let body = with_line_ends(&fixture, end);
            let expected = without_usage_frames(&body);
            for size in [1, 2, 3, 7, 64, 1000, body.len()] {
                let outcome = run(fixture.config(true), body.chunks(size));

                assert_eq!(outcome.reading, reading, "{} in {size}", fixture.name);
                assert_eq!(outcome.bytes, expected, "{} in {size}", fixture.name);
            }
        }
    }
}

#[test]
fn crlf_streams_split_anywhere_are_the_same_reply() {
    for name in ["openai-chat/stream", "openai-completions/stream", "anthropic-messages/stream"] {
        let fixture = common::fixture(name);
        let body = with_line_ends(&fixture, "\r\n");
        let whole = run(fixture.config(true), [body.as_slice()]);
        for at in 0..=body.len() {
            let (left, right) = body.split_at(at);

            let outcome = run(fixture.config(true), [left, right]);

            assert_eq!(outcome.bytes, whole.bytes, "{name} split at {at}");
            assert_eq!(outcome.reading, whole.reading, "{name} split at {at}");
        }
    }
}

#[test]
fn encoded_replies_are_read_beside_the_bytes_that_pass() {
    for fixture in fixtures().iter().filter(|fixture| fixture.encoding == Encoding::Identity) {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        gzip.write_all(&fixture.body).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(&fixture.body).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        raw.write_all(&fixture.body).unwrap();
        let plain = run(fixture.config(false), [fixture.body.as_slice()]).reading;
        for (encoding, body) in [
            (Encoding::Gzip, gzip.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
        ] {
            let config = permille_usage::TapConfig { encoding, ..fixture.config(true) };
            for size in [1, 5, 100, body.len()] {
                let outcome = run(config, body.chunks(size));

                assert_eq!(outcome.bytes, body, "{} {encoding:?} in {size}", fixture.name);
                assert_eq!(outcome.reading, plain, "{} {encoding:?} in {size}", fixture.name);
            }
        }
    }
}

#[test]
fn the_terminal_event_waits_and_everything_before_it_does_not() {
    for (name, terminal) in [
        ("openai-chat/stream", "data: [DONE]\n\n"),
        ("quirks/done-without-space-and-trailing-junk", "data:[DONE]\n\n"),
        ("anthropic-messages/stream", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
    ] {
        let fixture = common::fixture(name);
        let mut tap = Tap::new(fixture.config(false));
        let mut pieces = Vec::new();

        tap.push(Bytes::copy_from_slice(&fixture.body), &mut pieces);

        let (Piece::Pass(before), Piece::Terminal(last)) = (&pieces[0], &pieces[1]) else {
            panic!("{name}: {pieces:?}");
        };
        assert_eq!(last, terminal, "{name}");
        assert!(fixture.body.starts_with(before), "{name}: one slice of what came");
        assert!(tap.reading().terminal, "{name}");
    }
}

#[test]
fn an_unfinished_last_block_is_read_and_waits() {
    let fixture = common::fixture("quirks/missing-final-blank-line");

    let outcome = run(fixture.config(false), [fixture.body.as_slice()]);

    assert!(outcome.terminal.starts_with(b"data: {") && outcome.terminal.ends_with(b"}"));
    assert!(outcome.reading.usage.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_is_the_same_reply(
        index in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 0..24),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let streams: Vec<Fixture> = plain_streams().collect();
        let fixture = index.get(&streams);
        let body = with_line_ends(fixture, end);
        let whole = run(fixture.config(true), [body.as_slice()]);

        let outcome = run(fixture.config(true), split(&body, &cuts));

        prop_assert_eq!(outcome.bytes, whole.bytes);
        prop_assert_eq!(outcome.reading, whole.reading);
    }
}
