//! The prompt cache over the turns of a conversation.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{CHAT, MESSAGES, Running, tokens};

fn long_text() -> String {
    "The ledger keeps what the river of tokens carries. ".repeat(40)
}

fn turns(count: usize) -> Vec<Value> {
    let mut messages = vec![json!({"role": "system", "content": long_text()})];
    for turn in 0..count {
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
    }
    messages.push(json!({"role": "user", "content": "and now?"}));
    messages
}

fn cached(reply: &Value) -> u64 {
    reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn each_turn_reads_what_the_turn_before_sent_in_steps_of_64() {
    let provider = Running::start();
    let mut seen = Vec::new();
    for turn in 0..4 {
        let body = json!({"model": "gpt-4o", "max_tokens": 3, "messages": turns(turn)});
        seen.push(cached(&provider.post(CHAT, &body, "").await.json()));
    }

    assert_eq!(seen[0], 0);
    let prefix = tokens(&long_text()) + 4;
    assert!(seen[1] >= prefix - prefix % 64 && seen[1].is_multiple_of(64), "{seen:?}");
    assert!(seen[3] >= seen[1]);
    let booked: Vec<u64> = provider.books_now().iter().map(|entry| entry.cached_tokens).collect();
    assert_eq!(booked, seen);
}

#[tokio::test]
async fn short_prompts_other_models_and_other_credentials_read_nothing() {
    let provider = Running::start();
    let long = json!({"model": "gpt-4o", "max_tokens": 3, "messages": turns(0)});
    let short = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    let mut other_model = long.clone();
    other_model["model"] = json!("gpt-4o-mini");
    provider.post(CHAT, &long, "").await;
    provider.post(CHAT, &short, "").await;

    assert_eq!(cached(&provider.post(CHAT, &short, "").await.json()), 0);
    assert_eq!(cached(&provider.post(CHAT, &other_model, "").await.json()), 0);
    let other_key = Request::post(format!("http://{}{CHAT}", provider.address))
        .header("authorization", "Bearer sk-other")
        .body(Full::from(long.to_string()))
        .unwrap();
    assert_eq!(cached(&provider.send(other_key).await.json()), 0);
    assert!(cached(&provider.post(CHAT, &long, "").await.json()) > 0);
}

#[tokio::test]
async fn ernie_never_caches_and_reports_bare_sums() {
    let provider = Running::start();
    let body = json!({"model": "ERNIE-Bot", "max_tokens": 3, "messages": turns(0)});
    provider.post(CHAT, &body, "").await;

    let usage = provider.post(CHAT, &body, "").await.json()["usage"].clone();

    assert!(usage.get("prompt_tokens_details").is_none());
    assert!(provider.books_now().iter().all(|entry| entry.cached_tokens == 0));
}

fn marked(ttl: Option<&str>, question: &str) -> Value {
    let mark = match ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    };
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 3,
        "system": [{"type": "text", "text": long_text(), "cache_control": mark}],
        "messages": [{"role": "user", "content": question}],
    })
}

#[tokio::test]
async fn marked_blocks_are_written_once_for_their_lifetime_and_then_read() {
    let prefix = 3 + 1 + tokens(&long_text());
    for (ttl, in_5m, in_1h) in [(None, prefix, 0), (Some("5m"), prefix, 0), (Some("1h"), 0, prefix)]
    {
        let provider = Running::start();

        let first = provider.post(MESSAGES, &marked(ttl, "one?"), "").await.json();
        let second = provider.post(MESSAGES, &marked(ttl, "two?"), "").await.json();

        let usage = &first["usage"];
        assert_eq!(usage["cache_creation_input_tokens"], prefix);
        assert_eq!(usage["cache_creation"]["ephemeral_5m_input_tokens"], in_5m);
        assert_eq!(usage["cache_creation"]["ephemeral_1h_input_tokens"], in_1h);
        assert_eq!(usage["cache_read_input_tokens"], 0);
        assert_eq!(second["usage"]["cache_read_input_tokens"], prefix);
        assert_eq!(second["usage"]["cache_creation_input_tokens"], 0);
        let rest = 1 + 3 + tokens("one?") + 3;
        assert_eq!(usage["input_tokens"], rest);
        assert_eq!(second["usage"]["input_tokens"], rest);
        let books = provider.books_now();
        assert_eq!(books[0].cache_write_5m_tokens, in_5m);
        assert_eq!(books[0].cache_write_1h_tokens, in_1h);
        assert_eq!((books[0].prompt_tokens, books[1].cached_tokens), (prefix + rest, prefix));
    }
}

#[tokio::test]
async fn a_mark_that_moves_with_the_conversation_reads_the_earlier_turns() {
    let provider = Running::start();
    let body = |messages: Value| json!({"model": "c", "max_tokens": 3, "messages": messages});
    let marked = |text: &str| json!([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]);
    let first = json!([{"role": "user", "content": marked(&long_text())}]);
    let second = json!([
        {"role": "user", "content": long_text()},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": marked("go on")},
    ]);

    let written = provider.post(MESSAGES, &body(first), "").await.json()["usage"].clone();
    let read = provider.post(MESSAGES, &body(second), "").await.json()["usage"].clone();

    let prefix = 4 + tokens(&long_text());
    assert_eq!(written["cache_creation_input_tokens"], prefix);
    assert_eq!(read["cache_read_input_tokens"], prefix);
    assert_eq!(read["cache_creation_input_tokens"], 4 + tokens("yes") + 4 + tokens("go on"));
    assert_eq!(read["input_tokens"], 3);
}
