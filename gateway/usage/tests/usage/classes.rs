//! From reported numbers to disjoint classes: conventions, last report wins, mismatches.

use permille_types::{Endpoint, TokenClass, Unit};
use permille_usage::{Framing, TapConfig, Usage};

use crate::common::{self, chat_stream, family_of, run, stream};

fn reply(endpoint: Endpoint, body: &str) -> Usage {
    let family = family_of(endpoint);
    let config = TapConfig { family, endpoint, framing: Framing::Json, ..chat_stream(false) };
    run(config, [body.as_bytes()]).reading.usage.unwrap()
}

fn chat(usage: &str) -> Usage {
    reply(Endpoint::ChatCompletions, &format!(r#"{{"choices":[],"usage":{usage}}}"#))
}

fn message(usage: &str) -> Usage {
    reply(Endpoint::Messages, &format!(r#"{{"type":"message","usage":{usage}}}"#))
}

fn message_stream(start: &str, deltas: &[&str]) -> Usage {
    let start = format!(r#"{{"type":"message_start","message":{{"usage":{start}}}}}"#);
    let deltas: Vec<String> = deltas
        .iter()
        .map(|usage| format!(r#"{{"type":"message_delta","delta":{{}},"usage":{usage}}}"#))
        .collect();
    let mut data = vec![start.as_str()];
    data.extend(deltas.iter().map(String::as_str));
    data.push(r#"{"type":"message_stop"}"#);
    let endpoint = Endpoint::Messages;
    let config = TapConfig { family: family_of(endpoint), endpoint, ..chat_stream(false) };
    run(config, [stream(&data).as_slice()]).reading.usage.unwrap()
}

/// Compares with `class=count` words, input and output together.
fn check(usage: &Usage, expected: &str) {
    let mut classes: Vec<String> = usage
        .input
        .iter()
        .chain(&usage.output)
        .map(|(class, count)| format!("{class}={count}"))
        .collect();
    classes.sort();
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(classes, expected);
}

#[test]
fn an_explicit_zero_stays_zero() {
    let usage = chat(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#);

    check(&usage, "input_uncached=0 output_text=0");
    assert!(usage.is_complete() && !usage.mismatch);
}

#[test]
fn every_openai_detail_becomes_its_own_class() {
    let usage = chat(
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":30,
                "cache_write_tokens_details":{"ttl_30m_tokens":10,"ttl_12h_tokens":5},
                "audio_tokens":3,"image_tokens":2,"text_tokens":95},
            "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":4,
                "accepted_prediction_tokens":1,"rejected_prediction_tokens":6}}"#,
    );

    check(
        &usage,
        "input_uncached=25 cache_read=40 cache_write_30m=10 cache_write_12h=5 \
         cache_write_other=15 audio_in=3 image_in=2 output_text=26 reasoning=20 audio_out=4",
    );
    assert_eq!((usage.input_total, usage.output_total), (Some(100), Some(50)));
    assert!(!usage.mismatch);
}

#[test]
fn a_cache_write_split_that_is_whole_leaves_no_other() {
    let usage = chat(
        r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":
            {"cache_write_tokens":8,"cache_write_tokens_details":{"ttl_30m_tokens":8}}}"#,
    );

    check(&usage, "input_uncached=1 cache_write_30m=8 output_text=1");
}

#[test]
fn cached_tokens_outside_the_details_are_read_too() {
    for usage in [
        r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4,
            "prompt_cache_miss_tokens":5}"#,
        r#"{"prompt_tokens":9,"completion_tokens":1,"cached_tokens":4}"#,
        r#"{"prompt_tokens":9,"completion_tokens":1,"cached_tokens":4,
            "prompt_tokens_details":{"cached_tokens":4}}"#,
    ] {
        check(&chat(usage), "input_uncached=5 cache_read=4 output_text=1");
    }
}

#[test]
fn a_split_that_exceeds_its_whole_is_dropped_and_flagged_never_clamped() {
    let usage = chat(
        r#"{"prompt_tokens":10,"completion_tokens":5,
            "prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":3},
            "completion_tokens_details":{"reasoning_tokens":2}}"#,
    );

    check(&usage, "input_uncached=10 output_text=3 reasoning=2");
    assert_eq!(usage.input_total, Some(10));
    assert!(usage.mismatch);
}

#[test]
fn a_total_that_is_not_the_sum_is_flagged() {
    let usage = chat(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":16}"#);

    check(&usage, "input_uncached=10 output_text=5");
    assert!(usage.mismatch);
}

#[test]
fn numbers_that_are_no_counts_are_flagged_and_read_as_absent() {
    for bad in ["-1", "1.5", "\"12\"", "[1]", "{}", "true", "1e30", "18446744073709551615"] {
        let usage = chat(&format!(r#"{{"prompt_tokens":{bad},"completion_tokens":5}}"#));

        check(&usage, "output_text=5");
        assert!(usage.mismatch, "{bad}");
        assert_eq!(usage.input_total, None, "{bad}");
    }
    for bad in ["7", "[]", "\"x\"", "1e999", "{\"prompt_tokens\":1e999}"] {
        assert!(chat(bad).mismatch, "{bad}");
    }
}

#[test]
fn null_and_missing_keys_never_erase_a_value() {
    let body = stream(
        &[
            r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":10,"completion_tokens":1,
            "prompt_tokens_details":{"cached_tokens":4}}}"#,
            r#"{"choices":[{"index":0}],"usage":null}"#,
            r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":null,"completion_tokens":6,
            "prompt_tokens_details":null}}"#,
            r#"{"choices":[{"index":0}],"usage":{}}"#,
            r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#,
            "[DONE]",
        ]
        .map(|data| data.replace('\n', ""))
        .each_ref()
        .map(String::as_str),
    );

    let usage = run(chat_stream(false), [body.as_slice()]).reading.usage.unwrap();

    check(&usage, "input_uncached=6 cache_read=4 output_text=6");
    assert!(!usage.mismatch);
}

