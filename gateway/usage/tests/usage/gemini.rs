//! Gemini: what is inside what, and how a stream without a terminal event ends.

use permille_types::{Endpoint, Family, Source, TokenClass};
use permille_usage::{Framing, Reading, TapConfig, Usage, count, estimate_input};

use crate::common::{break_off, chat_stream, fixture, leave, run};

fn config(endpoint: Endpoint, framing: Framing) -> TapConfig {
    TapConfig { family: Family::Gemini, endpoint, framing, ..chat_stream(false) }
}

fn stream(chunks: &[&str]) -> Reading {
    let event = |chunk: &&str| format!("data: {chunk}\r\n\r\n").into_bytes();
    let body: Vec<u8> = chunks.iter().flat_map(event).collect();
    let config = config(Endpoint::StreamGenerateContent, Framing::Sse);
    run(config, [body.as_slice()]).reading
}

fn usage_of(usage: &str) -> Usage {
    let body = format!(r#"{{"usageMetadata":{usage}}}"#);
    run(config(Endpoint::GenerateContent, Framing::Json), [body.as_bytes()]).reading.usage.unwrap()
}

#[test]
fn thoughts_come_on_top_of_candidates_and_tool_use_on_top_of_the_prompt() {
    let usage = usage_of(
        r#"{"promptTokenCount":100,"toolUsePromptTokenCount":30,"candidatesTokenCount":40,
            "thoughtsTokenCount":160,"totalTokenCount":330}"#,
    );

    assert_eq!((usage.input_total, usage.output_total), (Some(130), Some(200)));
    assert_eq!(usage.output.get(&TokenClass::REASONING), Some(&160));
    assert!(!usage.mismatch);
}

#[test]
fn the_only_candidates_end_tells_the_output_also_to_a_client_that_leaves_then() {
    let chunk = |candidate: &str| {
        format!(
            "data: {{\"candidates\":[{candidate}],\"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":4,\"totalTokenCount\":13}}}}\n\n"
        )
    };
    for (candidate, is_complete) in [
        (r#"{"finishReason":"STOP"}"#, true),
        (r#"{"index":0,"finishReason":"STOP"}"#, true),
        (r#"{"index":0}"#, false),
        (r#"{"index":1,"finishReason":"STOP"}"#, false),
    ] {
        let config = config(Endpoint::StreamGenerateContent, Framing::Sse);
        let usage = leave(config, [chunk(candidate).as_bytes()]).usage.unwrap();

        assert_eq!(usage.is_complete(), is_complete, "{candidate}");
        assert!(usage.units.is_empty(), "no search was made");
    }
}

#[test]
fn a_count_that_a_later_chunk_leaves_out_is_kept() {
    let reading = stream(&[
        r#"{"usageMetadata":{"promptTokenCount":100,"toolUsePromptTokenCount":30,"thoughtsTokenCount":7,"totalTokenCount":137}}"#,
        r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":5,"totalTokenCount":142}}"#,
    ]);

    let usage = reading.usage.unwrap();
    assert_eq!((usage.input_total, usage.output_total), (Some(130), Some(12)));
    assert!(!usage.mismatch && usage.is_complete() && reading.terminal);
}

#[test]
fn a_missing_candidate_count_is_zero_only_where_the_total_says_so() {
    let zero = usage_of(r#"{"promptTokenCount":8,"thoughtsTokenCount":3,"totalTokenCount":11}"#);
    let unknown = usage_of(r#"{"promptTokenCount":8,"totalTokenCount":40}"#);

    assert_eq!(zero.output_total, Some(3));
    assert_eq!(unknown.output_total, None);
}

#[test]
fn more_cached_than_there_is_of_a_modality_is_a_mismatch() {
    let usage = usage_of(
        r#"{"promptTokenCount":100,"cachedContentTokenCount":50,"candidatesTokenCount":1,
            "promptTokensDetails":[{"modality":"AUDIO","tokenCount":10}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":50}]}"#,
    );

    assert!(usage.mismatch);
    assert_eq!(usage.input_total, Some(100));
}

#[test]
fn a_modality_that_is_no_object_is_a_mismatch() {
    let usage = usage_of(
        r#"{"promptTokenCount":100,"candidatesTokenCount":1,
            "promptTokensDetails":[7,{"modality":"AUDIO","tokenCount":10}]}"#,
    );

    assert!(usage.mismatch);
    assert_eq!(usage.input_total, Some(100));
}

#[test]
fn one_candidates_end_is_not_the_replys() {
    let open = r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"a"}]}},{"index":0,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2}}"#;
    let body = format!("data: {open}\n\n");
    let config = config(Endpoint::StreamGenerateContent, Framing::Sse);

    assert!(!leave(config, [body.as_bytes()]).usage.unwrap().is_complete());
    assert!(run(config, [body.as_bytes()]).reading.usage.unwrap().is_complete());
}

#[test]
fn an_abort_keeps_the_latest_cumulative_report() {
    for name in ["gemini/stream", "gemini/stream-list"] {
        let fixture = fixture(name);
        let end = fixture.body.windows(12).position(|part| part == b"finishReason").unwrap();
        let broken = break_off(fixture.config(false), &fixture.body[..end]);

        let usage = broken.reading.usage.unwrap();
        assert_eq!(usage.input_total, Some(1_200), "{name}");
        assert_eq!(usage.output_total, Some(180), "{name}");
        assert!(broken.reading.failed && !broken.reading.terminal, "{name}");
    }
}

#[test]
fn an_error_midway_is_an_error_in_both_framings() {
    let fixture = fixture("gemini/stream-error-midway");
    let list =
        r#"[{"candidates":[{"content":{"parts":[{"text":"The"}]}}]},{"error":{"code":503}}]"#;

    let events = run(fixture.config(false), [fixture.body.as_slice()]).reading;
    let list = run(config(Endpoint::StreamGenerateContent, Framing::JsonArray), [list.as_bytes()]);

    assert!(events.error && list.reading.error);
    assert_eq!(list.reading.text.visible.kept(), "The");
}

#[test]
fn thoughts_and_calls_are_told_apart_from_the_answer() {
    let reading = leave(
        config(Endpoint::StreamGenerateContent, Framing::JsonArray),
        [br#"[{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"Hi","thought":false},
            {"functionCall":{"name":"find","args":{"q":"Nile"}}}]}}]}"#.as_slice()],
    );

    assert_eq!(reading.text.reasoning.kept(), "hm");
    assert_eq!(reading.text.visible.kept(), r#"Hifind{"q":"Nile"}"#);
}

