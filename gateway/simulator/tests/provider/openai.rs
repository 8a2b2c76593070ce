//! OpenAI's shape: counts equal an independent recount of what was received.

use base64::{Engine, engine::general_purpose::STANDARD};
use permille_simulator::SimulatorConfig;
use serde_json::{Value, json};
use tiktoken_rs::{ChatCompletionRequestMessage, num_tokens_from_messages};

use crate::support::{CHAT, Running, chat, chat_stream, chat_text, events, tokens, with};

fn recount(messages: &Value) -> u64 {
    let messages: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| ChatCompletionRequestMessage {
            role: message["role"].as_str().unwrap().into(),
            content: message["content"].as_str().map(String::from),
            name: message["name"].as_str().map(String::from),
            ..Default::default()
        })
        .collect();
    num_tokens_from_messages("gpt-4o", &messages).unwrap() as u64
}

#[tokio::test]
async fn whole_replies_count_as_a_recount_of_what_was_received() {
    let provider = Running::start();
    let conversations = [
        json!([{"role": "user", "content": "Name the river through Cairo."}]),
        json!([
            {"role": "system", "content": "You answer briefly. 请简短回答。"},
            {"role": "user", "name": "ana", "content": "<|endoftext|> is text here"},
            {"role": "assistant", "content": "The Nile 🙂."},
            {"role": "user", "content": "今天天气怎么样？"},
        ]),
    ];
    for messages in conversations {
        let body = json!({"model": "gpt-4o", "n": 3, "messages": messages});

        let reply = provider.post(CHAT, &body, "").await.json();

        let usage = &reply["usage"];
        let received: u64 = (0..3)
            .map(|index| tokens(reply["choices"][index]["message"]["content"].as_str().unwrap()))
            .sum();
        assert_eq!(usage["completion_tokens"], received);
        let user = body["messages"][1]["content"].as_str().unwrap_or("");
        // The reference encoder takes the special token in the text for one token; we sent text.
        let special = if user.contains("<|") { tokens_plain("<|endoftext|>") - 1 } else { 0 };
        assert_eq!(usage["prompt_tokens"], recount(&body["messages"]) + special);
        assert_eq!(usage["total_tokens"], { usage["prompt_tokens"].as_u64().unwrap() + received });
        assert_eq!(reply["service_tier"], "default");
        assert_eq!(reply["model"], "gpt-4o");
    }
}

fn tokens_plain(text: &str) -> u64 {
    tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len() as u64
}

#[tokio::test]
async fn streamed_pieces_join_to_a_text_that_recounts_to_the_usage() {
    let provider = Running::start();
    for (question, choices) in [("How are you?", 1), ("请介绍一下长江。", 2), ("again", 3)]
    {
        let body = with(chat_stream(question), json!({"n": choices}));

        let reply = provider.post(CHAT, &body, "").await;

        assert_eq!(reply.headers["content-type"], "text/event-stream; charset=utf-8");
        let text = reply.text();
        assert!(text.ends_with("data: [DONE]\n\n"));
        let events = events(&text);
        let (last, others) = events.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert!(others.iter().all(|event| event.get("usage") == Some(&Value::Null)));
        let received: u64 = (0..choices).map(|index| tokens(&chat_text(&events, index))).sum();
        assert_eq!(last["usage"]["completion_tokens"], received);
        assert_eq!(last["usage"]["prompt_tokens"], recount(&body["messages"]));
        assert_eq!(provider.books_now().last().unwrap().completion_tokens, received);
    }
}

