//! Defects that users of other gateways met, each as a test. `docs/metering.md` lists the rows and
//! where each is tested; here are those that no other file tests.

use permille_types::{Endpoint, TokenClass, Unit};
use permille_usage::{Encoding, Framing, TapConfig, Usage, count};

use crate::common::{self, break_off, chat_stream, family_of, fixtures, leave, run, stream};

const DELTA: &str = r#"{"choices":[{"index":0,"delta":{"content":"Nile"}}]}"#;
const FINISH: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":25,"completion_tokens":40}}"#;

fn chat(data: &[&str]) -> Usage {
    run(chat_stream(false), [stream(data).as_slice()]).reading.usage.unwrap()
}

fn config(endpoint: Endpoint, framing: Framing) -> TapConfig {
    TapConfig { family: family_of(endpoint), endpoint, framing, ..chat_stream(false) }
}

/// Every recorded stream, cut behind each of its events.
#[test]
fn a_connection_cut_at_every_event_keeps_what_came_and_counts_no_more() {
    let mut cuts = 0;
    for fixture in fixtures()
        .iter()
        .filter(|fixture| fixture.framing == Framing::Sse && fixture.encoding == Encoding::Identity)
    {
        let whole = run(fixture.config(false), [fixture.body.as_slice()]).reading;
        let ends = |pair: &[u8]| pair == b"\n\n" || pair == b"\n\r" || pair == b"\r\r";
        for end in fixture.body.windows(2).enumerate().filter(|(_, pair)| ends(pair)) {
            let body = &fixture.body[..end.0 + 2];

            let cut = break_off(fixture.config(false), body);

            assert_eq!(cut.bytes, body, "{}", fixture.name);
            assert!(cut.reading.failed, "{} cut at {}", fixture.name, end.0);
            let counted = count(&cut.reading, fixture.endpoint, common::REQUEST);
            let sum = counted.input_total.unwrap_or(0) + counted.output_total.unwrap_or(0);
            assert_eq!(counted.tokens.values().sum::<u64>(), sum, "{}", fixture.name);
            if let (Some(cut), Some(whole)) = (&cut.reading.usage, &whole.usage) {
                assert!(cut.input_total <= whole.input_total, "{}", fixture.name);
                assert!(cut.output_total <= whole.output_total, "{}", fixture.name);
            }
            cuts += 1;
        }
    }
    assert!(cuts > 150, "{cuts} events were cut");
}

#[test]
fn d6_two_objects_in_one_event_pass_untouched_and_the_first_is_read() {
    let body = stream(&[&format!("{USAGE}{DELTA}"), "[DONE]"]);

    let outcome = run(chat_stream(true), [body.as_slice()]);

    assert_eq!(outcome.bytes, body);
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(25));
}

#[test]
fn d11_usage_twice_and_behind_the_finish_counts_once() {
    let usage = chat(&[DELTA, USAGE, FINISH, USAGE, "[DONE]"]);

    assert_eq!((usage.input_total, usage.output_total), (Some(25), Some(40)));
    assert!(usage.is_complete() && !usage.mismatch);
}

#[test]
fn d11_usage_before_the_last_chunk_survives_an_empty_one() {
    let empty = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    for last in [r#"{"choices":[],"usage":{}}"#, r#"{"choices":[],"usage":null}"#, empty] {
        let usage = chat(&[DELTA, FINISH, USAGE, last, "[DONE]"]);

        assert_eq!((usage.input_total, usage.output_total), (Some(25), Some(40)), "{last}");
    }
}

#[test]
fn d13_a_prompt_that_shrinks_to_nothing_keeps_its_count() {
    let start = r#"{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":25,"completion_tokens":0}}"#;
    let end = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":40}}"#;

    let usage = chat(&[start, end, "[DONE]"]);

    assert_eq!((usage.input_total, usage.output_total), (Some(25), Some(40)));
}

#[test]
fn d13_a_last_report_of_nothing_but_zeros_keeps_the_parts_and_the_sum() {
    let report = |[prompt, cached, written, audio_in, completion, reasoning, audio_out]: [u64;
                      7]| {
        let usage = serde_json::json!({
            "prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": cached, "audio_tokens": audio_in,
                "cache_creation_input_tokens": written,
                "cache_creation": { "ephemeral_5m_input_tokens": written },
            },
            "completion_tokens_details": {
                "reasoning_tokens": reasoning, "audio_tokens": audio_out,
            },
        });
        serde_json::json!({ "choices": [], "usage": usage }).to_string()
    };
    let told = report([100, 10, 60, 5, 20, 7, 3]);

    let once = chat(&[&told, "[DONE]"]);
    let twice = chat(&[&told, &report([0; 7]), "[DONE]"]);

    assert!(!once.mismatch);
    assert_eq!(twice, once);
}

