//! Where counts come from: reported, partial, estimated, missing.

use permille_types::{Endpoint, Flag, Source, TokenClass};
use permille_usage::{Counted, Encoding, Framing, Reading, TapConfig, count, estimate_input};

use crate::common::{REQUEST, break_off, chat_stream, family_of, fixture, leave, run, stream};

fn chat(reading: &Reading) -> Counted {
    count(reading, Endpoint::ChatCompletions, REQUEST)
}

fn config(endpoint: Endpoint, framing: Framing) -> TapConfig {
    TapConfig { family: family_of(endpoint), endpoint, framing, ..chat_stream(false) }
}

const DELTA: &str = r#"{"choices":[{"index":0,"delta":{"content":"The Nile."}}]}"#;

/// Tokens of [`REQUEST`]: "user" and "Name the river." are 1 + 4, and 3 for each message, 3 more.
const REQUEST_TOKENS: u64 = 11;

#[test]
fn complete_usage_is_reported() {
    let fixture = fixture("openai-chat/stream");

    let counted = chat(&run(fixture.config(true), [fixture.body.as_slice()]).reading);

    assert_eq!(counted.source, Source::Reported);
    assert_eq!(counted.flags, []);
}

#[test]
fn a_reply_without_usage_is_estimated_from_both_texts() {
    let body = stream(&[DELTA, "[DONE]"]);

    let counted = chat(&run(chat_stream(true), [body.as_slice()]).reading);

    assert_eq!(counted.source, Source::Estimated);
    assert_eq!(counted.input_total, Some(REQUEST_TOKENS));
    assert_eq!(counted.output_total, Some(3), "The| Nile|.");
    assert_eq!(counted.tokens[&TokenClass::OUTPUT_TEXT], 3);
    assert!(!counted.tokens.contains_key(&TokenClass::REASONING), "there was none");
}

#[test]
fn one_direction_that_is_estimated_gives_the_row_its_bound() {
    let usage = |json: &str| {
        let chunk = format!(
            r#"{{"model":"gpt-4o","choices":[{{"index":0,"delta":{{"content":"The Nile."}}}}],"usage":{json}}}"#
        );
        chat(&leave(chat_stream(true), [stream(&[&chunk]).as_slice()]))
    };

    let output = usage(r#"{"prompt_tokens":18}"#);
    assert_eq!((output.source, output.input_total), (Source::Partial, Some(18)));
    assert_eq!(output.estimate_error_permille, Some(20), "{output:?}");
    let input = usage(r#"{"completion_tokens":9}"#);
    assert_eq!((input.source, input.output_total), (Source::Partial, Some(9)));
    assert!(input.estimate_error_permille.is_some_and(|bound| bound > 20), "{input:?}");
    let neither = usage(r#"{"prompt_tokens":18,"completion_tokens":9}"#);
    assert_eq!(neither.estimate_error_permille, None, "{neither:?}");
}

#[test]
fn disconnect_before_usage_block_still_bills_the_prompt_and_what_was_delivered() {
    let fixture = fixture("openai-chat/stream");
    let before_usage = fixture.body.windows(12).position(|part| part == b"\"choices\":[]").unwrap();

    let nothing = chat(&leave(fixture.config(true), [b"".as_slice()]));
    assert_eq!((nothing.source, nothing.input_total), (Source::Estimated, Some(REQUEST_TOKENS)));
    assert_eq!(nothing.output_total, Some(0));

    let some = chat(&leave(fixture.config(true), [&fixture.body[..before_usage]]));
    assert_eq!((some.source, some.output_total), (Source::Estimated, Some(3)));
}

#[test]
fn an_abort_at_any_event_of_a_message_bills_the_exact_input() {
    let fixture = fixture("anthropic-messages/stream");
    let text = String::from_utf8(fixture.body.clone()).unwrap();
    let (mut seen, mut before) = (0, 0);
    for (index, frame) in text.split_inclusive("\n\n").enumerate() {
        seen += frame.len();

        let reading = leave(fixture.config(false), [&fixture.body[..seen]]);

        let counted = count(&reading, fixture.endpoint, REQUEST);
        let reported = index >= 6;
        let source = if reported { Source::Reported } else { Source::Partial };
        assert_eq!((counted.source, counted.input_total), (source, Some(21_521)));
        let output = counted.output_total.unwrap();
        assert!(output >= before && (output == 120) == reported, "{index}: {output}");
        before = output;
    }
}

#[test]
fn a_running_count_is_the_least_that_a_cut_stream_bills() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"The Nile."}}],"usage":{"prompt_tokens":18,"completion_tokens":RUNNING}}"#;
    for (running, output) in [("9", 9), ("1", 3)] {
        let body = stream(&[&chunk.replace("RUNNING", running)]);

        let counted = chat(&leave(chat_stream(false), [body.as_slice()]));

        assert_eq!(counted.source, Source::Partial);
        assert_eq!((counted.input_total, counted.output_total), (Some(18), Some(output)));
    }
}

