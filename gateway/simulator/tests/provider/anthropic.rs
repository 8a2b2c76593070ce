//! Anthropic's shape: events in order, disjoint input classes, counts that recount.

use serde_json::{Value, json};

use crate::support::{
    MESSAGES, Running, events, message, message_stream, message_text, tokens, with,
};

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn whole_replies_count_as_a_recount_of_what_was_received() {
    let provider = Running::start();
    let body = with(message("Name the river."), json!({"system": "Answer briefly."}));
    for path in [MESSAGES, "/v1/messages"] {
        let reply = provider.post(path, &body, "").await;

        assert!(reply.headers["request-id"].to_str().unwrap().starts_with("req_"));
        let reply = reply.json();
        let text = reply["content"][0]["text"].as_str().unwrap();
        // Role, content and three tokens for each of two messages, and three that prime.
        let input = 1 + 3 + tokens("Answer briefly.") + 1 + 3 + tokens("Name the river.") + 3;
        assert_eq!(reply["usage"]["input_tokens"], input);
        assert_eq!(reply["usage"]["output_tokens"], tokens(text));
        assert_eq!(reply["stop_reason"], "end_turn");
    }
}

#[tokio::test]
async fn counting_is_free_and_equals_what_is_billed() {
    let provider = Running::start();
    let body = with(
        message("How many?"),
        json!({"system": [{"type": "text", "text": "Count."}],
               "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
    );

    let billed = provider.post(MESSAGES, &body, "").await.json();
    let mut body = body;
    body.as_object_mut().unwrap().remove("max_tokens");
    let counted = provider.post("/anthropic/v1/messages/count_tokens", &body, "").await.json();

    assert_eq!(counted, json!({"input_tokens": billed["usage"]["input_tokens"]}));
    let entry = provider.books_now().pop().unwrap();
    assert_eq!(entry.endpoint, "messages.count_tokens");
    assert_eq!(entry.prompt_tokens, 0);
}

#[tokio::test]
async fn a_stream_opens_with_a_placeholder_and_ends_with_the_sum() {
    let provider = Running::start();

    let text = provider.post(MESSAGES, &message_stream("hello"), "tokens=30").await.text();

    let events = events(&text);
    let kinds = types(&events);
    assert_eq!(kinds[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    let delta = &events[events.len() - 2];
    assert_eq!(delta["usage"]["output_tokens"], 30);
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    assert_eq!(tokens(&message_text(&events)), 30);
    for (name, event) in text.split("\n\n").filter(|event| !event.is_empty()).zip(&events) {
        let named = name.lines().next().unwrap().strip_prefix("event: ");
        assert_eq!(named, event["type"].as_str());
    }
}

#[tokio::test]
async fn thinking_is_sent_signed_and_counted_inside_the_output() {
    let provider = Running::start();
    let body = with(
        message_stream("think hard"),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    );

    let stream = events(&provider.post(MESSAGES, &body, "tokens=90").await.text());
    let whole = with(body, json!({"stream": false}));
    let whole = provider.post(MESSAGES, &whole, "tokens=90").await.json();

    let thought: String =
        stream.iter().filter_map(|event| event["delta"]["thinking"].as_str()).collect();
    let usage = &stream[stream.len() - 2]["usage"];
    assert_eq!(usage["output_tokens"], 90);
    assert_eq!(usage["output_tokens_details"]["thinking_tokens"], tokens(&thought));
    assert_eq!(tokens(&thought) + tokens(&message_text(&stream)), 90);
    assert!(stream.iter().any(|event| event["delta"]["type"] == "signature_delta"));
    assert_eq!(whole["content"][0]["thinking"], thought);
    assert_eq!(whole["content"][1]["text"], message_text(&stream));
    assert_eq!(whole["usage"]["output_tokens_details"], usage["output_tokens_details"]);
}

#[tokio::test]
async fn the_limit_cuts_with_max_tokens() {
    let provider = Running::start();
    let body = with(message("hello"), json!({"max_tokens": 5}));

    let reply = provider.post(MESSAGES, &body, "tokens=6").await.json();

    assert_eq!(reply["stop_reason"], "max_tokens");
    assert_eq!(reply["usage"]["output_tokens"], 5);
}
