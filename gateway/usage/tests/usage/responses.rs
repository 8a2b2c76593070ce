//! `OpenAI` responses: terminal events, failures, background, replies too long to hold.

use bytes::Bytes;
use permille_types::{Endpoint, Flag, Source, TokenClass};
use permille_usage::{Counted, Framing, Piece, Reading, Tap, TapConfig, count, estimate_input};

use crate::common::{break_off, chat_stream, fixture, leave, run};

const REQUEST: &[u8] = br#"{"model":"gpt-5.6","instructions":"Be brief.",
    "input":[{"role":"user","content":[{"type":"input_text","text":"Name the river."}]}]}"#;

fn config(framing: Framing) -> TapConfig {
    TapConfig { endpoint: Endpoint::Responses, framing, ..chat_stream(false) }
}

fn counted(reading: &Reading) -> Counted {
    count(reading, Endpoint::Responses, REQUEST)
}

fn event(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n")
}

#[test]
fn each_terminal_event_ends_the_reply_and_brings_its_usage() {
    for kind in ["response.completed", "response.incomplete", "response.failed"] {
        let usage = r#"{"input_tokens":5,"output_tokens":3,"total_tokens":8}"#;
        let end = event(kind, &format!(r#","response":{{"id":"r","usage":{usage}}}"#));
        let body = format!("{}{end}", event("response.created", r#","response":{"usage":null}"#));

        let outcome = run(config(Framing::Sse), [body.as_bytes()]);

        assert_eq!(outcome.terminal, end.trim_ascii_end().as_bytes(), "{kind}");
        let usage = outcome.reading.usage.unwrap();
        assert!(usage.is_complete() && usage.input_total == Some(5), "{kind}");
        assert_eq!(outcome.reading.error, kind == "response.failed");
    }
}

#[test]
fn a_failure_without_usage_is_free_unless_something_was_delivered() {
    let failed = fixture("openai-responses/stream-failed");
    let nothing = counted(&run(failed.config(false), [failed.body.as_slice()]).reading);
    assert_eq!((nothing.source, nothing.tokens.len()), (Source::Missing, 0));

    let some = format!(
        "{}{}",
        event("response.output_text.delta", r#","delta":"The Nile.""#),
        event("response.failed", r#","response":{"status":"failed","usage":null}"#),
    );
    let some = counted(&run(config(Framing::Sse), [some.as_bytes()]).reading);
    assert_eq!((some.source, some.output_total), (Source::Estimated, Some(3)));
}

#[test]
fn an_error_event_is_an_error_and_not_the_end() {
    let body = event("error", r#","code":"server_error","message":"x""#);

    let reading = leave(config(Framing::Sse), [body.as_bytes()]);

    assert!(reading.error && !reading.terminal);
}

#[test]
fn text_counts_once_although_later_events_repeat_it() {
    let fixture = fixture("openai-responses/stream");
    let end =
        fixture.body.windows(25).position(|part| part == b"event: response.completed").unwrap();

    let reading = break_off(fixture.config(false), &fixture.body[..end]).reading;

    assert_eq!(reading.text.visible.kept(), "The Nile.");
    assert_eq!(counted(&reading).output_total, Some(3));
}

#[test]
fn calls_and_reasoning_are_told_apart() {
    let body = [
        event("response.output_item.added", r#","item":{"type":"function_call","name":"find"}"#),
        event("response.function_call_arguments.delta", r#","delta":"{}","obfuscation":"xyz""#),
        event("response.function_call_arguments.done", r#","arguments":"{}""#),
        event("response.reasoning_summary_text.delta", r#","delta":"hm""#),
        event("response.refusal.delta", r#","delta":"No.""#),
    ]
    .concat();

    let text = leave(config(Framing::Sse), [body.as_bytes()]).text;

    assert_eq!(text.visible.kept(), "find{}No.");
    assert_eq!(text.reasoning.kept(), "hm");
}

#[test]
fn a_background_acceptance_consumed_nothing_yet_and_says_so() {
    let fixture = fixture("openai-responses/nonstream-background-accepted");

    let counted = counted(&run(fixture.config(false), [fixture.body.as_slice()]).reading);

    assert_eq!((counted.source, counted.input_total), (Source::Missing, None));
    assert_eq!(counted.flags, [Flag::Background]);
}

#[test]
fn the_end_of_a_reply_too_long_to_hold_still_waits_and_is_counted() {
    let text = "word ".repeat(40_000);
    let long = event(
        "response.completed",
        &format!(
            r#","response":{{"id":"resp_1","model":"gpt-5.6","output":[{{"type":"message","content":[{{"text":"{text}"}}]}}],"usage":{{"input_tokens":5,"output_tokens":40000,"output_tokens_details":{{"reasoning_tokens":7}}}}}}"#
        ),
    );
    for size in [long.len(), 65_536, 4_999] {
        let mut tap = Tap::new(config(Framing::Sse));
        let mut pieces = Vec::new();
        for part in long.as_bytes().chunks(size) {
            tap.push(Bytes::copy_from_slice(part), &mut pieces);
        }

        let Some(Piece::Terminal(last)) = pieces.last() else { panic!("{pieces:?}") };
        assert!(last.ends_with(b"\n\n"), "in parts of {size}");
        let out: Vec<u8> = pieces.iter().flat_map(|piece| bytes_of(piece).to_vec()).collect();
        assert_eq!(out, long.as_bytes(), "in parts of {size}");
        let reading = tap.reading();
        let usage = reading.usage.unwrap();
        assert!(usage.is_complete() && reading.terminal, "in parts of {size}");
        assert_eq!(usage.output[&TokenClass::REASONING], 7);
        assert_eq!(reading.model.as_deref(), Some("gpt-5.6"));
    }
}

fn bytes_of(piece: &Piece) -> &Bytes {
    match piece {
        Piece::Pass(bytes) | Piece::Terminal(bytes) => bytes,
    }
}

#[test]
fn a_prompt_of_every_shape_is_estimated() {
    let text = br#"{"model":"gpt-5.6","input":"Name the river."}"#;

    assert_eq!(estimate_input(Endpoint::Responses, text), 4);
    // "Be brief." is 3, "user" 1, the question 4, the message 3, the answer's opening 3.
    assert_eq!(estimate_input(Endpoint::Responses, REQUEST), 14);
}