#[test]
fn an_embedding_without_usage_is_estimated_from_its_request() {
    let fixture = fixture("gemini/embed");
    let reading = run(fixture.config(false), [fixture.body.as_slice()]).reading;
    let one = br#"{"content":{"parts":[{"text":"Name the river."}]}}"#;
    let two = br#"{"requests":[{"model":"m","content":{"parts":[{"text":"Name the river."}]}},
        {"content":{"parts":[{"text":"Name the river."}]}}]}"#;

    let counted = count(&reading, Endpoint::EmbedContent, one);

    assert_eq!((counted.source, counted.output_total), (Source::Estimated, Some(0)));
    assert_eq!(counted.input_total, Some(4));
    assert_eq!(estimate_input(Endpoint::EmbedContent, two), 8);
}

#[test]
fn a_prompt_of_every_shape_is_estimated() {
    let list = br#"{"systemInstruction":{"parts":[{"text":"Be brief."}]},
        "contents":[{"role":"user","parts":[{"text":"Name the river."}]}]}"#;

    // "Be brief." is 3, "user" 1, the question 4, the message 3, the answer's opening 3.
    assert_eq!(estimate_input(Endpoint::GenerateContent, list), 14);
}

#[test]
fn a_list_that_is_closed_has_told_its_output_also_to_a_client_that_leaves_then() {
    let body = r#"[{"candidates":[{"content":{"parts":[{"text":"Nile"}]}}],
        "usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7}}]"#;
    let config = config(Endpoint::StreamGenerateContent, Framing::JsonArray);

    let open = leave(config, [&body.as_bytes()[..body.len() - 1]]);
    let closed = leave(config, [body.as_bytes()]);

    let source = |reading| count(reading, Endpoint::StreamGenerateContent, b"{}").source;
    assert_eq!((source(&open), source(&closed)), (Source::Partial, Source::Reported));
    assert_eq!((open.terminal, closed.terminal), (false, true));
}
