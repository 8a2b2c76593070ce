//! Every field that a family reports, in whole replies and in streams: its class, the check of the
//! provider's own sum, and what is said of one that cannot be read.

use permille_types::{Endpoint, Family};
use permille_usage::{Encoding, Framing, Reading, Stop, TapConfig, Usage};
use serde_json::{Value, json};

use crate::common::{leave, run};

const LONG: usize = 100_000;

fn config(family: Family, endpoint: Endpoint, framing: Framing) -> TapConfig {
    TapConfig { family, endpoint, framing, encoding: Encoding::Identity, cut_usage_frame: false }
}

fn read(family: Family, endpoint: Endpoint, framing: Framing, body: &str) -> Reading {
    run(config(family, endpoint, framing), [body.as_bytes()]).reading
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// A reply, where its sum stands and where some of its counts.
#[derive(Clone)]
struct Case {
    family: Family,
    endpoint: Endpoint,
    reply: Value,
    /// Where the sum is, for those that report one.
    sum: Option<&'static str>,
    /// Where counts are, each of which may be one that cannot be read.
    counts: &'static [&'static str],
    expected: &'static str,
}

fn cases() -> Vec<Case> {
    [with_a_sum(), without_one()].concat()
}

fn with_a_sum() -> Vec<Case> {
    vec![
        Case {
            family: Family::Hunyuan,
            endpoint: Endpoint::Chat,
            reply: json!({"Response": {"Id": "r", "Usage": {
                "PromptTokens": 10, "CompletionTokens": 5, "TotalTokens": 15,
                "PromptTokensDetails": {"CachedTokens": 4}}}}),
            sum: Some("/Response/Usage/TotalTokens"),
            counts: &["/Response/Usage/PromptTokens", "/Response/Usage/CompletionTokens"],
            expected: "input_uncached=6 cache_read=4 output_text=5",
        },
        Case {
            family: Family::OpenAi,
            endpoint: Endpoint::ChatCompletions,
            reply: json!({"id": "r", "choices": [], "usage": {
                "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                "prompt_tokens_details": {"cache_creation_input_tokens": 12, "cache_creation":
                    {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 7}},
                "completion_tokens_details": {"image_tokens": 9}}}),
            sum: Some("/usage/total_tokens"),
            counts: &["/usage/prompt_tokens", "/usage/completion_tokens_details/image_tokens"],
            expected: "input_uncached=88 cache_write_5m=5 cache_write_1h=7 output_text=41 \
                       image_out=9",
        },
        Case {
            family: Family::Dashscope,
            endpoint: Endpoint::Generation,
            reply: json!({"request_id": "r", "output": {"text": "", "finish_reason": "stop"},
                "usage": {"input_tokens": 100, "output_tokens": 40, "total_tokens": 140,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_creation_input_tokens": 12,
                    "cache_creation":
                        {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6}},
                "input_tokens_details": {"image_tokens": 3, "audio_tokens": 2, "video_tokens": 1},
                "output_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 7}}}),
            sum: Some("/usage/total_tokens"),
            counts: &["/usage/output_tokens", "/usage/input_tokens_details/audio_tokens"],
            expected: "input_uncached=72 cache_read=10 cache_write_5m=5 cache_write_1h=6 \
                       cache_write_other=1 image_in=3 audio_in=2 video_in=1 output_text=25 \
                       reasoning=8 audio_out=7",
        },
        Case {
            family: Family::Gemini,
            endpoint: Endpoint::GenerateContent,
            reply: json!({"responseId": "r", "usageMetadata": {
            "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2,
            "totalTokenCount": 17, "candidatesTokensDetails": [
                {"modality": "AUDIO", "tokenCount": 3}, {"modality": "IMAGE", "tokenCount": 1}
            ]}}),
            sum: Some("/usageMetadata/totalTokenCount"),
            counts: &["/usageMetadata/thoughtsTokenCount"],
            expected: "input_uncached=10 output_text=1 audio_out=3 image_out=1 reasoning=2",
        },
        Case {
            family: Family::QianfanV1,
            endpoint: Endpoint::Chat,
            reply: json!({"id": "r", "result": "", "is_end": true, "usage": {"prompt_tokens": 10,
                "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4}}}),
            sum: Some("/usage/total_tokens"),
            counts: &["/usage/prompt_tokens", "/usage/prompt_tokens_details/cached_tokens"],
            expected: "input_uncached=6 cache_read=4 output_text=5",
        },
        Case {
            family: Family::OpenAi,
            endpoint: Endpoint::Responses,
            reply: json!({"id": "r", "status": "completed", "usage": {"input_tokens": 100,
                "output_tokens": 40, "total_tokens": 140, "input_tokens_details": {
                    "cached_tokens": 10, "cache_write_tokens": 12, "cache_write_tokens_details":
                        {"ttl_30m_tokens": 5, "ttl_12h_tokens": 6}},
                "output_tokens_details": {"reasoning_tokens": 8}}}),
            sum: Some("/usage/total_tokens"),
            counts: &["/usage/input_tokens", "/usage/output_tokens_details/reasoning_tokens"],
            expected: "input_uncached=78 cache_read=10 cache_write_30m=5 cache_write_12h=6 \
                       cache_write_other=1 output_text=32 reasoning=8",
        },
    ]
}

fn without_one() -> Vec<Case> {
    vec![
        Case {
            family: Family::LlamaCpp,
            endpoint: Endpoint::Generate,
            reply: json!({"content": "", "stop": true, "tokens_evaluated": 10,
                "tokens_predicted": 5, "timings": {"cache_n": 4}}),
            sum: None,
            counts: &["/tokens_evaluated", "/tokens_predicted", "/timings/cache_n"],
            expected: "input_uncached=6 cache_read=4 output_text=5",
        },
        Case {
            family: Family::Tgi,
            endpoint: Endpoint::Generate,
            reply: json!({"generated_text": "", "details": {"generated_tokens": 5,
                "input_length": 10, "best_of_sequences": [{"generated_tokens": 7}]}}),
            sum: None,
            counts: &["/details/input_length", "/details/best_of_sequences/0/generated_tokens"],
            expected: "input_uncached=10 output_text=12",
        },
        Case {
            family: Family::Ollama,
            endpoint: Endpoint::Chat,
            reply: json!({"done": true, "prompt_eval_count": 10, "eval_count": 5,
                "prompt_eval_cached_count": 4}),
            sum: None,
            counts: &["/prompt_eval_count", "/eval_count"],
            expected: "input_uncached=6 cache_read=4 output_text=5",
        },
        Case {
            family: Family::Anthropic,
            endpoint: Endpoint::Messages,
            reply: json!({"type": "message", "id": "r", "usage": {"input_tokens": 10,
                "output_tokens": 5, "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 3, "cache_creation":
                    {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}}}),
            sum: None,
            counts: &["/usage/input_tokens", "/usage/cache_creation/ephemeral_1h_input_tokens"],
            expected: "input_uncached=10 cache_read=4 cache_write_5m=1 cache_write_1h=2 \
                       output_text=5",
        },
    ]
}

/// `reply` as a whole body, and as the one event of a stream where the two have one shape.
fn readings(case: &Case, reply: &Value) -> Vec<Reading> {
    let of = |framing, body: &str| read(case.family, case.endpoint, framing, body);
    let mut readings = vec![of(Framing::Json, &reply.to_string())];
    match (case.family, case.endpoint) {
        (Family::Hunyuan, _) => readings.push(of(Framing::Sse, &event(&reply["Response"]))),
        // A stream's events have shapes of their own.
        (Family::Anthropic, _) => {}
        (Family::Ollama, _) => readings.push(of(Framing::JsonLines, &format!("{reply}\n"))),
        (_, Endpoint::Responses) => {
            let whole = json!({"type": "response.completed", "response": reply});
            readings.push(of(Framing::Sse, &event(&whole)));
        }
        _ => readings.push(of(Framing::Sse, &event(reply))),
    }
    readings
}

fn classes(usage: &Usage) -> Vec<String> {
    let all = usage.input.iter().chain(&usage.output);
    let mut classes: Vec<String> = all.map(|(class, count)| format!("{class}={count}")).collect();
    classes.sort();
    classes
}

#[test]
fn every_field_of_a_family_is_counted_in_its_own_class() {
    for case in cases() {
        let mut expected: Vec<&str> = case.expected.split_whitespace().collect();
        expected.sort_unstable();
        for reading in readings(&case, &case.reply) {
            let usage = reading.usage.unwrap();

            assert_eq!(classes(&usage), expected, "{}", case.family);
            assert!(!usage.mismatch, "{}", case.family);
            assert!(!reading.tap_error && !reading.error, "{}", case.family);
            let named = !matches!(case.family, Family::LlamaCpp | Family::Tgi | Family::Ollama);
            assert_eq!(reading.provider_id.as_deref(), named.then_some("r"), "{}", case.family);
        }
    }
}

#[test]
fn a_sum_that_does_not_fit_and_a_count_that_cannot_be_read_are_flagged_in_every_family() {
    for case in cases() {
        let sum = case.sum.into_iter().map(|place| (place, json!(999)));
        let counts = case.counts.iter().map(|place| (*place, json!(-1)));
        for (place, value) in sum.chain(counts) {
            let mut reply = case.reply.clone();
            *reply.pointer_mut(place).unwrap() = value;
            for reading in readings(&case, &reply) {
                let usage = reading.usage.unwrap();

                assert!(usage.mismatch, "{} {place}: {usage:?}", case.family);
            }
        }
    }
}

#[test]
fn a_usage_that_cannot_be_read_at_all_is_flagged_in_every_family() {
    // TGI's counts are read one by one, and have no object whose absence says anything.
    for case in cases().into_iter().filter(|case| case.family != Family::Tgi) {
        let mut reply = case.reply.clone();
        let usage =
            if case.family == Family::Hunyuan { &mut reply["Response"] } else { &mut reply };
        let names = ["usage", "Usage", "usageMetadata", "timings", "eval_count"];
        let Some(name) = names.into_iter().find(|name| usage.get(*name).is_some()) else {
            panic!("{reply}");
        };
        usage[name] = json!("MARK");
        let body = reply.to_string().replace("\"MARK\"", "1e999");

        let reading = read(case.family, case.endpoint, Framing::Json, &body);

        assert!(reading.usage.is_some_and(|usage| usage.mismatch), "{}: {body}", case.family);
    }
}

#[test]
fn a_body_that_is_no_document_was_not_read_in_any_family() {
    for case in cases() {
        for body in ["<html>busy</html>", "[1"] {
            let reading = read(case.family, case.endpoint, Framing::Json, body);

            assert!(reading.tap_error, "{} {body}", case.family);
        }
        let whole = read(case.family, case.endpoint, Framing::Json, "{}");
        assert!(!whole.tap_error && !whole.error, "{}", case.family);
    }
}

#[test]
fn an_event_of_any_length_is_an_error_where_its_name_says_so() {
    let long = "x".repeat(LONG);
    for (family, endpoint) in [
        (Family::OpenAi, Endpoint::ChatCompletions),
        (Family::OpenAi, Endpoint::Responses),
        (Family::Anthropic, Endpoint::Messages),
        (Family::Dashscope, Endpoint::Generation),
    ] {
        for (name, error) in [("error", true), ("result", false)] {
            for text in ["x", &long] {
                let body = format!("event: {name}\ndata: {{\"text\":\"{text}\"}}\n\n");

                let reading = leave(config(family, endpoint, Framing::Sse), [body.as_bytes()]);

                let length = text.len();
                assert_eq!(reading.error, error, "{family} {endpoint:?}: {name}, {length}");
            }
        }
    }
}

#[test]
fn a_whole_reply_is_an_error_where_it_says_so_and_reports_nothing() {
    let (openai, chat) = (Family::OpenAi, Endpoint::ChatCompletions);
    let (anthropic, messages) = (Family::Anthropic, Endpoint::Messages);
    for (family, endpoint, body, error) in [
        (openai, chat, r#"{"error":{"message":"m"}}"#, true),
        (openai, chat, r#"{"error":{"message":"m"},"usage":{"prompt_tokens":1}}"#, false),
        (openai, chat, r#"{"choices":[]}"#, false),
        (openai, chat, r#"{"choices":[],"error_code":0}"#, false),
        (anthropic, messages, r#"{"type":"error"}"#, true),
        (anthropic, messages, r#"{"error":{"type":"overloaded_error"}}"#, true),
        (anthropic, messages, r#"{"type":"message"}"#, false),
        (anthropic, messages, r#"{"error":{},"usage":{"input_tokens":1}}"#, false),
        (Family::Gemini, Endpoint::GenerateContent, r#"{"error":{"code":429}}"#, true),
        (Family::Gemini, Endpoint::GenerateContent, r#"{"candidates":[]}"#, false),
        (openai, Endpoint::Responses, r#"{"status":"failed"}"#, true),
        (openai, Endpoint::Responses, r#"{"error":{"code":"server_error"}}"#, true),
        (openai, Endpoint::Responses, r#"{"status":"completed"}"#, false),
        (Family::Hunyuan, Endpoint::Chat, r#"{"Response":{"ErrorMsg":{"Msg":"m"}}}"#, true),
        (Family::LlamaCpp, Endpoint::Generate, r#"{"error":{"code":503}}"#, true),
        (Family::Ollama, Endpoint::Chat, r#"{"error":"m"}"#, true),
        (Family::Tgi, Endpoint::Generate, r#"{"error":"m"}"#, true),
    ] {
        let reading = read(family, endpoint, Framing::Json, body);

        assert_eq!(reading.error, error, "{family} {endpoint:?}: {body}");
    }
}

#[test]
fn an_event_is_an_error_by_its_name_its_type_or_what_it_holds() {
    let (family, endpoint) = (Family::Anthropic, Endpoint::Messages);
    for (body, error) in [
        ("event: error\n\n", true),
        ("data: {\"type\":\"error\"}\n\n", true),
        ("data: {\"error\":{\"type\":\"overloaded_error\"}}\n\n", true),
        ("event: ping\ndata: {\"type\":\"ping\"}\n\n", false),
        ("event: ping\n\n", false),
    ] {
        let reading = leave(config(family, endpoint, Framing::Sse), [body.as_bytes()]);

        assert_eq!(reading.error, error, "{body}");
    }
}

#[test]
fn a_last_event_too_long_to_hold_ends_the_reply_and_tells_its_output() {
    let filler = "x".repeat(LONG);
    for (family, framing, mut reply) in [
        (Family::Ollama, Framing::JsonLines, json!({"done": true, "eval_count": 5})),
        (
            Family::QianfanV1,
            Framing::Sse,
            json!({"is_end": true, "usage": {"completion_tokens": 5}}),
        ),
        (Family::LlamaCpp, Framing::Sse, json!({"stop": true, "tokens_predicted": 5})),
    ] {
        reply["context"] = json!(filler);
        let body = if framing == Framing::Sse { event(&reply) } else { format!("{reply}\n") };

        let reading = leave(config(family, Endpoint::Chat, framing), [body.as_bytes()]);

        assert!(reading.terminal && !reading.error, "{family}");
        assert!(reading.usage.as_ref().unwrap().output_final, "{family}");
        reply["done"] = json!(false);
        reply["is_end"] = json!(false);
        reply["stop"] = json!(false);
        reply["error"] = json!("it broke");
        reply["error_code"] = json!(336_100);
        let body = if framing == Framing::Sse { event(&reply) } else { format!("{reply}\n") };
        let reading = leave(config(family, Endpoint::Chat, framing), [body.as_bytes()]);
        assert!(reading.error, "{family}");
    }
}

#[test]
fn a_split_of_nothing_is_an_explicit_nothing() {
    let body = r#"{"type":"message","usage":{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":0}}"#;

    let reading = read(Family::Anthropic, Endpoint::Messages, Framing::Json, body);

    let expected = ["cache_write_other=0", "input_uncached=1", "output_text=1"];
    assert_eq!(classes(&reading.usage.unwrap()), expected);
}

#[test]
fn all_that_a_compaction_consumed_is_added() {
    let body = json!({"type": "message", "usage": {"input_tokens": 10, "output_tokens": 5,
        "cache_read_input_tokens": 1, "iterations": [
            {"type": "compaction", "input_tokens": 100, "output_tokens": 50,
             "cache_read_input_tokens": 20, "cache_creation_input_tokens": 9, "cache_creation":
                {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}},
            {"type": "message", "input_tokens": 10, "output_tokens": 5}]}});

    let reading = read(Family::Anthropic, Endpoint::Messages, Framing::Json, &body.to_string());

    let usage = reading.usage.unwrap();
    let expected = [
        "cache_read=21",
        "cache_write_1h=3",
        "cache_write_5m=4",
        "cache_write_other=2",
        "input_uncached=110",
        "output_text=55",
    ];
    assert_eq!(classes(&usage), expected);
    assert!(!usage.mismatch);
}

#[test]
fn a_sum_below_its_prompt_is_flagged_where_the_output_comes_from_it() {
    let body = r#"{"result":"x","is_end":true,"usage":{"prompt_tokens":10,"total_tokens":5}}"#;

    let usage = read(Family::QianfanV1, Endpoint::Chat, Framing::Json, body).usage.unwrap();

    assert!(usage.mismatch && usage.output_total.is_none(), "{usage:?}");
}

#[test]
fn names_are_the_last_that_are_not_empty_and_fit_into_a_row() {
    let fits = "m".repeat(256);
    let chunk = |model: &str, tier: &str| {
        event(&json!({"choices": [], "model": model, "service_tier": tier}))
    };
    let read = |body: String| {
        let config = config(Family::OpenAi, Endpoint::ChatCompletions, Framing::Sse);
        let reading = leave(config, [body.as_bytes()]);
        (reading.model.unwrap(), reading.service_tier.unwrap())
    };

    let (model, tier) = read(chunk("a", "auto") + &chunk("", "") + &chunk(&fits, "flex"));
    assert_eq!((model, tier.as_str()), (fits.clone(), "flex"));
    let (model, tier) = read(chunk("a", "auto") + &chunk(&format!("{fits}m"), ""));
    assert_eq!((model.as_str(), tier.as_str()), ("a", "auto"));
}

#[test]
fn the_filters_error_is_why_a_whole_reply_stops() {
    let body = r#"{"error":{"code":"content_filter","message":"m"}}"#;

    let reading = read(Family::AzureOpenAi, Endpoint::ChatCompletions, Framing::Json, body);

    assert_eq!(reading.stop, Some(Stop::ContentFilter));
}

#[test]
fn searches_of_a_response_are_those_that_have_ended() {
    let item = |kind: &str, of: &str| event(&json!({"type": kind, "item": {"type": of}}));
    let body = [
        item("response.output_item.added", "web_search_call"),
        item("response.output_item.done", "message"),
        item("response.output_item.done", "web_search_call"),
        item("response.output_item.done", "web_search_call"),
    ]
    .concat();

    let config = config(Family::OpenAi, Endpoint::Responses, Framing::Sse);
    let units = leave(config, [body.as_bytes()]).usage.unwrap().units;

    assert_eq!(serde_json::to_value(units).unwrap(), json!({"searches": 2}));
}

#[test]
fn answers_that_were_not_chosen_and_are_too_many_to_keep_are_flagged() {
    let filler = "x".repeat(LONG);
    let reply = json!({"generated_text": "", "details": {"generated_tokens": 5,
        "input_length": 10, "best_of_sequences": [{"generated_text": filler}]}});

    let reading = read(Family::Tgi, Endpoint::Generate, Framing::Json, &reply.to_string());

    assert!(reading.usage.unwrap().mismatch);
}
