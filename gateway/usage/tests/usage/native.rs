//! Native formats of Chinese clouds and of model servers: errors with a success status, running
//! counts, the text that an estimate needs.

use bytes::Bytes;
use permille_types::{Endpoint, Family, Source, TokenClass};
use permille_usage::{
    Encoding, Framing, Reading, Tap, TapConfig, count,
    request::{Asked, classify},
};
use serde_json::{Value, json};

use crate::common::{REQUEST, fixture, fixtures, leave, run};

fn config(family: Family, endpoint: Endpoint, framing: Framing) -> TapConfig {
    TapConfig { family, endpoint, framing, encoding: Encoding::Identity, cut_usage_frame: false }
}

/// The delivered text of a reply that reports nothing, visible and reasoning.
fn text_of(family: Family, endpoint: Endpoint, framing: Framing, body: &str) -> (String, String) {
    let reading = run(config(family, endpoint, framing), [body.as_bytes()]).reading;
    assert!(!reading.tap_error, "{family}: {body}");
    (reading.text.visible.kept().to_owned(), reading.text.reasoning.kept().to_owned())
}

#[test]
fn counts_in_the_headers_hold_where_the_body_has_none() {
    for (body, expected) in [
        (r#"{"generated_text":"x"}"#, (9, 4)),
        (r#"{"generated_text":"x","details":{"input_length":7,"generated_tokens":2}}"#, (7, 2)),
    ] {
        let mut tap = Tap::new(config(Family::Tgi, Endpoint::Generate, Framing::Json));
        tap.tell(Some(9), Some(4));
        tap.push(Bytes::from_static(body.as_bytes()), &mut Vec::new());
        tap.finish(&mut Vec::new());

        let usage = tap.reading().usage.unwrap();

        assert_eq!(usage.input_total.zip(usage.output_total), Some(expected), "{body}");
    }
}

#[test]
fn pangu_is_not_asked_for_the_usage_that_it_reports_anyway() {
    let body = br#"{"model":"m","stream":true,"messages":[]}"#;
    for (family, endpoint, is_askable) in
        [(Family::Pangu, Endpoint::Chat, false), (Family::OpenAi, Endpoint::ChatCompletions, true)]
    {
        let facts = classify(Asked::new(family, endpoint), body).unwrap();

        assert_eq!((facts.stream, facts.usage_askable), (true, is_askable), "{family}");
    }
}

#[test]
fn a_long_text_that_every_event_repeats_is_counted_once() {
    // 64 KiB, of which the last character is one byte too many for what is kept.
    let kept = "网".repeat(21_846);
    let events = ["", "a", "ab", "abc"]
        .map(|more| format!("data: {{\"output\":{{\"text\":\"{kept}{more}\"}}}}\n\n"));

    let dashscope = config(Family::Dashscope, Endpoint::Generation, Framing::Sse);
    let text = leave(dashscope, events.iter().map(String::as_bytes)).text;

    assert_eq!(text.visible.bytes(), u64::try_from(kept.len() + "abc".len()).unwrap());
}

#[test]
fn texts_of_several_choices_that_every_event_repeats_are_counted_once_each() {
    let event = |index: u32, content: &str, thought: &str, arguments: &str| {
        let call = format!(r#"{{"function":{{"name":"f","arguments":"{arguments}"}}}}"#);
        let message = format!(
            r#"{{"content":"{content}","reasoning_content":"{thought}","tool_calls":[{call}]}}"#
        );
        let choice = format!(r#"{{"index":{index},"finish_reason":"null","message":{message}}}"#);
        format!("data:{{\"output\":{{\"choices\":[{choice}]}}}}\n\n")
    };
    let body = [
        event(0, "The", "a", "{"),
        event(1, "A river", "b", ""),
        event(0, "The Nile", "ab", "{}"),
        event(1, "A river of", "bc", ""),
        event(0, "The Nile", "abc", "{}"),
    ]
    .concat();

    let config = config(Family::Dashscope, Endpoint::Generation, Framing::Sse);
    let text = leave(config, [body.as_bytes()]).text;

    let visible: usize = ["The Nile", "f{}", "A river of", "f"].map(str::len).iter().sum();
    assert_eq!(text.visible.bytes(), u64::try_from(visible).unwrap(), "{}", text.visible.kept());
    assert_eq!(text.reasoning.bytes(), 3 + 2);
    // A text that happens to begin as the one before it, where events bring what is new.
    let deltas = [event(0, "ha", "", ""), event(0, "ho", "", ""), event(0, "hoho", "", "")];
    let text = leave(config, deltas.iter().map(String::as_bytes)).text;
    assert_eq!(text.visible.kept(), "hafhohoho");
}

#[test]
fn of_several_choices_all_that_they_report_is_added_and_all_must_end() {
    let event = |choices: &[(u64, &str)], output: u64, audio: u64| {
        let choices: Vec<Value> = choices
            .iter()
            .map(|(index, finish)| {
                json!({"index": index, "finish_reason": finish, "message": {"content": "x"}})
            })
            .collect();
        let details = json!({"audio_tokens": audio});
        let usage =
            json!({"input_tokens": 9, "output_tokens": output, "output_tokens_details": details});
        format!("data:{}\n\n", json!({"output": {"choices": choices}, "usage": usage}))
    };
    let config = config(Family::Dashscope, Endpoint::Generation, Framing::Sse);
    let read = |events: &[String]| {
        let reading = leave(config, events.iter().map(String::as_bytes));
        let usage = reading.usage.unwrap();
        (usage.output_total, usage.output.get(&TokenClass::AUDIO_OUT).copied(), reading.terminal)
    };

    let one_by_one = [event(&[(0, "stop")], 5, 2), event(&[(1, "null")], 7, 3)];
    assert_eq!(read(&one_by_one), (Some(12), Some(5), false));
    let ended = [one_by_one.concat(), event(&[(1, "stop")], 8, 3)];
    assert_eq!(read(&ended), (Some(13), Some(5), true));
    let at_once = [event(&[(0, "stop"), (1, "null")], 12, 5)];
    assert_eq!(read(&at_once), (Some(12), Some(5), false));
    let all_at_once = event(&[(0, "stop"), (1, "stop")], 12, 5);
    assert_eq!(read(std::slice::from_ref(&all_at_once)), (Some(12), Some(5), true));
    let whole = leave(config, [all_at_once.as_bytes()]);
    assert!(whole.usage.unwrap().is_complete(), "the reply has ended with all of its choices");
    let alone = [event(&[(0, "stop")], 5, 2)];
    assert_eq!(read(&alone), (Some(5), Some(2), true));
}

#[test]
fn choices_are_told_apart_to_their_bound() {
    let event = |index: u64, text: &str| {
        let choice = json!({"index": index, "finish_reason": "null", "message": {"content": text}});
        let usage = json!({"output_tokens": 1});
        format!("data:{}\n\n", json!({"output": {"choices": [choice]}, "usage": usage}))
    };
    let config = config(Family::Dashscope, Endpoint::Generation, Framing::Sse);
    let read = |choices: u64, before: usize| {
        let mut events = vec![event(0, "a"); before];
        events.extend((0..choices).flat_map(|index| [event(index, "ab"), event(index, "ab")]));
        let reading = leave(config, events.iter().map(String::as_bytes));
        (reading.text.visible.bytes(), reading.usage.unwrap().output_total)
    };

    // Sixteen: of each its text counts once, whatever is repeated.
    assert_eq!(read(16, 1), (32, Some(16)));
    assert_eq!(read(2, 40), (4, Some(2)));
    // One more: its text counts each time it comes, and its output not at all.
    assert_eq!(read(17, 1), (36, Some(16)));
}

#[test]
fn an_event_too_long_to_hold_repeats_its_own_choice_alone() {
    let long = "Nile ".repeat(20_000);
    let event = |index: u32, content: &str| {
        let choice = format!(r#"{{"index":{index},"message":{{"content":"{content}"}}}}"#);
        format!("data:{{\"output\":{{\"choices\":[{choice}]}}}}\n\n")
    };
    let events = [event(0, &long), event(1, &long), event(0, &format!("{long}!")), event(1, &long)];

    let config = config(Family::Dashscope, Endpoint::Generation, Framing::Sse);
    let text = leave(config, events.iter().map(String::as_bytes)).text;

    assert_eq!(text.visible.bytes(), u64::try_from(2 * long.len() + 1).unwrap());
}

#[test]
fn an_error_with_a_success_status_is_an_error_and_bills_nothing() {
    use Framing::{Json, JsonLines, Sse};
    for (family, endpoint, framing, body) in [
        (Family::QianfanV1, Endpoint::Chat, Json, r#"{"error_code":110,"error_msg":"no token"}"#),
        (
            Family::QianfanV1,
            Endpoint::Chat,
            Sse,
            "data: {\"error_code\":336100,\"error_msg\":\"busy\"}\n\n",
        ),
        (
            Family::Dashscope,
            Endpoint::Generation,
            Sse,
            "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\"x\"}\n\n",
        ),
        (
            Family::Dashscope,
            Endpoint::Generation,
            Json,
            r#"{"code":"InvalidParameter","message":"x","request_id":"r"}"#,
        ),
        (
            Family::Hunyuan,
            Endpoint::Chat,
            Json,
            r#"{"Response":{"Error":{"Code":"FailedOperation","Message":"x"},"RequestId":"r"}}"#,
        ),
        (
            Family::Hunyuan,
            Endpoint::Chat,
            Sse,
            "data: {\"Id\":\"r\",\"ErrorMsg\":{\"Msg\":\"x\",\"Code\":4001}}\n\n",
        ),
        (
            Family::Pangu,
            Endpoint::Chat,
            Json,
            r#"{"error_code":"PANGU.3318","error_msg":"invalid deployment"}"#,
        ),
        (
            Family::Pangu,
            Endpoint::Chat,
            Sse,
            "data:{\"error_code\":\"PANGU.3254\",\"error_msg\":\"too long\"}\n\n",
        ),
        (
            Family::Tgi,
            Endpoint::GenerateStream,
            Sse,
            "data:{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}\n\n",
        ),
        (Family::Ollama, Endpoint::Chat, JsonLines, "{\"error\":\"model not loaded\"}\n"),
        (Family::Ollama, Endpoint::Chat, Json, "{\"error\":\"model not loaded\"}"),
        (
            Family::LlamaCpp,
            Endpoint::Generate,
            Sse,
            "data: {\"error\":{\"code\":500,\"message\":\"x\",\"type\":\"server_error\"}}\n\n",
        ),
    ] {
        let reading = run(config(family, endpoint, framing), [body.as_bytes()]).reading;

        assert!(reading.error && reading.failed, "{family}: {body}");
        let counted = count(&reading, endpoint, REQUEST);
        assert_eq!(counted.source, Source::Missing, "{family}: {body}");
        assert!(counted.tokens.is_empty() && counted.flags.is_empty(), "{family}: {counted:?}");
    }
}

#[test]
fn an_error_code_that_says_success_is_no_error() {
    for (family, endpoint, body) in [
        (
            Family::QianfanV1,
            Endpoint::Chat,
            r#"{"result":"x","error_code":0,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
        ),
        (
            Family::Dashscope,
            Endpoint::Generation,
            r#"{"code":"","output":{"text":"x"},"usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
        (
            Family::Hunyuan,
            Endpoint::Chat,
            r#"{"Response":{"ErrorMsg":null,"Usage":{"PromptTokens":1,"CompletionTokens":1}}}"#,
        ),
    ] {
        let reading = run(config(family, endpoint, Framing::Json), [body.as_bytes()]).reading;

        assert!(!reading.error, "{family}");
        assert_eq!(count(&reading, endpoint, REQUEST).source, Source::Reported, "{family}");
    }
}

#[test]
fn what_was_delivered_before_an_error_is_billed_by_the_running_count() {
    for (name, input, output) in [
        ("dashscope-native/stream-error", 2010, 9),
        ("tencent-hunyuan-native/stream-error", 13, 1),
        ("baidu-qianfan-v1/stream-error", 2, 2),
    ] {
        let fixture = fixture(name);
        let reading = run(fixture.config(false), [fixture.body.as_slice()]).reading;

        let counted = count(&reading, fixture.endpoint, REQUEST);

        assert!(reading.error, "{name}");
        assert_eq!(
            (counted.input_total, counted.output_total),
            (Some(input), Some(output)),
            "{name}"
        );
    }
    let fixture = fixture("ollama-native/stream-error");
    let reading = run(fixture.config(false), [fixture.body.as_slice()]).reading;
    let counted = count(&reading, fixture.endpoint, REQUEST);
    assert_eq!((reading.error, counted.source), (true, Source::Estimated));
    assert_eq!(counted.output_total, Some(1), "`The` was delivered, the error was not");
}

#[test]
fn an_error_in_a_stream_waits_for_its_record_like_any_other_end() {
    for name in [
        "baidu-qianfan-v1/stream-error",
        "dashscope-native/stream-error",
        "ollama-native/stream-error",
        "tencent-hunyuan-native/stream-error",
        "tgi/stream-error",
    ] {
        let fixture = fixture(name);

        let outcome = run(fixture.config(false), [fixture.body.as_slice()]);

        let last = String::from_utf8_lossy(&outcome.terminal).to_lowercase();
        assert!(last.contains("error"), "{name}: {last}");
        assert!(outcome.reading.error && outcome.reading.failed, "{name}");
    }
}

#[test]
fn the_delivered_text_of_every_family_can_be_estimated() {
    use Framing::{Json, JsonLines, Sse};
    for (family, endpoint, framing, body, visible, reasoning) in [
        (
            Family::QianfanV1,
            Endpoint::Chat,
            Sse,
            "data: {\"result\":\"你\"}\n\ndata: {\"result\":\"好\"}\n\n",
            "你好",
            "",
        ),
        (
            Family::QianfanV1,
            Endpoint::Chat,
            Json,
            r#"{"result":"","function_call":{"name":"f","arguments":"{}","thoughts":"t"}}"#,
            "f{}t",
            "",
        ),
        (
            Family::Dashscope,
            Endpoint::Generation,
            Sse,
            "data:{\"output\":{\"text\":\"尼\"}}\n\ndata:{\"output\":{\"text\":\"尼罗河\"}}\n\n",
            "尼罗河",
            "",
        ),
        (
            Family::Dashscope,
            Endpoint::Generation,
            Sse,
            "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"尼\",\"reasoning_content\":\"a\"}}]}}\n\n\
             data:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"罗河\"}],\"reasoning_content\":\"b\"}}]}}\n\n",
            "尼罗河",
            "ab",
        ),
        (
            Family::Hunyuan,
            Endpoint::Chat,
            Json,
            r#"{"Response":{"Choices":[{"Message":{"Content":"你","ReasoningContent":"想","ToolCalls":[{"Function":{"Name":"f","Arguments":"{}"}}]}}]}}"#,
            "你f{}",
            "想",
        ),
        (
            Family::Pangu,
            Endpoint::Chat,
            Sse,
            "data:{\"choices\":[{\"message\":{\"content\":\"尼罗\"}}]}\n\ndata:{\"choices\":[{\"delta\":{\"content\":\"河\"}}]}\n\n",
            "尼罗河",
            "",
        ),
        (Family::Tgi, Endpoint::Generate, Json, r#"{"generated_text":" Paris."}"#, " Paris.", ""),
        (
            Family::Tgi,
            Endpoint::GenerateStream,
            Sse,
            "data:{\"token\":{\"text\":\" Paris\",\"special\":false}}\n\ndata:{\"token\":{\"text\":\"</s>\",\"special\":true}}\n\n",
            " Paris",
            "",
        ),
        (
            Family::Tgi,
            Endpoint::Generate,
            Json,
            r#"{"token":{"text":" Paris"},"generated_text":null}"#,
            " Paris",
            "",
        ),
        (Family::Ollama, Endpoint::Generate, Json, r#"{"response":" Paris"}"#, " Paris", ""),
        (Family::LlamaCpp, Endpoint::Generate, Json, r#"{"content":" Paris"}"#, " Paris", ""),
        (
            Family::OpenAi,
            Endpoint::Responses,
            Json,
            r#"{"output":[{"type":"reasoning","summary":[{"text":"hm"}]},{"type":"message","content":[{"text":"Nile"}]}]}"#,
            "Nile",
            "hm",
        ),
        (
            Family::Ollama,
            Endpoint::Chat,
            JsonLines,
            "{\"message\":{\"content\":\"The\",\"thinking\":\"hm\"}}\n{\"response\":\" Nile\",\"thinking\":\"!\"}\n\
             {\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]}}\n",
            "The Nilef{\"a\":1}",
            "hm!",
        ),
        (
            Family::LlamaCpp,
            Endpoint::Generate,
            Sse,
            "data: {\"content\":\" Pa\"}\n\ndata: {\"content\":\"ris\"}\n\n",
            " Paris",
            "",
        ),
    ] {
        let text = text_of(family, endpoint, framing, body);

        assert_eq!(text, (visible.to_owned(), reasoning.to_owned()), "{family}");
    }
}

/// Where the events of a stream end.
fn event_ends(body: &[u8], framing: Framing) -> Vec<usize> {
    let end: &[u8] = if framing == Framing::JsonLines { b"\n" } else { b"\n\n" };
    let ends = body.windows(end.len()).enumerate().filter(|(_, window)| *window == end);
    ends.map(|(at, _)| at + end.len()).collect()
}

fn is_native(family: Family) -> bool {
    !matches!(family, Family::OpenAi | Family::AzureOpenAi | Family::Anthropic | Family::Gemini)
}

#[test]
fn a_stream_that_is_left_at_any_event_is_counted_as_far_as_it_came() {
    let mut cuts = 0;
    for fixture in fixtures().into_iter().filter(|fixture| is_native(fixture.family)) {
        if fixture.framing == Framing::Json || fixture.expected.is_none() {
            continue;
        }
        let whole = run(fixture.config(false), [fixture.body.as_slice()]).reading;
        let whole = count(&whole, fixture.endpoint, REQUEST);
        let ends = event_ends(&fixture.body, fixture.framing);
        for end in ends {
            let reading = leave(fixture.config(false), [&fixture.body[..end]]);

            let counted = count(&reading, fixture.endpoint, REQUEST);

            let name = format!("{} left at {end}", fixture.name);
            let output = counted.output_total.unwrap();
            // Where no count came yet the text is counted, which is a token off at most here.
            assert!(output <= whole.output_total.unwrap() + 1, "{name}: {output}");
            if reading.terminal {
                assert_eq!(counted.output_total, whole.output_total, "{name}");
            }
            assert!(!reading.error && !reading.tap_error, "{name}");
            assert_eq!(counted.tokens.values().sum::<u64>(), counted.input_total.unwrap() + output);
            cuts += 1;
        }
    }
    assert!(cuts >= 25, "{cuts} cuts");
}

#[test]
fn a_running_count_below_what_was_delivered_is_not_believed() {
    // Early events of Qianfan v1 report no output at all.
    let fixture = fixture("baidu-qianfan-v1/stream");
    let first = event_ends(&fixture.body, Framing::Sse)[0];

    let reading = leave(fixture.config(false), [&fixture.body[..first]]);

    let counted = count(&reading, fixture.endpoint, REQUEST);
    assert_eq!((counted.source, counted.input_total), (Source::Partial, Some(2)));
    assert!(counted.tokens[&TokenClass::OUTPUT_TEXT] > 0, "text was delivered: {counted:?}");
}

#[test]
fn an_end_without_a_mark_is_known_by_the_finish_reason() {
    for name in ["dashscope-native/stream-incremental", "tencent-hunyuan-native/stream"] {
        let fixture = fixture(name);
        let ends = event_ends(&fixture.body, Framing::Sse);
        let before: Reading = leave(fixture.config(false), [&fixture.body[..ends[ends.len() - 2]]]);
        let all = leave(fixture.config(false), [fixture.body.as_slice()]);

        assert!(!before.terminal && all.terminal, "{name}");
        let counted = count(&all, fixture.endpoint, REQUEST);
        assert_eq!(counted.source, Source::Reported, "{name}");
    }
}

#[test]
fn one_finished_choice_does_not_end_a_reply_of_two() {
    let fixture = fixture("dashscope-native/stream-n2");
    let ends = event_ends(&fixture.body, Framing::Sse);

    let reading = leave(fixture.config(false), [&fixture.body[..ends[4]]]);

    assert!(!reading.terminal);
    assert_eq!(count(&reading, fixture.endpoint, REQUEST).output_total, Some(5 + 4));
}

#[test]
fn a_wrapped_reply_larger_than_what_is_kept_still_reports() {
    let text = "河".repeat(200_000);
    let body = format!(
        r#"{{"Response":{{"RequestId":"r","Choices":[{{"Message":{{"Content":"{text}"}}}}],"Usage":{{"PromptTokens":5,"CompletionTokens":7,"TotalTokens":12}}}}}}"#
    );
    let config = config(Family::Hunyuan, Endpoint::Chat, Framing::Json);

    let counted = count(&run(config, [body.as_bytes()]).reading, Endpoint::Chat, REQUEST);

    assert_eq!((counted.input_total, counted.output_total), (Some(5), Some(7)));
    assert_eq!(counted.source, Source::Reported);
}

#[test]
fn a_last_event_too_large_to_hold_still_ends_the_stream() {
    let prompt = "x".repeat(100_000);
    let llama = format!(
        "data: {{\"content\":\"\",\"stop\":true,\"prompt\":\"{prompt}\",\"tokens_evaluated\":9,\"tokens_predicted\":4}}\n\n"
    );
    let tgi = format!(
        "data:{{\"index\":1,\"token\":{{\"text\":\"x\"}},\"generated_text\":\"{prompt}\",\"details\":{{\"generated_tokens\":4,\"input_length\":9}}}}\n\n"
    );
    for (family, endpoint, body) in [
        (Family::LlamaCpp, Endpoint::Generate, llama),
        (Family::Tgi, Endpoint::GenerateStream, tgi),
    ] {
        let reading = run(config(family, endpoint, Framing::Sse), [body.as_bytes()]).reading;

        assert!(reading.terminal && !reading.tap_error, "{family}");
        let counted = count(&reading, endpoint, REQUEST);
        assert_eq!((counted.input_total, counted.output_total), (Some(9), Some(4)), "{family}");
    }
}