#[test]
fn usage_in_every_chunk_is_a_running_count_and_the_last_one_wins() {
    let chunk = |completion: u64| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"x"}}}}],
                "usage":{{"prompt_tokens":18,"completion_tokens":{completion},
                "total_tokens":{}}}}}"#,
            18 + completion
        )
        .replace('\n', "")
    };
    let chunks: Vec<String> = (0..9).map(chunk).collect();
    let mut data: Vec<&str> = chunks.iter().map(String::as_str).collect();

    let left = run(chat_stream(true), [stream(&data).as_slice()]).reading.usage.unwrap();
    check(&left, "input_uncached=18 output_text=8");

    data.push("[DONE]");
    let whole = run(chat_stream(true), [stream(&data).as_slice()]).reading.usage.unwrap();
    assert!(whole.is_complete() && !whole.mismatch);
}

#[test]
fn one_report_of_several_choices_is_the_whole_and_two_are_not() {
    let chunk = |index: u64| {
        format!(
            r#"{{"choices":[{{"index":{index}}}],"usage":{{"prompt_tokens":9,"completion_tokens":4}}}}"#
        )
    };
    for (reports, is_complete) in [(1, true), (2, false), (3, false)] {
        let mut data = vec![r#"{"choices":[{"index":1}]}"#.to_owned()];
        data.extend((0..reports).map(chunk));
        data.push("[DONE]".to_owned());
        let data: Vec<&str> = data.iter().map(String::as_str).collect();

        let reading = common::leave(chat_stream(false), [stream(&data).as_slice()]);

        assert_eq!(reading.usage.unwrap().is_complete(), is_complete, "{reports} reports");
    }
}

#[test]
fn a_running_count_of_one_choice_is_not_the_whole_of_several() {
    let chunk = |index: u64, completion: u64, end: &str| {
        format!(
            r#"{{"choices":[{{"index":{index},"delta":{{"content":"x"}},"finish_reason":{end}}}],"usage":{{"prompt_tokens":4,"completion_tokens":{completion}}}}}"#
        )
    };
    let first = chunk(0, 7, r#""stop""#);
    let second = chunk(1, 1, "null");
    let whole = r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":9}}"#;
    let read = |data: &[&str]| common::leave(chat_stream(false), [stream(data).as_slice()]).usage;

    assert!(read(&[&first]).unwrap().is_complete(), "the only choice has ended");
    assert!(!read(&[&first, &second]).unwrap().is_complete());
    assert!(!read(&[&first, &second, "[DONE]"]).unwrap().is_complete());
    assert!(read(&[&first, &second, whole]).unwrap().is_complete());
    assert_eq!(read(&[&first, &second, whole]).unwrap().output_total, Some(9));
}

#[test]
fn anthropic_input_excludes_the_cache_and_the_total_adds_it() {
    let usage = message(
        r#"{"input_tokens":21,"cache_creation_input_tokens":1500,"cache_read_input_tokens":20000,
            "cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":400},
            "output_tokens":120,"output_tokens_details":{"thinking_tokens":80},
            "server_tool_use":{"web_search_requests":2}}"#,
    );

    check(
        &usage,
        "input_uncached=21 cache_read=20000 cache_write_5m=1000 cache_write_1h=400 \
         cache_write_other=100 output_text=40 reasoning=80",
    );
    assert_eq!((usage.input_total, usage.output_total), (Some(21_521), Some(120)));
    assert_eq!(usage.units[&Unit::Searches], 2);
    assert!(!usage.mismatch);
}

