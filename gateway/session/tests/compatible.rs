//! Gateways of two versions share conversations in Redis: what a request is known by stays what it
//! was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use permille_session::{Conversation, Key};

/// Requests of each family, as clients write them, and what all that is read of them comes to.
const REQUESTS: [(&str, u64); 6] = [
    (
        r#"{"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user",
        "content": " say \"no\"\n\ud83d\ude00 "}, {"role": "assistant", "content": null,
        "tool_calls": [{"id": "c", "type": "function", "function": {"arguments": "{\"a\": 1}",
        "name": "f"}}]}, {"role": "tool", "tool_call_id": "c", "content": "31"}], "user": "u"}"#,
        12_643_642_923_732_139_783,
    ),
    (
        r#"{"messages":[{"content":[{"type":"text","text":"why?","cache_control":{"type":"e"}}],
        "role":"user"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},
        {"type":"tool_use","id":"t","name":"f","input":{"b":[1,-2,2.5,true,null,"x\ty"]}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"31"}]}],
        "tools":[{"name":"f"}],"metadata":{"user_id":"user_a_session_b"}}"#,
        12_604_559_484_377_937_072,
    ),
    (
        r#"{"input":[{"role":"user","content":"go"},{"type":"function_call","name":"f",
        "arguments":"{}","call_id":"c"},{"type":"function_call_output","call_id":"c",
        "output":"31"}],"previous_response_id":"resp_1","conversation":{"id":"conv"}}"#,
        9_701_028_135_545_319_089,
    ),
    (
        r#"{"contents":[{"role":"user","parts":[{"text":"go"}]},{"role":"model","parts":[
        {"functionCall":{"name":"f","args":{"b":"\u00e9"}}}]},{"role":"user","parts":[
        {"functionResponse":{"name":"f","response":{"c":18446744073709551615}}}]}]}"#,
        672_213_674_871_531_151,
    ),
    (
        r#"{"input":{"messages":[{"role":"user","content":" 你好　"}]},"model":"qwen"}"#,
        3_954_664_712_813_046_902,
    ),
    (
        r#"{"input":["go",{"role":"assistant","content":"31"},
        "Please summarize what was said so far, in a few lines."]}"#,
        2_717_527_097_147_098_809,
    ),
];

/// FNV-1a, which no dependency changes.
fn fold(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    })
}

#[test]
fn a_request_is_known_by_what_it_was_known_by() {
    let key = Key::new([3; 32]);

    let known = REQUESTS.map(|(body, _)| {
        let read = Conversation::read(&key, body.as_bytes());
        assert_ne!(read, Conversation::default(), "{body}");
        fold(&format!("{read:?}"))
    });

    assert_eq!(known, REQUESTS.map(|(_, known)| known));
}
