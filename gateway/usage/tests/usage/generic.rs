//! APIs that are described by configuration: what the description says is what is counted.

use std::sync::Arc;

use bytes::Bytes;
use permille_types::{Endpoint, Family, Source, TokenClass, Unit};
use permille_usage::{
    ApiDescription, Counted, Encoding, Framing, Piece, Pointer, Reading, Tap, TapConfig, count,
    request::{Asked, classify},
};
use serde_json::{Value, json};

fn description(json: Value) -> Arc<ApiDescription> {
    Arc::new(serde_json::from_value(json).unwrap())
}

/// Pushes `body` in pieces of `size` and ends it; the bytes must come out as they went in.
fn read(api: &Arc<ApiDescription>, framing: Framing, body: &[u8], size: usize) -> Reading {
    let config = TapConfig {
        family: Family::Generic,
        endpoint: Endpoint::Generate,
        framing,
        encoding: Encoding::Identity,
        cut_usage_frame: false,
    };
    let mut tap = Tap::described(config, Some(api));
    let mut pieces = Vec::new();
    for part in body.chunks(size) {
        tap.push(Bytes::copy_from_slice(part), &mut pieces);
    }
    tap.finish(&mut pieces);
    let passed: Vec<u8> = pieces
        .iter()
        .flat_map(|(Piece::Pass(bytes) | Piece::Terminal(bytes))| bytes.to_vec())
        .collect();
    assert_eq!(passed, body);
    tap.reading()
}