#[test]
fn an_error_that_delivered_nothing_is_missing_and_bills_nothing() {
    let error = r#"{"error":{"message":"m","type":"server_error"}}"#;
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    let event = stream(&[error]);
    for (config, body) in [
        (config(Endpoint::ChatCompletions, Framing::Json), error.as_bytes()),
        (config(Endpoint::ChatCompletions, Framing::Sse), error.as_bytes()),
        (config(Endpoint::ChatCompletions, Framing::Sse), event.as_slice()),
        (config(Endpoint::Embeddings, Framing::Json), error.as_bytes()),
        (config(Endpoint::Messages, Framing::Json), overloaded.as_bytes()),
        (config(Endpoint::ChatCompletions, Framing::Json), b"<html>bad gateway</html>"),
        (config(Endpoint::ChatCompletions, Framing::Sse), b""),
        (config(Endpoint::ChatCompletions, Framing::Json), b""),
    ] {
        let reading = run(config, [body]).reading;

        let counted = count(&reading, config.endpoint, REQUEST);

        assert_eq!(counted.source, Source::Missing, "{}", body.escape_ascii());
        assert!(counted.tokens.is_empty());
        assert_eq!((counted.input_total, counted.output_total), (None, None));
    }
}

#[test]
fn an_upstream_that_breaks_off_before_its_first_event_bills_nothing() {
    let counted = chat(&break_off(chat_stream(true), b": processing\n\n").reading);

    assert_eq!(counted.source, Source::Missing);
}

#[test]
fn an_error_after_some_text_bills_that_text() {
    let fixture = fixture("openai-chat/error-midstream");

    let outcome = run(fixture.config(true), [fixture.body.as_slice()]);

    let counted = chat(&outcome.reading);
    assert!(outcome.reading.error);
    assert_eq!((counted.source, counted.output_total), (Source::Estimated, Some(1)));
}

#[test]
fn an_error_after_the_start_of_a_message_bills_its_input() {
    let fixture = fixture("anthropic-messages/stream-error-event");

    let outcome = run(fixture.config(false), [fixture.body.as_slice()]);

    let counted = count(&outcome.reading, fixture.endpoint, REQUEST);
    assert!(outcome.reading.error);
    assert_eq!((counted.source, counted.output_total), (Source::Partial, Some(1)));
    assert_eq!(counted.input_total, Some(21_521));
}

#[test]
fn an_engine_that_dies_before_its_first_token_bills_nothing_in_spite_of_its_done() {
    let fixture = fixture("vllm/stream-error");

    let outcome = run(fixture.config(true), [fixture.body.as_slice()]);

    assert!(outcome.reading.error && outcome.reading.terminal);
    assert_eq!(chat(&outcome.reading).source, Source::Missing);
}

