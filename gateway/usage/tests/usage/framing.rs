//! Bodies of many JSON documents: lines, and one list that grows. What is held, what passes at
//! once, and that no split changes anything.

use bytes::Bytes;
use permille_types::Endpoint;
use permille_usage::{Framing, Piece, Tap, TapConfig};

use crate::common::{break_off, chat_stream, leave, run};

const DELTA: &str =
    r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"]}, \"网\\"}}]}"#;
const USAGE: &str =
    r#"{"id":"a","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;

fn config(framing: Framing) -> TapConfig {
    TapConfig { framing, ..chat_stream(false) }
}

fn list(separator: &str) -> String {
    format!("[{DELTA}{separator}{DELTA}{separator}{USAGE}\n]\n")
}

#[test]
fn a_content_type_tells_the_framing() {
    for (kind, endpoint, framing) in [
        ("text/event-stream", Endpoint::ChatCompletions, Framing::Sse),
        (" Text/Event-Stream; charset=utf-8", Endpoint::StreamGenerateContent, Framing::Sse),
        ("application/x-ndjson", Endpoint::Chat, Framing::JsonLines),
        ("application/json; charset=UTF-8", Endpoint::ChatCompletions, Framing::Json),
        ("application/json; charset=UTF-8", Endpoint::StreamGenerateContent, Framing::JsonArray),
        ("", Endpoint::ChatCompletions, Framing::Json),
    ] {
        assert_eq!(Framing::of(endpoint, kind), framing, "{kind}");
    }
}

#[test]
fn every_split_of_a_list_and_of_lines_is_the_same_reply() {
    for (framing, body) in [
        (Framing::JsonArray, list(",\r\n")),
        (Framing::JsonArray, list(" , ")),
        (Framing::JsonLines, format!("{DELTA}\n\r\n{DELTA}\r\n{USAGE}\n[DONE]\n")),
        (Framing::JsonLines, format!("{DELTA}\n{USAGE}")),
    ] {
        let whole = run(config(framing), [body.as_bytes()]);
        assert_eq!(whole.bytes, body.as_bytes());
        let usage = whole.reading.usage.as_ref().unwrap();
        assert_eq!((usage.input_total, usage.output_total), (Some(5), Some(2)), "{body}");
        assert!(!whole.reading.tap_error && !whole.reading.failed || !body.ends_with('\n'));
        for at in 0..=body.len() {
            let (left, right) = body.as_bytes().split_at(at);

            assert_eq!(run(config(framing), [left, right]), whole, "split at {at}");
        }
        assert_eq!(run(config(framing), body.as_bytes().chunks(1)), whole);
    }
}

#[test]
fn a_list_waits_with_its_closing_bracket_and_with_nothing_else() {
    let body = Bytes::from(list(",\n"));
    let mut tap = Tap::new(config(Framing::JsonArray));
    let mut pieces = Vec::new();

    tap.push(body.clone(), &mut pieces);

    let [Piece::Pass(before), Piece::Terminal(end), Piece::Pass(after)] = pieces.as_slice() else {
        panic!("{pieces:?}");
    };
    assert_eq!((end.as_ref(), after.as_ref()), (b"]".as_slice(), b"\n".as_slice()));
    assert_eq!(before.as_ptr(), body.as_ptr(), "one slice of what came");
    assert!(tap.reading().terminal);
}

#[test]
fn a_terminal_line_waits_with_its_line_end() {
    let body = format!("{DELTA}\n[DONE]\nmore\n");

    let outcome = run(config(Framing::JsonLines), [body.as_bytes()]);

    assert_eq!(outcome.terminal, b"[DONE]");
    assert_eq!(outcome.bytes, body.as_bytes());
    assert!(outcome.reading.terminal && !outcome.reading.tap_error);
}

#[test]
fn what_stands_between_elements_passes_at_once_and_an_element_is_held() {
    for (framing, parts) in [
        (Framing::JsonArray, ["[", "\n", "{\"id\":", "\"a\"}", ","]),
        (Framing::JsonLines, ["\n", "\r\n", "{\"id\":", "\"a\"}\n", " "]),
    ] {
        let mut tap = Tap::new(config(framing));
        for (index, part) in parts.into_iter().enumerate() {
            let mut pieces = Vec::new();

            tap.push(Bytes::from(part), &mut pieces);

            let out: usize = pieces.iter().map(length).sum();
            let expected = [part.len(), part.len(), 0, parts[2].len() + part.len(), part.len()];
            assert_eq!(out, expected[index], "{framing:?} {part:?}");
        }
    }
}

fn length(piece: &Piece) -> usize {
    match piece {
        Piece::Pass(bytes) | Piece::Terminal(bytes) => bytes.len(),
    }
}