#[test]
fn a_delta_without_the_split_keeps_the_split_of_the_start() {
    let usage = message_stream(
        r#"{"input_tokens":5,"cache_creation_input_tokens":30,
            "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},
            "output_tokens":1}"#
            .replace('\n', "")
            .as_str(),
        &[r#"{"input_tokens":5,"cache_creation_input_tokens":30,"output_tokens":9}"#],
    );

    check(&usage, "input_uncached=5 cache_write_5m=10 cache_write_1h=20 output_text=9");
    assert!(!usage.mismatch);
}

#[test]
fn a_delta_corrects_the_start_and_deltas_are_not_added() {
    let usage = message_stream(
        r#"{"input_tokens":100,"output_tokens":1}"#,
        &[
            r#"{"output_tokens":4}"#,
            r#"{"input_tokens":20,"cache_read_input_tokens":80,"output_tokens":9}"#,
        ],
    );

    check(&usage, "input_uncached=20 cache_read=80 output_text=9");
}

#[test]
fn the_placeholder_of_a_start_is_no_output() {
    let usage = message_stream(r#"{"input_tokens":7,"output_tokens":3}"#, &[]);

    check(&usage, "input_uncached=7");
    assert_eq!(usage.output_total, None);
    assert!(!usage.is_complete());
}

#[test]
fn a_cache_split_larger_than_the_cache_is_one_unknown_write() {
    let usage = message(
        r#"{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":5,
            "cache_creation":{"ephemeral_5m_input_tokens":6}}"#,
    );

    check(&usage, "input_uncached=1 cache_write_other=5 output_text=1");
    assert!(usage.mismatch);
}

#[test]
fn compaction_is_added_and_messages_are_not() {
    let iterations = r#"[{"type":"compaction","input_tokens":180000,"output_tokens":3500,
        "cache_read_input_tokens":0,"cache_creation_input_tokens":0},
        {"type":"message","input_tokens":23000,"output_tokens":1000}]"#;
    let usage = message(&format!(
        r#"{{"input_tokens":23000,"output_tokens":1000,"iterations":{iterations}}}"#
    ));

    assert_eq!((usage.input_total, usage.output_total), (Some(203_000), Some(4_500)));
    assert!(!usage.mismatch);

    let delta =
        format!(r#"{{"input_tokens":23000,"output_tokens":1000,"iterations":{iterations}}}"#)
            .replace('\n', "");
    let streamed = message_stream(r#"{"input_tokens":23000}"#, &[&delta, &delta]);
    assert_eq!((streamed.input_total, streamed.output_total), (Some(203_000), Some(4_500)));
}

#[test]
fn an_iteration_that_is_no_object_is_flagged_and_costs_no_other() {
    let compaction = r#"{"type":"compaction","input_tokens":7,"output_tokens":2}"#;
    let delta = |iterations: &str| {
        format!(r#"{{"input_tokens":3,"output_tokens":1,"iterations":[{iterations}]}}"#)
    };

    let streamed = message_stream(r#"{"input_tokens":3}"#, &[&delta(compaction), &delta("7")]);

    assert_eq!((streamed.input_total, streamed.output_total), (Some(10), Some(3)));
    assert!(streamed.mismatch);
}

#[test]
fn tokens_of_another_model_are_flagged_because_this_row_cannot_price_them() {
    let usage = message(
        r#"{"input_tokens":1,"output_tokens":1,"iterations":
            [{"type":"advisor_message","model":"other","input_tokens":50,"output_tokens":9}]}"#,
    );

    check(&usage, "input_uncached=1 output_text=1");
    assert!(usage.mismatch);
}

#[test]
fn embeddings_have_no_output() {
    for usage in [r#"{"prompt_tokens":4,"total_tokens":4}"#, r#"{"total_tokens":4}"#] {
        let reply_body = format!(r#"{{"object":"list","data":[],"usage":{usage}}}"#);
        let usage = reply(Endpoint::Embeddings, &reply_body);

        check(&usage, "input_uncached=4");
        assert_eq!(usage.output_total, Some(0));
        assert!(usage.is_complete() && !usage.mismatch);
    }
}

#[test]
fn classes_are_never_more_than_the_totals_say() {
    for (usage, endpoint) in [
        (r#"{"prompt_tokens":3,"completion_tokens":2}"#, Endpoint::ChatCompletions),
        (r#"{"input_tokens":3,"output_tokens":2,"cache_read_input_tokens":4}"#, Endpoint::Messages),
    ] {
        let usage = reply(endpoint, &format!(r#"{{"usage":{usage}}}"#));
        let (input, output): (u64, u64) = (usage.input.values().sum(), usage.output.values().sum());

        assert_eq!((Some(input), Some(output)), (usage.input_total, usage.output_total));
        let audio = usage.input.contains_key(&TokenClass::AUDIO_IN);
        assert!(!audio, "a class that was not reported is absent");
    }
}