#[test]
fn a_sum_belongs_to_the_report_that_it_came_with() {
    let first = r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}}"#;
    for more in [r#"{"completion_tokens":5}"#, r#"{"prompt_tokens":12}"#] {
        let usage = chat(&[first, &format!(r#"{{"choices":[],"usage":{more}}}"#), "[DONE]"]);

        assert!(!usage.mismatch, "{more}");
    }
}

#[test]
fn zeros_before_anything_is_known_are_no_report() {
    let zeros = r#"{"choices":[{"index":0,"text":"The"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
    let reading =
        leave(config(Endpoint::Completions, Framing::Sse), [stream(&[zeros, zeros]).as_slice()]);

    assert_eq!(reading.usage, None);
    assert_eq!(reading.text.visible.kept(), "TheThe");
}

fn message(start: &str, delta: &str) -> Usage {
    let start = format!(r#"{{"type":"message_start","message":{{"usage":{start}}}}}"#);
    let delta = format!(r#"{{"type":"message_delta","delta":{{}},"usage":{delta}}}"#);
    let body = stream(&[&start, &delta, r#"{"type":"message_stop"}"#]);
    run(config(Endpoint::Messages, Framing::Sse), [body.as_slice()]).reading.usage.unwrap()
}

#[test]
fn d13_an_input_that_is_all_cache_is_not_erased_by_zeros() {
    let usage = message(
        r#"{"input_tokens":0,"cache_read_input_tokens":14000}"#,
        r#"{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":5}"#,
    );

    assert_eq!((usage.input_total, usage.output_total), (Some(14_000), Some(5)));
}

#[test]
fn another_models_tokens_that_cannot_be_read_are_flagged() {
    let usage = message(
        r#"{"input_tokens":3}"#,
        r#"{"output_tokens":5,"iterations":[{"type":"advisor","input_tokens":-1}]}"#,
    );

    assert!(usage.mismatch);
}

#[test]
fn d13_an_answer_that_is_all_thought_is_not_erased_by_zeros() {
    let report = |thoughts: u64| {
        let usage = serde_json::json!({
            "promptTokenCount": 9, "candidatesTokenCount": 0, "thoughtsTokenCount": thoughts,
        });
        serde_json::json!({ "candidates": [], "usageMetadata": usage }).to_string()
    };
    let body = stream(&[&report(50), &report(0)]);

    let config = config(Endpoint::StreamGenerateContent, Framing::Sse);
    let usage = run(config, [body.as_slice()]).reading.usage.unwrap();

    assert_eq!(usage.output_total, Some(50));
}

#[test]
fn b1_a_cache_write_is_counted_beside_the_input_and_not_again_in_it() {
    let usage = message(
        r#"{"input_tokens":3,"cache_creation_input_tokens":14000,"cache_read_input_tokens":0}"#,
        r#"{"output_tokens":5}"#,
    );

    assert_eq!(usage.input[&TokenClass::INPUT_UNCACHED], 3);
    assert_eq!(usage.input[&TokenClass::CACHE_WRITE_OTHER], 14_000);
    assert_eq!(usage.input_total, Some(14_003));
}

#[test]
fn b5_usage_that_comes_only_with_the_delta_is_read() {
    let usage = message("{}", r#"{"input_tokens":21,"output_tokens":5}"#);

    assert_eq!((usage.input_total, usage.output_total), (Some(21), Some(5)));
}

#[test]
fn b11_cache_that_comes_only_with_the_delta_is_read() {
    let usage = message(
        r#"{"input_tokens":2010,"output_tokens":0}"#,
        r#"{"input_tokens":498,"cache_read_input_tokens":1512,"output_tokens":5}"#,
    );

    assert_eq!(usage.input[&TokenClass::INPUT_UNCACHED], 498);
    assert_eq!(usage.input[&TokenClass::CACHE_READ], 1_512);
    assert_eq!(usage.input_total, Some(2_010));
}

#[test]
fn b12_reads_of_an_explicit_cache_are_a_class_of_their_own() {
    let usage = |details: &str| {
        let usage = format!(
            r#"{{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{details}}}"#
        );
        chat(&[&format!(r#"{{"choices":[],"usage":{usage}}}"#), "[DONE]"]).input
    };

    let implicit = usage(r#"{"cached_tokens":4}"#);
    let explicit = usage(r#"{"cached_tokens":4,"cache_type":"ephemeral"}"#);

    assert_eq!(implicit.get(&TokenClass::CACHE_READ), Some(&4));
    assert_eq!(explicit.get(&TokenClass::CACHE_READ_EXPLICIT), Some(&4));
    assert_eq!(explicit.get(&TokenClass::CACHE_READ), None);
}

#[test]
fn b13_an_input_that_became_cache_is_not_counted_twice() {
    let usage = message(
        r#"{"input_tokens":2000,"cache_read_input_tokens":0}"#,
        r#"{"input_tokens":0,"cache_read_input_tokens":2000,"output_tokens":5}"#,
    );

    assert_eq!(usage.input_total, Some(2_000));
}

#[test]
fn e9_searches_are_counted_from_the_reply_and_not_from_the_request() {
    let call = r#"{"type":"web_search_call","status":"completed"}"#;
    let response = |output: &str| {
        format!(
            r#"{{"id":"r","status":"completed","output":[{output}],"usage":{{"input_tokens":5,"output_tokens":3}}}}"#
        )
    };
    let whole = |output: &str| {
        let config = config(Endpoint::Responses, Framing::Json);
        run(config, [response(output).as_bytes()]).reading.usage.unwrap().units
    };

    assert_eq!(whole(&format!("{call},{call}")).get(&Unit::Searches), Some(&2));
    assert_eq!(whole(r#"{"type":"message"}"#).get(&Unit::Searches), None);

    let done = format!(r#"{{"type":"response.output_item.done","item":{call}}}"#);
    let completed = format!(r#"{{"type":"response.completed","response":{}}}"#, response(call));
    let body = stream(&[&done, &completed]);
    let reading = run(config(Endpoint::Responses, Framing::Sse), [body.as_slice()]).reading;
    assert_eq!(reading.usage.unwrap().units.get(&Unit::Searches), Some(&1));
}