#[test]
fn an_element_too_long_to_hold_passes_and_is_read() {
    let image = "A".repeat(200_000);
    let large = format!(
        r#"{{"choices":[{{"delta":{{"content":"Hello","image":"{image}"}}}}],"usage":{{"prompt_tokens":5,"completion_tokens":2}}}}"#
    );
    for (framing, body) in [
        (Framing::JsonArray, format!("[{large},\n{DELTA}]")),
        (Framing::JsonLines, format!("{large}\n{DELTA}\n")),
    ] {
        for size in [body.len(), 65_536, 7_000] {
            let mut tap = Tap::new(config(framing));
            let mut pieces = Vec::new();
            let mut sent = 0;
            for part in body.as_bytes().chunks(size) {
                tap.push(Bytes::copy_from_slice(part), &mut pieces);
                sent += part.len();
                let out: usize = pieces.iter().map(length).sum();
                assert!(sent <= out + 65_536, "held {} bytes", sent - out);
            }
            tap.finish(&mut pieces);

            assert_eq!(pieces.iter().map(length).sum::<usize>(), body.len());
            assert_eq!(tap.reading().usage.unwrap().output_total, Some(2));
        }
    }
}

#[test]
fn what_is_held_has_its_bound_to_the_byte() {
    for (framing, open) in [
        (Framing::Sse, "data: "),
        (Framing::JsonLines, "{\"a\":\""),
        (Framing::JsonArray, "{\"a\":\""),
    ] {
        for first in [open.len(), 40_000, 65_536] {
            let mut tap = Tap::new(config(framing));
            let mut passed = |open: &str, bytes: usize| {
                let mut pieces = Vec::new();
                let part = [open.as_bytes(), &vec![b'x'; bytes - open.len()]].concat();
                tap.push(Bytes::from(part), &mut pieces);
                pieces.iter().map(length).sum::<usize>()
            };

            assert_eq!(passed(open, first), 0, "{framing:?}: {first}");
            assert_eq!(passed("", 65_536 - first), 0, "{framing:?}: the bound");
            assert_eq!(passed("", 1), 65_537, "{framing:?}: one byte more passes with all of it");
            assert_eq!(passed("", 1), 1, "{framing:?}: nothing is held of what follows");
        }
    }
}

#[test]
fn an_element_that_ends_within_the_bound_is_one_piece_and_a_longer_one_is_not() {
    for (framing, end) in [(Framing::JsonLines, "\"}\n"), (Framing::JsonArray, "\"}")] {
        for (bytes, pieces) in [(65_535, 1), (65_536, 1), (65_537, 2), (70_000, 2)] {
            let open = "{\"a\":\"";
            let filler = "x".repeat(bytes - open.len() - end.len());
            let element = [open, &filler, end].concat();
            let mut tap = Tap::new(config(framing));
            let mut out = Vec::new();
            tap.push(Bytes::from_static(b"["), &mut Vec::new());
            if framing == Framing::JsonLines {
                tap = Tap::new(config(framing));
            }

            tap.push(Bytes::copy_from_slice(&element.as_bytes()[..40_000]), &mut out);
            assert_eq!(out, [], "{framing:?}: {bytes}");
            tap.push(Bytes::copy_from_slice(&element.as_bytes()[40_000..]), &mut out);

            assert_eq!(out.len(), pieces, "{framing:?}: {bytes}");
            assert_eq!(out.iter().map(length).sum::<usize>(), bytes, "{framing:?}");
        }
    }
}

#[test]
fn a_line_that_cannot_be_read_costs_only_itself() {
    let body = format!("{{\"choices\":[\n{USAGE}\n");

    let outcome = run(config(Framing::JsonLines), [body.as_bytes()]);

    assert!(outcome.reading.tap_error);
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
}

#[test]
fn a_cut_list_or_line_is_delivered_and_has_no_end() {
    for framing in [Framing::JsonArray, Framing::JsonLines] {
        let body = format!("[\n{DELTA}\n{{\"id\":");

        let outcome = break_off(config(framing), body.as_bytes());

        assert_eq!(outcome.bytes, body.as_bytes());
        assert_eq!(outcome.terminal, b"");
        assert!(outcome.reading.failed && !outcome.reading.terminal);
    }
    let open = format!("[{DELTA}");
    let text = leave(config(Framing::JsonArray), open.as_bytes().chunks(3)).text;
    assert_eq!(text.visible.kept(), "]}, \"网\\");
}

#[test]
fn an_error_where_a_list_was_announced_is_an_error() {
    for body in [r#"{"error":{"code":429}}"#, r#"[{"error":{"code":429}}]"#] {
        let outcome = run(config(Framing::JsonArray), [body.as_bytes()]);

        assert!(outcome.reading.error && outcome.reading.failed, "{body}");
        assert_eq!(outcome.bytes, body.as_bytes());
    }
}