#[tokio::test]
async fn a_stream_says_nothing_of_usage_unless_asked() {
    let provider = Running::start();
    for options in [json!({}), json!({"include_usage": false}), json!({"include_usage": null})] {
        let body = with(chat("hi"), json!({"stream": true, "stream_options": options}));

        let text = provider.post(CHAT, &body, "").await.text();

        assert!(!text.contains("usage"), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn most_chunks_are_one_token_and_all_are_valid_text() {
    let provider = Running::start();
    let reply = provider.post(CHAT, &chat_stream("你好，请写一首诗"), "tokens=300").await.text();

    let entry = provider.books_now().pop().unwrap();

    assert_eq!(entry.completion_tokens, 300);
    assert!(entry.chunks_sent > 200, "{} chunks", entry.chunks_sent);
    let pieces = events(&reply).iter().filter(|event| has_text(event)).count() as u64;
    assert_eq!(pieces, entry.chunks_sent);
}

fn has_text(event: &Value) -> bool {
    event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
}

#[tokio::test]
async fn a_limit_cuts_the_reply_and_says_so() {
    let provider = Running::start();
    for (limit, expected, finish) in [
        (json!({"max_tokens": 7}), 7, "length"),
        (json!({"max_completion_tokens": 3, "max_tokens": 9}), 3, "length"),
        (json!({"max_tokens": 50}), 40, "stop"),
        (json!({"max_tokens": null}), 40, "stop"),
    ] {
        let reply = provider.post(CHAT, &with(chat("hi"), limit), "tokens=40").await.json();

        assert_eq!(reply["usage"]["completion_tokens"], expected);
        assert_eq!(reply["choices"][0]["finish_reason"], finish);
    }
}

#[tokio::test]
async fn reasoning_models_bill_tokens_that_are_not_shown() {
    let provider = Running::start();
    for model in ["o3-mini", "gpt-5", "deepseek-reasoner"] {
        let body = with(chat_stream("think"), json!({"model": model}));

        let reply = provider.post(CHAT, &body, "tokens=80").await.text();

        let events = events(&reply);
        let usage = &events.last().unwrap()["usage"];
        let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
        assert!(reasoning > 0);
        assert_eq!(usage["completion_tokens"], 80);
        assert_eq!(tokens(&chat_text(&events, 0)) + reasoning, 80);
        assert_eq!(provider.books_now().last().unwrap().reasoning_tokens, reasoning);
    }
}

#[tokio::test]
async fn the_default_length_is_20_to_200_tokens_and_follows_from_seed_model_and_messages() {
    let first = Running::start();
    let same = Running::start();
    let other = Running::start_with(SimulatorConfig { seed: 1, ..SimulatorConfig::default() });
    let ask = |question: &str| chat(question);
    let mut texts = Vec::new();
    for question in ["one", "two", "three"] {
        let reply = first.post(CHAT, &ask(question), "").await.json();
        let again = same.post(CHAT, &ask(question), "").await.json();
        let differs = other.post(CHAT, &ask(question), "").await.json();

        let length = reply["usage"]["completion_tokens"].as_u64().unwrap();
        assert!((20..=200).contains(&length));
        assert_eq!(reply["choices"], again["choices"]);
        assert_ne!(reply["choices"], differs["choices"]);
        assert_ne!(reply["id"], again["id"]);
        texts.push(reply["choices"][0]["message"]["content"].clone());
    }
    texts.dedup();
    assert_eq!(texts.len(), 3);
}

#[tokio::test]
async fn completions_take_one_prompt_or_several_and_count_them_plainly() {
    let provider = Running::start();
    let cases = [
        (json!("Once upon a time"), 1, tokens("Once upon a time")),
        (json!(["one two", "three"]), 2, tokens("one two") + tokens("three")),
        (json!([1, 2, 3]), 1, 3),
    ];
    for (prompt, choices, expected) in cases {
        let body = json!({"model": "davinci", "prompt": prompt, "max_tokens": 9});

        let reply = provider.post("/v1/completions", &body, "").await.json();
        let streamed =
            with(body, json!({"stream": true, "stream_options": {"include_usage": true}}));
        let stream = events(&provider.post("/v1/completions", &streamed, "").await.text());

        assert_eq!(reply["choices"].as_array().unwrap().len(), choices);
        assert_eq!(reply["usage"]["prompt_tokens"], expected);
        assert_eq!(stream.last().unwrap()["usage"], reply["usage"]);
        for (index, choice) in reply["choices"].as_array().unwrap().iter().enumerate() {
            let text = choice["text"].as_str().unwrap();
            assert_eq!(tokens(text), 9);
            let choices = stream.iter().flat_map(|event| event["choices"].as_array().unwrap());
            let of_index = choices.filter(|choice| choice["index"] == index);
            let joined: String = of_index.map(|choice| choice["text"].as_str().unwrap()).collect();
            assert_eq!(joined, text);
        }
    }
}

#[tokio::test]
async fn embeddings_are_the_same_as_numbers_and_as_base64() {
    let provider = Running::start();
    let body = json!({"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8});
    let path = "/v1/embeddings";

    let numbers = provider.post(path, &body, "").await.json();
    let packed = provider.post(path, &with(body, json!({"encoding_format": "base64"})), "").await;

    let packed = packed.json();
    assert_eq!(numbers["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    assert_eq!(packed["usage"], numbers["usage"]);
    for index in 0..2 {
        let bytes = STANDARD.decode(packed["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let unpacked: Vec<f32> =
            bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        let listed: Vec<f32> =
            serde_json::from_value(numbers["data"][index]["embedding"].clone()).unwrap();
        assert_eq!(unpacked.len(), 8);
        assert_eq!(unpacked, listed);
    }
    let entry = provider.books_now().pop().unwrap();
    assert_eq!((entry.prompt_tokens, entry.completion_tokens), (2, 0));
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_who_asks() {
    let provider = Running::start();

    let openai = provider.get("/v1/models").await.json();
    let anthropic = provider.get("/anthropic/v1/models").await.json();
    let one = provider.get("/v1/models/anything/at-all").await.json();

    assert_eq!(openai["object"], "list");
    assert!(openai["data"].as_array().unwrap().iter().any(|model| model["id"] == "ERNIE-Bot"));
    assert_eq!(anthropic["has_more"], false);
    assert_eq!(one["id"], "anything/at-all");
    assert!(provider.books_now().is_empty(), "listings are not billed");
}
