//! Streams: what is held, what is cut, and what is read of odd ones.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use permille_types::{Endpoint, TokenClass};
use permille_usage::{Encoding, Framing, Piece, Tap, TapConfig};

use crate::common::{break_off, chat_stream, family_of, fixture, leave, run, stream};

const DELTA: &str = r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
const USAGE: &str =
    r#"{"id":"a","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;

fn messages(framing: Framing) -> TapConfig {
    let endpoint = Endpoint::Messages;
    TapConfig { family: family_of(endpoint), endpoint, framing, ..chat_stream(false) }
}

#[test]
fn a_stream_without_cuts_comes_out_as_the_very_slice_that_went_in() {
    let body = Bytes::from(stream(&[DELTA, DELTA, DELTA]));
    let mut pieces = Vec::new();

    Tap::new(chat_stream(true)).push(body.clone(), &mut pieces);

    let [Piece::Pass(out)] = pieces.as_slice() else { panic!("{pieces:?}") };
    assert_eq!(out.as_ptr(), body.as_ptr());
    assert_eq!(out, &body);
}

#[test]
fn only_the_frame_without_choices_and_with_usage_is_cut() {
    for (frame, cut) in [
        (USAGE, true),
        (r#"{"choices":[],"usage":{"prompt_tokens":5},"obfuscation":"x","extra":{}}"#, true),
        (r#"{"choices":[],"usage":null}"#, false),
        (r#"{"choices":[],"usage":[]}"#, false),
        (r#"{"choices":[]}"#, false),
        (r#"{"choices":[],"model":"","prompt_filter_results":[{"prompt_index":0}]}"#, false),
        (r#"{"usage":{"prompt_tokens":5}}"#, false),
        (r#"{"choices":null,"usage":{"prompt_tokens":5}}"#, false),
        (r#"{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":5}}"#, false),
        (r#"{"choices":[],"usage":{"prompt_tokens":5},"error":{"code":502}}"#, false),
        (r#"{"choices":[{"delta":{"content":"\"choices\":[],\"usage\":{}"}}]}"#, false),
    ] {
        let body = stream(&[DELTA, frame, "[DONE]"]);
        let kept = if cut { stream(&[DELTA, "[DONE]"]) } else { body.clone() };

        assert_eq!(run(chat_stream(true), [body.as_slice()]).bytes, kept, "{frame}");
        assert_eq!(run(chat_stream(false), [body.as_slice()]).bytes, body, "{frame}");
    }
}

#[test]
fn a_comment_before_the_cut_frame_stays() {
    let body = format!(": PROCESSING\n\n: ping\ndata: {USAGE}\n\ndata: [DONE]\n\n");

    let outcome = run(chat_stream(true), [body.as_bytes()]);

    assert_eq!(outcome.bytes, b": PROCESSING\n\n: ping\ndata: [DONE]\n\n");
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
}

#[test]
fn keep_alives_go_through_at_once() {
    let mut tap = Tap::new(chat_stream(true));
    for part in [": OPENROUTER PROCESSING\n", ":", "\n", "\n\n", ": x"] {
        let mut pieces = Vec::new();

        tap.push(Bytes::from(part), &mut pieces);

        assert_eq!(pieces, [Piece::Pass(Bytes::from(part))]);
    }
}

#[test]
fn an_unfinished_event_is_held_until_its_blank_line() {
    let mut tap = Tap::new(chat_stream(false));
    let mut pieces = Vec::new();

    tap.push(Bytes::from(format!("data: {DELTA}\n")), &mut pieces);
    assert!(pieces.is_empty());

    tap.push(Bytes::from_static(b"\n"), &mut pieces);
    assert_eq!(pieces, [Piece::Pass(Bytes::from(stream(&[DELTA])))]);
}

#[test]
fn a_text_that_looks_like_usage_or_an_end_is_only_text() {
    let text =
        r#"{"choices":[{"delta":{"content":"data: [DONE]\n\n\"usage\":{\"prompt_tokens\":9}"}}]}"#;
    let body = stream(&[text, USAGE, "[DONE]"]);

    let outcome = run(chat_stream(false), body.chunks(3));

    let usage = outcome.reading.usage.unwrap();
    assert_eq!((usage.input_total, usage.output_total), (Some(5), Some(2)));
    assert_eq!(outcome.terminal, b"data: [DONE]");
}

#[test]
fn a_character_split_between_reads_is_one_character() {
    let delta = r#"{"choices":[{"delta":{"content":"网关 🚰"}}]}"#;
    let body = stream(&[delta]);

    let reading = leave(chat_stream(false), body.chunks(1));

    assert_eq!(reading.text.visible.kept(), "网关 🚰");
}

#[test]
fn an_eight_megabyte_line_passes_and_the_usage_behind_it_is_read() {
    let image = "A".repeat(8 << 20);
    let large = format!(r#"{{"id":"big","choices":[{{"delta":{{"image":"{image}"}}}}]}}"#);
    let body = stream(&[DELTA, &large, USAGE, "[DONE]"]);
    for size in [body.len(), 65_536, 1_000] {
        let mut tap = Tap::new(chat_stream(true));
        let mut pieces = Vec::new();
        let mut sent = 0;
        for part in body.chunks(size) {
            tap.push(Bytes::copy_from_slice(part), &mut pieces);
            sent += part.len();
            let out: usize = pieces.iter().map(length).sum();
            assert!(sent <= out + 65_536 + USAGE.len() + 8, "held {} bytes", sent - out);
        }
        tap.finish(&mut pieces);
        let out: usize = pieces.iter().map(length).sum();

        assert_eq!(out, body.len() - stream(&[USAGE]).len(), "in parts of {size}");
        let reading = tap.reading();
        assert_eq!(reading.usage.unwrap().input_total, Some(5), "in parts of {size}");
        assert_eq!(reading.provider_id.as_deref(), Some("a"), "in parts of {size}");
        assert!(!reading.tap_error, "in parts of {size}");
    }
}

fn length(piece: &Piece) -> usize {
    match piece {
        Piece::Pass(bytes) | Piece::Terminal(bytes) => bytes.len(),
    }
}

#[test]
fn usage_inside_an_event_too_long_to_hold_is_read() {
    let image = "A".repeat(100_000);
    let large = format!(
        r#"{{"choices":[{{"delta":{{"content":"Hello","image":"{image}"}}}}],"usage":{{"prompt_tokens":5,"completion_tokens":2}}}}"#
    );
    let body = stream(&[&large, "[DONE]"]);
    for size in [body.len(), 7_000] {
        let outcome = run(chat_stream(true), body.chunks(size));

        assert_eq!(outcome.reading.usage.unwrap().output_total, Some(2));
        assert_eq!(outcome.bytes, body);
    }
}

#[test]
fn the_bound_of_what_is_held_does_not_depend_on_the_split() {
    // A usage-only frame of exactly the bound is cut, one byte more passes; split or not.
    for (length, cut) in [(65_536, true), (65_537, false)] {
        let filler = "x".repeat(length - stream(&[USAGE]).len() - ",\"x\":\"\"".len());
        let frame = format!(r#"{},"x":"{filler}"}}"#, USAGE.strip_suffix('}').unwrap());
        for end in ["\n", "\r"] {
            let body = format!("data: {frame}{end}{end}").into_bytes();
            assert_eq!(body.len(), length);
            for size in [length, 65_535, 40_000, 999] {
                let outcome = run(chat_stream(true), body.chunks(size));

                assert_eq!(outcome.bytes.is_empty(), cut, "{length} in parts of {size}");
                assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
            }
        }
    }
}

#[test]
fn an_unfinished_usage_frame_that_is_cut_leaves_nothing_when_the_upstream_breaks_off() {
    let outcome = break_off(chat_stream(true), format!("data: {USAGE}\n").as_bytes());

    assert!(outcome.bytes.is_empty(), "{outcome:?}");
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
}

#[test]
fn an_encoding_that_is_not_read_is_known_to_have_broken_off() {
    let config = TapConfig { encoding: Encoding::Opaque, ..chat_stream(false) };

    assert!(break_off(config, b"x").reading.failed);
    assert!(!run(config, [b"x".as_slice()]).reading.failed);
}

#[test]
fn text_is_due_once_there_is_a_piece_of_it_and_is_then_taken_away() {
    let delta = |text: &str| {
        let choice = format!(r#"{{"index":0,"delta":{{"content":"{text}"}}}}"#);
        Bytes::from(stream(&[&format!(r#"{{"choices":[{choice}]}}"#)]))
    };
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        let mut tap = Tap::new(TapConfig { encoding, ..chat_stream(false) });
        let push = |tap: &mut Tap, bytes: Bytes| {
            let mut body = bytes;
            if encoding == Encoding::Gzip {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&body).unwrap();
                body = gzip.finish().unwrap().into();
            }
            tap.push(body, &mut Vec::new());
        };
        assert_eq!(tap.text_bytes(), 0);
        push(&mut tap, delta("The Nile "));
        assert!(!tap.is_text_due());
        assert_eq!(tap.text_bytes(), 9);
        push(&mut tap, delta(&"river ".repeat(6_000)));
        assert!(tap.is_text_due());

        drop(tap.take_text());

        assert!(!tap.is_text_due());
        assert_eq!(tap.text_bytes(), 9 + 6 * 6_000);
        push(&mut tap, Bytes::from(stream(&[USAGE, "[DONE]"])));
        let (reading, with_text) = (tap.reading(), tap.reading_with_text());
        assert!(reading.usage.is_some() && reading.text.is_empty());
        let text = with_text.text.visible;
        assert_eq!((text.kept(), text.bytes()), (" ", 9 + 6 * 6_000), "{encoding:?}");
    }
}

#[test]
fn a_long_text_is_sampled_and_extrapolated() {
    let text = "word ".repeat(200_000);
    let large = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    let body = stream(&[&large]);

    let reading = leave(chat_stream(false), body.chunks(10_000));

    let visible = reading.text.visible;
    assert!(visible.kept().len() <= 128 * 1024);
    assert!(visible.bytes().abs_diff(1_000_000) < 1_000, "{}", visible.bytes());
}

#[test]
fn a_cut_at_every_event_leaves_what_was_delivered_and_no_end() {
    let fixture = fixture("anthropic-messages/stream");
    let text = String::from_utf8(fixture.body.clone()).unwrap();
    let mut seen = 0;
    for frame in text.split_inclusive("\n\n").take(7) {
        seen += frame.len();

        let outcome = break_off(fixture.config(false), &fixture.body[..seen]);

        assert_eq!(outcome.bytes, &fixture.body[..seen]);
        assert_eq!(outcome.terminal, b"");
        assert!(outcome.reading.failed && !outcome.reading.terminal);
        assert_eq!(outcome.reading.usage.unwrap().input_total, Some(21_521));
    }
}

#[test]
fn what_was_held_comes_out_when_the_upstream_breaks_off() {
    let outcome = break_off(chat_stream(true), b"data: {\"choices\":[{\"del");

    assert_eq!(outcome.bytes, b"data: {\"choices\":[{\"del");
    assert_eq!(outcome.terminal, b"");
    assert!(!outcome.reading.tap_error, "a cut event is no defect of the tap");
}

#[test]
fn an_end_without_its_blank_line_still_waits_when_the_upstream_breaks_off() {
    let outcome = break_off(chat_stream(true), b"data: [DONE]\n");

    assert_eq!(outcome.terminal, b"data: [DONE]");
    assert!(outcome.reading.terminal);
}

#[test]
fn an_error_document_where_events_were_announced_is_an_error() {
    let body = b" \n{\"error\":{\"message\":\"model overloaded\"}}";
    for size in [1, 2, 3, body.len()] {
        let outcome = run(chat_stream(true), body.chunks(size));

        assert_eq!(outcome.bytes, body);
        assert!(outcome.reading.error && outcome.reading.terminal);
    }
}

#[test]
fn an_error_in_a_stream_is_seen_in_every_shape() {
    for (config, body) in [
        (chat_stream(false), "data: {\"error\":{\"message\":\"x\"}}\n\n"),
        (chat_stream(false), "event: error\ndata: {\"message\":\"x\"}\n\n"),
        (
            chat_stream(false),
            "data: {\"error\":{\"code\":502},\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
        ),
        (messages(Framing::Sse), "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n"),
        (messages(Framing::Sse), "data: {\"type\":\"error\",\"error\":{\"type\":\"x\"}}\n\n"),
    ] {
        assert!(leave(config, [body.as_bytes()]).error, "{body}");
    }
    let fine = "data: {\"error\":null,\"choices\":[]}\n\n";
    assert!(!leave(chat_stream(false), [fine.as_bytes()]).error);
}

#[test]
fn a_stream_that_opens_with_a_byte_order_mark_is_read() {
    let body = format!("\u{feff}data: {USAGE}\n\n");

    let outcome = run(chat_stream(true), body.as_bytes().chunks(1));

    assert_eq!(outcome.bytes, b"");
    assert!(outcome.reading.usage.is_some());
}

/// Where an error of ours may stand among what passes: in streams that are read as they pass.
#[test]
fn a_tap_says_how_what_passes_is_framed() {
    let told = |kind: &str, encoding| {
        let framing = Framing::of(Endpoint::ChatCompletions, kind);
        Tap::new(TapConfig { framing, encoding, ..chat_stream(false) }).framing()
    };
    for (kind, framing) in [
        ("text/event-stream; charset=utf-8", Framing::Sse),
        ("Text/Event-Stream, text/event-stream", Framing::Sse),
        ("application/x-ndjson", Framing::JsonLines),
        ("application/json", Framing::Json),
        ("application/vnd.amazon.eventstream", Framing::Json),
    ] {
        assert_eq!(told(kind, Encoding::Identity), Some(framing), "{kind}");
        assert_eq!(told(kind, Encoding::Gzip), None, "{kind}");
    }
    let mut untold = Tap::new(TapConfig { framing: Framing::Untold, ..chat_stream(false) });
    let mut seen = Vec::new();
    for bytes in [" ", "da", "ta: {}\n\n"] {
        untold.push(Bytes::from(bytes), &mut Vec::new());
        seen.push(untold.framing());
    }
    assert_eq!(seen, [Some(Framing::Untold), Some(Framing::Untold), Some(Framing::Sse)]);
}

/// A reply that should be a stream and whose type tells no framing, at every split.
#[test]
fn a_reply_whose_framing_is_not_told_is_read_as_it_opens() {
    let untold = TapConfig { framing: Framing::Untold, ..chat_stream(false) };
    let events = format!("data: {USAGE}\n\ndata: [DONE]\n\n");
    for (body, events_begin, input) in [
        (events.clone(), true, Some(5)),
        (format!("\u{feff}\r\n: hello\r\n\r\n{events}"), true, Some(5)),
        (format!("\u{feff}{events}"), true, Some(5)),
        (format!(" {events}"), true, Some(5)),
        (format!("event: x\n{events}"), true, Some(5)),
        (format!("retry: 9\n\nid: 1\n{events}"), true, Some(5)),
        (format!(" \n{USAGE}"), false, Some(5)),
        (format!("[{USAGE}]"), false, None),
        ("The Nile is long, and so is the line".to_owned(), false, None),
        ("<html>no</html>".to_owned(), false, None),
    ] {
        for at in 0..=body.len() {
            let (one, two) = body.as_bytes().split_at(at);
            let outcome = run(untold, [one, two]);

            assert_eq!(outcome.bytes, body.as_bytes(), "{body} at {at}");
            let usage = outcome.reading.usage.unwrap_or_default();
            assert_eq!(usage.input_total, input, "{body} at {at}");
        }
        // What is no event is not held back until an event ends.
        let mut pieces = Vec::new();
        Tap::new(untold).push(Bytes::from(body.clone().into_bytes()), &mut pieces);
        let passed = pieces.iter().filter_map(|piece| match piece {
            Piece::Pass(bytes) => Some(bytes.to_vec()),
            Piece::Terminal(_) => None,
        });
        let is_held = passed.collect::<Vec<_>>().concat() != body.as_bytes();
        assert_eq!(is_held, events_begin, "{body}");
    }
}

#[test]
fn an_event_that_cannot_be_read_costs_only_itself() {
    let body = stream(&["not json", r#"{"choices":"#, USAGE, "[DONE]"]);

    let outcome = run(chat_stream(false), [body.as_slice()]);

    assert_eq!(outcome.bytes, body);
    assert!(outcome.reading.tap_error);
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
}

#[test]
fn an_odd_field_does_not_cost_the_usage_beside_it() {
    for frame in [
        r#"{"id":7,"model":null,"choices":{"a":1},"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
        r#"{"choices":[{"delta":"x","index":"0"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
        r#"{"choices":[{"delta":{"content":"\ud83d"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
        r#"{"id":"a","id":"b","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
        r#"{"x":1e999,"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
    ] {
        let body = stream(&[frame, "[DONE]"]);

        let reading = run(chat_stream(false), [body.as_slice()]).reading;

        let usage = reading.usage.unwrap();
        assert_eq!((usage.input_total, usage.output_total), (Some(5), Some(2)), "{frame}");
        assert!(!reading.tap_error && !usage.mismatch, "{frame}");
    }
}

/// What a model wrote is delivered in any form of it.
#[test]
fn text_in_parts_and_of_tools_is_delivered_text() {
    for (message, said, thought) in [
        (
            r#""content":[{"type":"text","text":"The "},{"type":"text","text":"Nile"}]"#,
            "The Nile",
            "",
        ),
        (r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]}]"#, "", "Hm."),
        (r#""content":[{"type":"thinking","thinking":"Hm."}]"#, "", "Hm."),
        (r#""tool_calls":[{"type":"custom","custom":{"name":"sh","input":" ls"}}]"#, "sh ls", ""),
        (r#""content":[1,"x",null,{"text":7}]"#, "", ""),
        (r#""content":{"text":"x"}"#, "", ""),
    ] {
        let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{{{message}}}}}]}}"#);
        let cut = leave(chat_stream(true), [stream(&[&chunk]).as_slice()]);
        let reply = chunk.replace("delta", "message");
        let document = TapConfig { framing: Framing::Json, ..chat_stream(false) };
        let whole = run(document, [reply.as_bytes()]).reading;

        for reading in [cut, whole] {
            let read = (reading.text.visible.kept(), reading.text.reasoning.kept());
            assert_eq!(read, (said, thought), "{message}");
        }
    }
}

#[test]
fn tool_calls_of_two_choices_are_delivered_text_and_usage_is_the_sum() {
    let fixture = fixture("openai-chat/stream-n2-tools");
    let before_usage = fixture.body.windows(12).position(|part| part == b"\"choices\":[]").unwrap();

    let left = leave(fixture.config(true), [&fixture.body[..before_usage]]);
    assert_eq!(left.text.visible.kept(), "lookup{\"q\":\"Nile\"}Nile");

    let usage = run(fixture.config(true), [fixture.body.as_slice()]).reading.usage.unwrap();
    assert_eq!((usage.input_total, usage.output_total), (Some(58), Some(33)));
    assert_eq!(usage.output[&TokenClass::OUTPUT_TEXT], 33);
}
