//! Tools: calls when asked for, answers after their results, and what both cost.

use serde_json::{Value, json};

use crate::support::{
    CHAT, MESSAGES, Running, chat, chat_stream, events, message, message_stream, tokens, with,
};

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]},
    }})
}

fn openai_tools() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": schema()}}])
}

fn anthropic_tools() -> Value {
    json!([{"name": "get_weather", "input_schema": schema()}])
}

#[tokio::test]
async fn an_openai_call_streams_as_it_reads_whole_and_counts_name_and_arguments() {
    let provider = Running::start();
    let tools = json!({"tools": openai_tools(), "tool_choice": "required"});

    let whole = provider.post(CHAT, &with(chat("weather?"), tools.clone()), "").await.json();
    let stream = provider.post(CHAT, &with(chat_stream("weather?"), tools), "").await.text();

    let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments = call["arguments"].as_str().unwrap();
    let parsed: Value = serde_json::from_str(arguments).unwrap();
    assert!(parsed["city"].is_string() && parsed["days"].is_u64() && parsed["unit"] == "c");
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let cost = tokens("get_weather") + tokens(arguments);
    assert_eq!(whole["usage"]["completion_tokens"], cost);

    let events = events(&stream);
    let deltas: Vec<_> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array())
        .map(|calls| &calls[0])
        .collect();
    assert_eq!(deltas[0]["function"]["name"], "get_weather");
    let joined: String =
        deltas.iter().map(|delta| delta["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(joined, arguments);
    assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
}

#[tokio::test]
async fn an_anthropic_call_streams_as_it_reads_whole() {
    let provider = Running::start();
    let tools = json!({"tools": anthropic_tools(), "tool_choice": {"type": "any"}});

    let whole = provider.post(MESSAGES, &with(message("weather?"), tools.clone()), "").await;
    let stream = provider.post(MESSAGES, &with(message_stream("weather?"), tools), "").await;

    let (whole, stream) = (whole.json(), events(&stream.text()));
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][0]["name"], "get_weather");
    let partial: String =
        stream.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    let input: Value = serde_json::from_str(&partial).unwrap();
    assert_eq!(input, whole["content"][0]["input"]);
    let usage = &stream[stream.len() - 2]["usage"];
    assert_eq!(usage["output_tokens"], tokens("get_weather") + tokens(&partial));
    assert_eq!(usage["output_tokens"], whole["usage"]["output_tokens"]);
}

#[tokio::test]
async fn a_control_in_the_message_calls_once_and_the_result_is_answered_in_text() {
    let provider = Running::start();
    let question = "simulate:tool=1 what is the weather?";

    let body = with(chat(question), json!({"tools": openai_tools()}));
    let call = provider.post(CHAT, &body, "").await.json()["choices"][0]["message"].clone();
    let id = &call["tool_calls"][0]["id"];
    let after = json!({"model": "gpt-4o", "tools": openai_tools(), "messages": [
        {"role": "user", "content": question}, call,
        {"role": "tool", "tool_call_id": id, "content": "22 degrees"},
    ]});
    let openai = provider.post(CHAT, &after, "").await.json();

    let body = with(message(question), json!({"tools": anthropic_tools()}));
    let call = provider.post(MESSAGES, &body, "").await.json();
    let result = json!({"type": "tool_result", "tool_use_id": call["content"][0]["id"],
                        "content": [{"type": "text", "text": "22 degrees"}]});
    let after = json!({"model": "claude-sonnet-4-5", "max_tokens": 400, "messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "content": call["content"]},
        {"role": "user", "content": [result]},
    ]});
    let anthropic = provider.post(MESSAGES, &after, "").await.json();

    assert_eq!(openai["choices"][0]["finish_reason"], "stop");
    assert_eq!(anthropic["stop_reason"], "end_turn");
    let prompt = openai["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(prompt > tokens(question) + tokens("22 degrees") + tokens(&openai_tools().to_string()));
}

#[tokio::test]
async fn declared_tools_are_part_of_the_prompt() {
    let provider = Running::start();

    let without = provider.post(CHAT, &chat("hi"), "").await.json();
    let tools = with(chat("hi"), json!({"tools": openai_tools()}));
    let with_tools = provider.post(CHAT, &tools, "").await.json();

    let prompt = |reply: &Value| reply["usage"]["prompt_tokens"].as_u64().unwrap();
    let declared = tokens(&openai_tools().to_string());
    assert_eq!(prompt(&with_tools), prompt(&without) + declared);
    assert_eq!(with_tools["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_limit_cuts_the_arguments() {
    let provider = Running::start();
    let tools = json!({"tools": openai_tools(), "tool_choice": "required", "max_tokens": 5});

    let reply = provider.post(CHAT, &with(chat("weather?"), tools), "").await.json();

    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert!(reply["usage"]["completion_tokens"].as_u64().unwrap() <= 5);
}
