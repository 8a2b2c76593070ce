//! The books equal what was sent, on every ending.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use permille_simulator::{BookTotals, Ended, Pace, SimulatorConfig};
use serde_json::{Value, json};

use crate::support::{
    CHAT, DEADLINE, MESSAGES, Running, chat, chat_stream, chat_text, events, message_stream,
    message_text, tokens, until, with,
};

/// Reads events until `enough` of the body so far.
async fn read_until(
    body: &mut hyper::body::Incoming,
    mut enough: impl FnMut(&str) -> bool,
) -> String {
    let mut seen = String::new();
    let reading = async {
        while !enough(&seen) {
            let frame = body.frame().await.expect("not over yet").unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    seen
}

#[tokio::test]
async fn the_line_is_written_before_the_terminal_event_arrives() {
    let provider = Running::start();
    let terminals = [
        (CHAT, chat_stream("hi"), "data: [DONE]"),
        (MESSAGES, message_stream("hi"), "event: message_stop"),
    ];
    for (index, (path, body, terminal)) in terminals.into_iter().enumerate() {
        let mut reply = provider.open(path, &body, "chunk_ms=1").await.into_body();

        read_until(&mut reply, |seen| seen.contains(terminal)).await;

        assert_eq!(provider.books_now().len(), index + 1);
    }
}

#[tokio::test]
async fn an_abort_books_exactly_what_was_generated_until_then() {
    let pace = Pace { per_chunk: Duration::from_millis(3), ..Pace::INSTANT };
    let provider = Running::start_with(SimulatorConfig { pace, ..SimulatorConfig::default() });
    for pieces in [1_usize, 5, 12] {
        let before = provider.books_now().len();
        let mut reply =
            provider.open(CHAT, &chat_stream("tell me more"), "tokens=200").await.into_body();
        let seen = read_until(&mut reply, |seen| seen.matches("\"content\":\"").count() > pieces);
        let delivered = tokens(&chat_text(&events(&seen.await), 0));
        drop(reply);

        let entry = provider.booked(before + 1).await.pop().unwrap();

        assert_eq!(entry.ended, Ended::ClientGone);
        assert_eq!(entry.status, 200);
        assert!(entry.completion_tokens >= delivered);
        assert!(entry.completion_tokens < 200);
        assert!(entry.prompt_tokens > 0);
    }
    until("no stream is left open", || provider.books_now().len() == 3).await;
    assert_eq!(provider.stats().await.streams_open, 0);
}

#[tokio::test]
async fn leaving_before_the_first_piece_costs_the_prompt_alone() {
    let provider = Running::start();
    let streamed = provider.open(CHAT, &chat_stream("hi"), "first_ms=60000").await;
    drop(streamed);
    let first = provider.booked(1).await.pop().unwrap();
    let socket = provider.dial(CHAT, &chat("hi"), "first_ms=60000").await;
    until("the request is being answered", || provider.books_now().len() == 1).await;
    wait_for_requests(&provider, 2).await;
    drop(socket);
    let second = provider.booked(2).await.pop().unwrap();

    assert_eq!((first.prompt_tokens, first.completion_tokens), (8, 0));
    assert_eq!(first.ended, Ended::ClientGone);
    assert_eq!(second.ended, Ended::ClientGone);
    assert_eq!(second.completion_tokens, 0);
}

async fn wait_for_requests(provider: &Running, requests: u64) {
    let waiting = async { while provider.stats().await.requests < requests {} };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_whole_reply_that_nobody_waited_for_is_billed_as_far_as_it_got() {
    let provider = Running::start();
    let mut body = chat("hi");
    body["user"] = json!("simulate:tokens=5000");

    // Where the machine is busy, the prompt is counted for long: who leaves meanwhile has got
    // nothing, and the next one stays longer.
    let mut stay = Duration::from_millis(200);
    let mut left = 0;
    let entry = loop {
        let socket = provider.dial(CHAT, &body, "chunk_ms=50").await;
        left += 1;
        wait_for_requests(&provider, left).await;
        let begun = Instant::now();
        until("a few pieces are generated", || begun.elapsed() > stay).await;
        drop(socket);
        let entry = provider.booked(usize::try_from(left).unwrap()).await.pop().unwrap();
        assert_eq!(entry.ended, Ended::ClientGone);
        if entry.completion_tokens > 0 {
            break entry;
        }
        stay *= 2;
        assert!(stay < DEADLINE, "nothing is billed of what was generated in {stay:?}");
    };

    assert!(entry.completion_tokens < 5_000, "{}", entry.completion_tokens);
    assert!(!entry.streamed);
}

#[tokio::test]
async fn every_complete_reply_is_booked_with_what_its_client_saw() {
    let provider = Running::start();
    let mut seen = Vec::new();
    for index in 0..6 {
        let question = format!("question {index}");
        let (id, text, model) = if index % 2 == 0 {
            let body = chat_stream(&question);
            let events = events(&provider.post(CHAT, &body, "").await.text());
            (events[0]["id"].clone(), chat_text(&events, 0), "gpt-4o")
        } else {
            let body = message_stream(&question);
            let events = events(&provider.post(MESSAGES, &body, "").await.text());
            (events[0]["message"]["id"].clone(), message_text(&events), "claude-sonnet-4-5")
        };
        seen.push((id, tokens(&text), model));
    }

    let entries = provider.booked(6).await;
    let totals: BookTotals =
        serde_json::from_slice(&provider.get("/simulator/books").await.body).unwrap();

    for ((id, completion, model), entry) in seen.iter().zip(&entries) {
        assert_eq!(Value::from(entry.id.as_str()), *id);
        assert_eq!(entry.completion_tokens, *completion);
        assert_eq!(entry.model.as_deref(), Some(*model));
        assert_eq!(entry.ended, Ended::Complete);
    }
    let sum: u64 = seen.iter().map(|(_, completion, _)| completion).sum();
    assert_eq!(totals.total.completion_tokens, sum);
    assert_eq!((totals.total.requests, totals.total.served), (6, 6));
    assert_eq!(totals.models["gpt-4o"].requests, 3);
}

#[tokio::test]
async fn a_shutdown_lets_replies_end_and_books_those_that_do_not() {
    let mut provider = Running::start();
    let quick = provider.open(CHAT, &chat_stream("hi"), "tokens=30,chunk_ms=5").await;
    let stuck = provider.open(CHAT, &chat_stream("hi"), "stall_after=4").await;
    let reading = tokio::spawn(quick.into_body().collect());

    provider.stop().await;

    let body = reading.await.unwrap().unwrap().to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    let entries = provider.books_now();
    assert_eq!(entries[0].ended, Ended::Complete);
    assert_eq!((entries[1].ended, entries[1].chunks_sent), (Ended::Shutdown, 4));
    drop(stuck);
}

#[tokio::test]
async fn refused_requests_are_booked_with_nothing() {
    let provider = Running::start();
    let bad = with(chat("hi"), json!({"messages": []}));

    provider.post(CHAT, &bad, "").await;

    let entry = provider.books_now().pop().unwrap();
    assert_eq!((entry.status, entry.ended), (400, Ended::Complete));
    assert_eq!((entry.prompt_tokens, entry.completion_tokens), (0, 0));
}
