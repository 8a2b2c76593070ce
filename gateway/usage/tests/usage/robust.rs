//! Whatever comes, nothing panics, nothing grows without bound, and the bytes that come out are
//! the bytes that went in.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use permille_types::{Endpoint, Family};
use permille_usage::{Encoding, Framing, TapConfig, count, estimate_input, request};
use proptest::prelude::*;

use crate::common::{self, chat_stream, fixture, run, split};

/// Every family with every operation, also those that do not go together.
fn asked() -> impl Iterator<Item = (Family, Endpoint)> {
    let with_all =
        |family: &Family| Endpoint::ALL.iter().map(|endpoint| (*family, *endpoint)).collect();
    Family::ALL.iter().flat_map(with_all as fn(&Family) -> Vec<(Family, Endpoint)>)
}

/// Bytes that often look like a stream or a document, and sometimes are one.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data".to_vec()),
        Just(b"event: message_stop".to_vec()),
        Just(b"event: error".to_vec()),
        Just(b": comment".to_vec()),
        Just(b"\xEF\xBB\xBF".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"[DONE]".to_vec()),
        Just(br#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#.to_vec()),
        Just(br#"{"choices":[{"delta":{"content":"x"}}],"usage":"#.to_vec()),
        Just(br#"{"type":"message_delta","usage":{"output_tokens":-3}}"#.to_vec()),
        Just(br#"{"error":{"message":"#.to_vec()),
        Just(br#","usage":{"prompt_tokens":1e400},"#.to_vec()),
        Just(br#"{"Response":{"Usage":{"PromptTokens":5},"Error":"#.to_vec()),
        Just(br#"{"output":{"choices":[{"index":9}]},"usage":{"output_tokens":1}}"#.to_vec()),
        Just(br#"{"details":{"prefill":[{}],"generated_tokens":3},"token":{}}"#.to_vec()),
        Just(br#"{"done":true,"eval_count":7}"#.to_vec()),
        Just(b"{\"".to_vec()),
        Just(b"\"\\u00".to_vec()),
        Just(b"]}".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

fn config() -> impl Strategy<Value = TapConfig> {
    (
        prop::sample::select(Family::ALL),
        prop::sample::select(Endpoint::ALL),
        prop::sample::select(vec![
            Framing::Sse,
            Framing::Untold,
            Framing::Json,
            Framing::JsonLines,
            Framing::JsonArray,
        ]),
        prop::sample::select(vec![
            Encoding::Identity,
            Encoding::Identity,
            Encoding::Gzip,
            Encoding::Deflate,
            Encoding::Opaque,
        ]),
    )
        .prop_map(|(family, endpoint, framing, encoding)| TapConfig {
            family,
            endpoint,
            framing,
            encoding,
            cut_usage_frame: false,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn garbage_passes_unchanged_and_reads_the_same_at_any_split(
        config in config(),
        body in bytes(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let whole = run(config, [body.as_slice()]);
        let parts = run(config, split(&body, &cuts));

        prop_assert_eq!(&whole.bytes, &body);
        prop_assert_eq!(&parts.bytes, &body);
        prop_assert_eq!(&parts.reading, &whole.reading);
        let counted = count(&whole.reading, config.endpoint, &body);
        let sum = counted.input_total.unwrap_or(0) + counted.output_total.unwrap_or(0);
        prop_assert_eq!(counted.tokens.values().sum::<u64>(), sum);
    }

    #[test]
    fn a_cut_removes_whole_frames_only_and_the_same_at_any_split(
        framing in prop::sample::select(vec![Framing::Sse, Framing::Untold]),
        body in bytes(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let config = TapConfig { framing, ..chat_stream(true) };
        let whole = run(config, [body.as_slice()]);
        let parts = run(config, split(&body, &cuts));

        prop_assert_eq!(&parts.bytes, &whole.bytes);
        prop_assert_eq!(&parts.reading, &whole.reading);
        prop_assert!(whole.bytes.len() <= body.len());
    }

    #[test]
    fn request_bodies_of_any_kind_are_read_or_refused(body in bytes()) {
        for (family, endpoint) in asked() {
            let asked = request::Asked::new(family, endpoint);
            let refused = request::classify(asked, &body).is_err();
            let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
            prop_assert!(refused || is_json);
            prop_assert!(estimate_input(endpoint, &body) < 1_000_000);
        }
        if let Ok(Some(asked)) = request::ask_for_usage(&body) {
            prop_assert!(asked.len() > body.len());
        }
    }

    #[test]
    fn reported_counts_are_conserved(
        prompt in 0_u64..1_000_000, cached in 0_u64..1_200_000, written in 0_u64..400_000,
        completion in 0_u64..1_000_000, reasoning in 0_u64..1_200_000,
    ) {
        let body = serde_json::json!({"choices": [], "usage": {
            "prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }}).to_string();
        let config = TapConfig { framing: Framing::Json, ..chat_stream(false) };

        let usage = run(config, [body.as_bytes()]).reading.usage.unwrap();

        prop_assert_eq!(usage.input.values().sum::<u64>(), prompt);
        prop_assert_eq!(usage.output.values().sum::<u64>(), completion);
        prop_assert_eq!(usage.mismatch, cached + written > prompt || reasoning > completion);
    }
}

#[test]
fn a_gzip_bomb_is_left_alone_and_passes() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        gzip.write_all(&zeros).unwrap();
    }
    let body = gzip.finish().unwrap();
    for framing in [Framing::Sse, Framing::Json] {
        let config = TapConfig { encoding: Encoding::Gzip, framing, ..chat_stream(false) };

        let outcome = run(config, body.chunks(4_096));

        assert_eq!(outcome.bytes, body);
        assert!(outcome.reading.tap_error && outcome.reading.unreadable);
    }
}

#[test]
fn a_small_body_is_read_to_its_bound_whatever_its_ratio() {
    let open = r#"{"usage":{"prompt_tokens":5,"completion_tokens":2},"x":""#;
    for (bytes, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let body = [open, &" ".repeat(bytes - open.len() - 2), "\"}"].concat();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(body.as_bytes()).unwrap();
        let encoded = gzip.finish().unwrap();
        assert!(encoded.len() < 4_000, "{} bytes", encoded.len());
        let (encoding, framing) = (Encoding::Gzip, Framing::Json);

        let outcome =
            run(TapConfig { encoding, framing, ..chat_stream(false) }, [encoded.as_slice()]);

        assert_eq!(!outcome.reading.tap_error, is_read, "{bytes}");
        assert_eq!(outcome.bytes, encoded);
    }
}

#[test]
fn a_body_of_several_megabytes_at_an_ordinary_ratio_is_read_whole() {
    let numbers = (0..400_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let usage = r#""usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    let body = [r#"{"x":""#, &numbers, r#"","#, usage].concat();
    assert!(body.len() > 2 << 20, "{} bytes", body.len());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let encoded = gzip.finish().unwrap();
    assert!(body.len() < 10 * encoded.len(), "{} bytes", encoded.len());
    let (encoding, framing) = (Encoding::Gzip, Framing::Json);

    let outcome = run(TapConfig { encoding, framing, ..chat_stream(false) }, [encoded.as_slice()]);

    assert!(!outcome.reading.tap_error);
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(5));
}

#[test]
fn a_document_that_is_none_or_whose_usage_is_too_large_was_not_read() {
    let config = TapConfig { framing: Framing::Json, ..chat_stream(false) };
    let with = |bytes| format!(r#"{{"choices":[],"usage":{{"x":"{}"}}}}"#, "x".repeat(bytes));
    let (long, large) = (with(65_000), with(65_536));
    for (body, unread) in [
        ("<html>busy</html>", true),
        (r#"{"choices" []}"#, true),
        (long.as_str(), false),
        (large.as_str(), true),
        (r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#, false),
    ] {
        let outcome = run(config, [body.as_bytes()]);

        assert_eq!(outcome.reading.tap_error, unread, "{}", &body[..17]);
        assert_eq!(outcome.bytes, body.as_bytes());
    }
}

#[test]
fn an_encoded_body_that_is_none_or_breaks_off_says_so() {
    let fixture = fixture("openai-chat/stream");
    let gzip = |body: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(body).unwrap();
        gzip.finish().unwrap()
    };
    let encoded = gzip(&fixture.body);
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let config = TapConfig { encoding, ..chat_stream(false) };
        let outcome = run(config, [fixture.body.as_slice()]);
        assert!(outcome.reading.tap_error, "{encoding:?}");
        assert_eq!(outcome.bytes, fixture.body);
    }

    let config = TapConfig { encoding: Encoding::Gzip, ..chat_stream(false) };
    let (half, _) = encoded.split_at(encoded.len() / 2);
    assert!(run(config, [half]).reading.tap_error);

    let behind_the_end = [encoded.as_slice(), b"junk"].concat();
    let outcome = run(config, [behind_the_end.as_slice()]);
    assert!(outcome.reading.terminal && !outcome.reading.tap_error);
}

#[test]
fn usage_at_the_end_of_a_large_embeddings_reply_is_read_without_keeping_it() {
    let vector = vec!["-0.0123456789"; 1_536].join(",");
    let row = format!(r#"{{"object":"embedding","usage":{{"x":1}},"embedding":[{vector}]}},"#);
    let rows = row.repeat(200);
    let body = format!(
        r#"{{"object":"list","data":[{}],"model":"e","usage":{{"prompt_tokens":9,"total_tokens":9}}}}"#,
        rows.strip_suffix(',').unwrap()
    );
    let config =
        TapConfig { endpoint: Endpoint::Embeddings, framing: Framing::Json, ..chat_stream(false) };

    let outcome = run(config, body.as_bytes().chunks(16_384));

    assert!(outcome.reading.terminal);
    assert_eq!(outcome.reading.usage.unwrap().input_total, Some(9));
    assert_eq!(outcome.reading.model.as_deref(), Some("e"));
}

#[test]
fn what_was_encoded_before_a_defect_is_read_at_any_split() {
    let text = "The longest river is the Nile. ".repeat(20);
    let delta = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&common::stream(&[&delta])).unwrap();
    gzip.flush().unwrap();
    let mut body = gzip.get_ref().clone();
    let end = body.len();
    // A block of a type that does not exist. Source: RFC 1951, section 3.2.3.
    body.extend_from_slice(&[0b111; 30]);
    let config = TapConfig { encoding: Encoding::Gzip, ..chat_stream(false) };

    let whole = run(config, [body.as_slice()]);

    assert!(whole.reading.tap_error);
    assert_eq!(whole.reading.text.visible.kept(), text);
    for size in [1, 7, end, end + 1] {
        assert_eq!(run(config, body.chunks(size)).reading, whole.reading, "in parts of {size}");
    }
}