#[test]
fn one_side_reported_is_partial() {
    let json = config(Endpoint::ChatCompletions, Framing::Json);
    let body = br#"{"choices":[{"message":{"content":"The Nile."}}],"usage":{"prompt_tokens":40}}"#;
    let counted = chat(&run(json, [body.as_slice()]).reading);
    assert_eq!(counted.source, Source::Partial);
    assert_eq!((counted.input_total, counted.output_total), (Some(40), Some(3)));

    let body = br#"{"choices":[],"usage":{"completion_tokens":40}}"#;
    let counted = chat(&run(json, [body.as_slice()]).reading);
    assert_eq!(counted.source, Source::Partial);
    assert_eq!((counted.input_total, counted.output_total), (Some(REQUEST_TOKENS), Some(40)));
}

#[test]
fn a_document_cut_short_is_estimated_from_what_came() {
    let body = br#"{"id":"x","choices":[{"message":{"content":"The Nile. It fl"#;

    let outcome = break_off(config(Endpoint::ChatCompletions, Framing::Json), body);

    assert_eq!(outcome.reading.text.visible.kept(), "The Nile. It fl");
    assert_eq!(chat(&outcome.reading).source, Source::Estimated);
}

#[test]
fn reasoning_that_is_shown_is_estimated_apart() {
    let body = stream(&[
        r#"{"choices":[{"delta":{"reasoning_content":"Which river?"}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":" Easy"}}]}"#,
        DELTA,
    ]);

    let counted = chat(&leave(chat_stream(false), [body.as_slice()]));

    assert_eq!(counted.tokens[&TokenClass::REASONING], 4);
    assert_eq!(counted.tokens[&TokenClass::OUTPUT_TEXT], 3);
    assert_eq!(counted.output_total, Some(7));
}

#[test]
fn tools_and_thinking_of_a_message_are_delivered_text() {
    let body = r#"{"type":"message","content":[{"type":"thinking","thinking":"Hm."},
        {"type":"text","text":"Look: "},
        {"type":"tool_use","id":"t","name":"lookup","input":{"q": "Nile"}}]}"#;
    let reading = run(config(Endpoint::Messages, Framing::Json), [body.as_bytes()]).reading;
    assert_eq!(reading.text.visible.kept(), "Look: lookup{\"q\": \"Nile\"}");
    assert_eq!(reading.text.reasoning.kept(), "Hm.");

    let body = stream(&[
        r#"{"type":"content_block_start","content_block":{"type":"tool_use","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm."}}"#,
    ]);
    let reading = leave(config(Endpoint::Messages, Framing::Sse), [body.as_slice()]);
    assert_eq!(reading.text.visible.kept(), "f{\"a\":1}");
    assert_eq!(reading.text.reasoning.kept(), "Hm.");
}

#[test]
fn a_body_that_cannot_be_decoded_bills_the_input_and_says_so() {
    let opaque = TapConfig { encoding: Encoding::Opaque, ..chat_stream(true) };

    let outcome = run(opaque, [b"\x01\x02".as_slice()]);

    let counted = chat(&outcome.reading);
    assert_eq!(outcome.bytes, b"\x01\x02");
    assert_eq!(counted.source, Source::Estimated);
    assert_eq!((counted.input_total, counted.output_total), (Some(REQUEST_TOKENS), None));
    assert_eq!(counted.flags, [Flag::TapError]);
}

#[test]
fn endpoints_that_consume_nothing_bill_nothing() {
    let body = br#"{"input_tokens":2095,"usage":{"prompt_tokens":5}}"#;
    for endpoint in [Endpoint::Models, Endpoint::CountTokens] {
        let outcome = run(config(endpoint, Framing::Json), [body.as_slice()]);

        let counted = count(&outcome.reading, endpoint, REQUEST);
        assert_eq!(outcome.bytes, body);
        assert_eq!(counted.source, Source::Reported);
        assert!(counted.tokens.is_empty() && counted.flags.is_empty());
    }
}

#[test]
fn a_mismatch_is_flagged_and_the_providers_numbers_are_kept() {
    let body =
        br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":9}}"#;

    let counted =
        chat(&run(config(Endpoint::ChatCompletions, Framing::Json), [body.as_slice()]).reading);

    assert_eq!(counted.source, Source::Reported);
    assert_eq!(counted.flags, [Flag::UsageMismatch]);
    assert_eq!((counted.input_total, counted.output_total), (Some(3), Some(2)));
}