fn counted(api: &Arc<ApiDescription>, framing: Framing, body: &str) -> Counted {
    let whole = read(api, framing, body.as_bytes(), body.len());
    for size in [1, 7] {
        assert_eq!(read(api, framing, body.as_bytes(), size), whole, "in pieces of {size}");
    }
    count(&whole, Endpoint::Generate, br#"{"model":"m","prompt":"How long is the Nile?"}"#)
}

#[test]
fn a_pointer_is_written_as_it_was_read() {
    let text = "/usage/a~1b/0";
    let pointer: Pointer = text.parse().unwrap();

    assert_eq!(pointer.to_string(), text);
    assert_eq!(String::from(pointer.clone()), text);
    assert_eq!(serde_json::to_value(&pointer).unwrap(), text);
    for bad in ["usage", "", "/", "//a", "/a.b"] {
        assert!(bad.parse::<Pointer>().unwrap_err().contains("JSON pointer"), "{bad}");
    }
}

#[test]
fn pointers_say_what_is_counted_and_what_includes_what() {
    let body = json!({
        "data": {"id": "r1", "model": "new-7b", "answer": "The Nile."},
        "meter": {"in": 100, "hit": 40, "out": 20, "think": 5},
    });
    for (inclusive, uncached, input, output) in [(true, 60, 100, 15), (false, 100, 140, 20)] {
        let api = description(json!({
            "id": "/data/id", "model": "/data/model", "text": "/data/answer",
            "input": "/meter/in", "cached": "/meter/hit", "output": "/meter/out",
            "reasoning": "/meter/think",
            "input_includes_cache": inclusive, "output_includes_reasoning": inclusive,
        }));

        let reading = read(&api, Framing::Json, body.to_string().as_bytes(), 9);

        assert_eq!(reading.provider_id.as_deref(), Some("r1"));
        assert_eq!(reading.model.as_deref(), Some("new-7b"));
        let counted = counted(&api, Framing::Json, &body.to_string());
        assert_eq!(counted.source, Source::Reported);
        assert_eq!(counted.tokens[&TokenClass::INPUT_UNCACHED], uncached);
        assert_eq!(counted.tokens[&TokenClass::CACHE_READ], 40);
        assert_eq!(counted.tokens[&TokenClass::OUTPUT_TEXT], output);
        assert_eq!(counted.tokens[&TokenClass::REASONING], 5);
        assert_eq!(counted.input_total, Some(input));
        assert!(counted.units.is_empty(), "an API with tokens counts no requests");
    }
}

#[test]
fn the_text_of_a_whole_reply_is_estimated_and_a_named_error_is_one() {
    let api = description(json!({"text": "/answer", "output": "/out", "input": "/in"}));
    let reading = read(&api, Framing::Json, br#"{"answer":"The Nile."}"#, 7);
    assert_eq!(reading.text.visible.kept(), "The Nile.");
    assert!(!reading.tap_error && !reading.error);

    assert!(read(&api, Framing::Json, b"<html>", 7).tap_error);
    let long = "x".repeat(100_000);
    for (name, error) in [("error", true), ("result", false)] {
        for text in ["x", &long] {
            let body = format!("event: {name}\ndata: {{\"more\":\"{text}\"}}\n\n");

            assert_eq!(read(&api, Framing::Sse, body.as_bytes(), 1_000).error, error, "{name}");
        }
    }
}

#[test]
fn a_stream_is_read_in_both_framings_and_the_last_report_wins() {
    let api = description(json!({
        "text": "/delta", "input": "/usage/in", "output": "/usage/out", "terminal": "/last",
        "error": "/fault",
    }));
    let events = [
        r#"{"delta":"The","usage":{"in":9,"out":1}}"#,
        r#"{"delta":" Nile","usage":{"in":9,"out":2}}"#,
        r#"{"delta":"","usage":{"in":9,"out":3},"last":true}"#,
    ];
    let sse = format!("data: {}\n\n", events.join("\n\ndata: "));
    let lines = events.join("\n") + "\n";
    for (framing, body) in [(Framing::Sse, sse), (Framing::JsonLines, lines)] {
        let counted = counted(&api, framing, &body);

        assert_eq!((counted.input_total, counted.output_total), (Some(9), Some(3)), "{framing:?}");
        assert_eq!(counted.source, Source::Reported, "{framing:?}");
        assert!(read(&api, framing, body.as_bytes(), 5).terminal, "{framing:?}");
    }
    let broken = "data: {\"delta\":\"The\"}\n\ndata: {\"fault\":\"overloaded\"}\n\n";
    let reading = read(&api, Framing::Sse, broken.as_bytes(), 5);
    assert!(reading.error && reading.failed);
    assert_eq!(reading.text.visible.kept(), "The");
}

#[test]
fn an_api_without_tokens_counts_requests_and_estimates_nothing() {
    let api = description(json!({ "error": "/error" }));
    let wendao = r##"{"result":"# 三亚行程 ...","events":[],"messages":[],"state":{}}"##;

    let served = counted(&api, Framing::Json, wendao);
    let refused = counted(&api, Framing::Json, r#"{"error":{"code":7}}"#);
    let broken = counted(&api, Framing::Json, r#"{"result":"half"#);

    assert_eq!(served.source, Source::Reported);
    assert_eq!(served.units, [(Unit::Requests, 1)].into());
    assert!(served.tokens.is_empty() && served.flags.is_empty());
    for failed in [refused, broken] {
        assert!(failed.units.is_empty() && failed.tokens.is_empty(), "{failed:?}");
    }
}

#[test]
fn a_units_own_pointer_says_how_many() {
    for (described, body, units) in [
        (
            json!({"units": {"requests": "/usage/read_units"}}),
            r#"{"matches":[],"namespace":"ns","usage":{"read_units":6}}"#,
            vec![(Unit::Requests, 6)],
        ),
        (
            json!({"units": {"searches": "/meta/billed_units/search_units"}}),
            r#"{"id":"r1","results":[],"meta":{"billed_units":{"search_units":1}}}"#,
            vec![(Unit::Requests, 1), (Unit::Searches, 1)],
        ),
    ] {
        let counted = counted(&description(described), Framing::Json, body);

        assert_eq!(counted.units, units.into_iter().collect());
        assert_eq!(counted.source, Source::Reported);
    }
}

#[test]
fn the_sum_of_an_api_without_output_is_its_input() {
    let api = description(json!({"total": "/usage/total_tokens", "model": "/model"}));
    let body = r#"{"model":"jina-reranker-v2","usage":{"total_tokens":38},"results":[]}"#;

    let counted = counted(&api, Framing::Json, body);

    assert_eq!((counted.input_total, counted.output_total), (Some(38), Some(0)));
    assert_eq!(counted.source, Source::Reported);
    assert!(counted.flags.is_empty());
}

#[test]
fn parts_that_do_not_add_up_to_the_sum_are_flagged() {
    let api = description(json!({"input": "/in", "output": "/out", "total": "/sum"}));

    assert!(counted(&api, Framing::Json, r#"{"in":1,"out":2,"sum":3}"#).flags.is_empty());
    assert!(!counted(&api, Framing::Json, r#"{"in":1,"out":2,"sum":4}"#).flags.is_empty());
    assert!(!counted(&api, Framing::Json, r#"{"in":-1,"out":2}"#).flags.is_empty());
}

#[test]
fn a_description_that_means_nothing_is_refused_by_name() {
    for (json, named) in [
        (json!({"input": "usage/in"}), "JSON pointer"),
        (json!({"input": "/"}), "JSON pointer"),
        (json!({"inputs": "/usage/in"}), "inputs"),
        (json!({"framing": "xml"}), "xml"),
        (json!({"units": {"miles": "/x"}}), "miles"),
    ] {
        let refused = serde_json::from_value::<ApiDescription>(json).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}

#[test]
fn a_described_request_names_its_model_where_the_description_says() {
    let api = description(json!({"request_model": "/spec/engine", "request_stream": "/spec/live"}));
    let asked = Asked {
        unnamed: Some("own"),
        description: Some(&api),
        ..Asked::new(Family::Generic, Endpoint::Generate)
    };

    let named = classify(asked, br#"{"spec":{"engine":"new-7b","live":true}}"#).unwrap();
    let unnamed = classify(asked, br#"{"query":"x"}"#).unwrap();

    assert_eq!((named.model.as_str(), named.stream), ("new-7b", true));
    assert_eq!((unnamed.model.as_str(), unnamed.stream), ("own", false));
    assert!(classify(asked, b"[]").is_err());
}
