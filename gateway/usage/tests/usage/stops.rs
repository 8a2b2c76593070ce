//! Why a model stopped, in every form in which a reply says so.

use permille_usage::{Stop, TapConfig};

use crate::common::{fixture, run, stream};

fn stop(config: TapConfig, body: &str) -> Option<Stop> {
    run(config, [body.as_bytes()]).reading.stop
}

#[test]
fn a_stopped_answer_says_so_with_and_without_usage() {
    let document = fixture("openai-chat/nonstream").config(false);
    let events = fixture("openai-chat/stream").config(false);
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":0}"#;
    for (reason, expected) in [
        ("content_filter", Some(Stop::ContentFilter)),
        ("stop", None),
        ("length", None),
        ("tool_calls", None),
    ] {
        let choice = format!(r#"{{"index":0,"finish_reason":"{reason}","message":{{}}}}"#);
        assert_eq!(stop(document, &format!(r#"{{"choices":[{choice}],{usage}}}"#)), expected);
        assert_eq!(stop(document, &format!(r#"{{"choices":[{choice}]}}"#)), expected);
        let lines =
            [format!(r#"{{"choices":[{choice}]}}"#), format!(r#"{{"choices":[],{usage}}}"#)];
        let lines = [lines[0].as_str(), lines[1].as_str(), "[DONE]"];
        let body = String::from_utf8(stream(&lines)).unwrap();
        assert_eq!(stop(events, &body), expected, "{reason}");
    }
}

#[test]
fn a_refusal_is_one_in_either_family() {
    let refused = r#"{"choices":[{"index":0,"message":{"content":null,"refusal":"I cannot."},
        "finish_reason":"stop"}]}"#;
    let answered = r#"{"choices":[{"index":0,"message":{"content":"Yes.","refusal":null}}]}"#;
    let chat = fixture("openai-chat/nonstream").config(false);
    assert_eq!(stop(chat, refused), Some(Stop::Refusal));
    assert_eq!(stop(chat, answered), None);

    let delta = r#"{"choices":[{"index":0,"delta":{"refusal":"I can"}}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let body = String::from_utf8(stream(&[delta, end, "[DONE]"])).unwrap();
    assert_eq!(stop(fixture("openai-chat/stream").config(false), &body), Some(Stop::Refusal));

    let message = r#"{"type":"message","content":[],"stop_reason":"refusal",
        "usage":{"input_tokens":9,"output_tokens":0}}"#;
    let messages = fixture("anthropic-messages/nonstream").config(false);
    assert_eq!(stop(messages, message), Some(Stop::Refusal));
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":\
        {\"stop_reason\":\"refusal\"},\"usage\":{\"output_tokens\":3}}\n\n";
    assert_eq!(
        stop(fixture("anthropic-messages/stream").config(false), delta),
        Some(Stop::Refusal)
    );
}

#[test]
fn other_families_say_it_in_their_own_words() {
    let gemini = fixture("gemini/nonstream").config(false);
    let usage = r#""usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}"#;
    let safety = format!(r#"{{"candidates":[{{"finishReason":"SAFETY"}}],{usage}}}"#);
    let blocked = format!(r#"{{"promptFeedback":{{"blockReason":"OTHER"}},{usage}}}"#);
    let ended = format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],{usage}}}"#);
    assert_eq!(stop(gemini, &safety), Some(Stop::ContentFilter));
    assert_eq!(stop(gemini, &blocked), Some(Stop::ContentFilter));
    assert_eq!(stop(gemini, &ended), None);

    let hunyuan = fixture("tencent-hunyuan-native/nonstream").config(false);
    let filtered = r#"{"Response":{"Choices":[{"FinishReason":"sensitive"}],
        "Usage":{"PromptTokens":9,"CompletionTokens":0,"TotalTokens":9}}}"#;
    assert_eq!(stop(hunyuan, filtered), Some(Stop::ContentFilter));

    let responses = fixture("openai-responses/nonstream").config(false);
    let usage = r#""usage":{"input_tokens":9,"output_tokens":0}"#;
    let incomplete = format!(
        r#"{{"status":"incomplete","incomplete_details":{{"reason":"content_filter"}},{usage}}}"#
    );
    let refused = format!(
        r#"{{"status":"completed","output":[{{"type":"message","content":[{{"refusal":"No."}}]}}],{usage}}}"#
    );
    assert_eq!(stop(responses, &incomplete), Some(Stop::ContentFilter));
    assert_eq!(stop(responses, &refused), Some(Stop::Refusal));
    let delta = "event: response.refusal.delta\ndata: {\"type\":\"response.refusal.delta\",\
        \"delta\":\"No\"}\n\n";
    let events = fixture("openai-responses/stream").config(false);
    assert_eq!(stop(events, delta), Some(Stop::Refusal));
}

#[test]
fn chinese_clouds_native_formats_say_it_too() {
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}"#;
    let qianfan = |name: &str, reason: &str| {
        let body = format!(r#"{{"id":"a","result":"x","finish_reason":"{reason}",{usage}}}"#);
        let events = format!("data: {body}\n\ndata: {{\"is_end\":true,{usage}}}\n\n");
        let is_stream = name.ends_with("/stream");
        stop(fixture(name).config(false), if is_stream { &events } else { &body })
    };
    let usage = r#""usage":{"input_tokens":9,"output_tokens":1}"#;
    let dashscope = |name: &str, output: &str| {
        let body = format!(r#"{{"request_id":"r","output":{output},{usage}}}"#);
        let events = format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{body}\n\n");
        let is_stream = name.ends_with("incremental");
        stop(fixture(name).config(false), if is_stream { &events } else { &body })
    };
    for (reason, expected) in [
        ("content_filter", Some(Stop::ContentFilter)),
        ("normal", None),
        ("stop", None),
        ("length", None),
        ("null", None),
    ] {
        for name in ["baidu-qianfan-v1/nonstream", "baidu-qianfan-v1/stream"] {
            assert_eq!(qianfan(name, reason), expected, "{name}: {reason}");
        }
        for name in ["dashscope-native/nonstream", "dashscope-native/stream-incremental"] {
            let text = format!(r#"{{"text":"x","finish_reason":"{reason}"}}"#);
            let message = r#"{"role":"assistant","content":"x"}"#;
            let choice = format!(r#"{{"finish_reason":"{reason}","message":{message}}}"#);
            assert_eq!(dashscope(name, &text), expected, "{name}: {reason}");
            let choices = format!(r#"{{"choices":[{choice}]}}"#);
            assert_eq!(dashscope(name, &choices), expected, "{name}: {reason}");
        }
    }
}

#[test]
fn an_odd_event_does_not_cost_the_stop_reason_of_qianfan() {
    let odd = "data: {\"id\":\"a\",\"id\":\"b\",\"finish_reason\":\"content_filter\"}\n\n";

    let config = fixture("baidu-qianfan-v1/stream").config(false);

    assert_eq!(stop(config, odd), Some(Stop::ContentFilter));
}

#[test]
fn dashscope_filters_an_answer_with_an_error() {
    let config = fixture("dashscope-native/stream-incremental").config(false);
    let failed = |code: &str| {
        let delta = r#"{"output":{"choices":[{"message":{"content":"The Ni"}}]}}"#;
        format!("data:{delta}\n\nevent:error\ndata:{{\"code\":\"{code}\",\"message\":\"x\"}}\n\n")
    };
    for code in ["DataInspectionFailed", "data_inspection_failed"] {
        let reading = run(config, [failed(code).as_bytes()]).reading;
        assert_eq!((reading.stop, reading.error), (Some(Stop::ContentFilter), true), "{code}");
    }
    assert_eq!(stop(config, &failed("InternalError")), None);
}