#[test]
fn replies_with_the_same_id_are_counted_each() {
    let fixture = fixture("openai-chat/nonstream");

    let counts: Vec<Counted> = (0..2)
        .map(|_| chat(&run(fixture.config(false), [fixture.body.as_slice()]).reading))
        .collect();

    assert_eq!(counts[0], counts[1]);
}

#[test]
fn input_is_estimated_in_every_shape_of_request() {
    for (endpoint, body, tokens) in [
        (Endpoint::Embeddings, r#"{"input":"alpha beta"}"#, 2),
        (Endpoint::Embeddings, r#"{"input":["alpha","beta"]}"#, 2),
        (Endpoint::Embeddings, r#"{"input":[1,2,3]}"#, 3),
        (Endpoint::Embeddings, r#"{"input":[[1,2],[3]]}"#, 3),
        (Endpoint::Completions, r#"{"prompt":"The river","suffix":" end"}"#, 3),
        (Endpoint::Messages, r#"{"system":"Be brief.","messages":[]}"#, 3),
        (
            Endpoint::Messages,
            r#"{"system":[{"type":"text","text":"Be brief."}],"messages":[
                {"role":"user","content":[{"type":"text","text":"river"},
                    {"type":"tool_result","content":[{"type":"text","text":"Nile"}]}]}]}"#,
            3 + 1 + 1 + 2 + 6,
        ),
        (
            Endpoint::ChatCompletions,
            r#"{"messages":[{"role":"user","name":"ann","content":[{"type":"text","text":"river"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#,
            1 + 1 + 1 + 1 + 6 + 765,
        ),
        (Endpoint::ChatCompletions, "not json", 0),
    ] {
        assert_eq!(estimate_input(endpoint, body.as_bytes()), tokens, "{body}");
    }
}

#[test]
fn tools_count_as_input() {
    let without = r#"{"messages":[{"role":"user","content":"river"}]}"#;
    let with = r#"{"messages":[{"role":"user","content":"river"}],"tools":[{"type":"function"}]}"#;
    let tokens = |body: &str| estimate_input(Endpoint::ChatCompletions, body.as_bytes());

    assert!(tokens(with) > tokens(without) + 4);
}

#[test]
fn what_a_model_said_to_call_a_tool_counts_as_input() {
    let tokens = |message: &str| {
        let body = format!(r#"{{"messages":[{{"role":"assistant",{message}}}]}}"#);
        estimate_input(Endpoint::ChatCompletions, body.as_bytes())
    };
    let nothing = tokens(r#""content":"""#);
    for call in [
        r#""tool_calls":[{"id":"c","function":{"name":"find river","arguments":"{\"of\":\"Cairo\"}"}}]"#,
        r#""function_call":{"name":"find river","arguments":"{\"of\":\"Cairo\"}"}"#,
        r#""tool_calls":[{"id":"c","custom":{"name":"find river","input":"of Cairo, please"}}]"#,
    ] {
        assert!(tokens(call) > nothing + 4, "{call}");
    }
}

#[test]
fn a_large_request_is_extrapolated() {
    let text = "word ".repeat(400_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);

    let tokens = estimate_input(Endpoint::ChatCompletions, body.as_bytes());

    assert!(tokens.abs_diff(400_000) < 4_000, "{tokens}");
}

#[test]
fn older_models_use_the_older_vocabulary() {
    let body = |model: &str| format!(r#"{{"model":"{model}","input":"网关按千个令牌计费"}}"#);
    let tokens = |model: &str| estimate_input(Endpoint::Embeddings, body(model).as_bytes());

    assert!(tokens("gpt-4-turbo") > tokens("gpt-4o-mini"));
    assert_eq!(tokens("gpt-4-turbo"), tokens("text-embedding-3-small"));
    assert_eq!(tokens("gpt-5"), tokens("gpt-4o-mini"));
}
