//! Every fault does on the wire what it says.

use std::io::Read;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use permille_simulator::Ended;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::support::{
    CHAT, DEADLINE, MESSAGES, Running, chat, chat_stream, chat_text, events, message,
    message_stream, message_text, tokens, until, with,
};

/// Both streamed shapes: path, body, what opens an event with a piece, what ends a whole stream.
fn shapes() -> [(&'static str, Value, &'static str, &'static str); 2] {
    [
        (CHAT, chat_stream("hello"), "\"delta\":{\"content\":\"", "data: [DONE]\n\n"),
        (MESSAGES, message_stream("hello"), "\"text_delta\"", "{\"type\":\"message_stop\"}\n\n"),
    ]
}

/// Events with a piece of text; OpenAI's opening event has an empty one after its role.
fn pieces(text: &str, marker: &str) -> usize {
    text.matches(marker).count()
}

#[tokio::test]
async fn cut_after_resets_the_connection_in_mid_stream() {
    let provider = Running::start();
    for (path, body, piece, terminal) in shapes() {
        let wire = provider.wire(path, &body, "cut_after=3").await;

        assert!(wire.reset, "a reset, not an ordinary close");
        assert!(!wire.is_whole());
        assert_eq!(pieces(&wire.text(), piece), 3);
        assert!(!wire.text().contains(terminal));
        let entry = provider.books_now().pop().unwrap();
        assert_eq!((entry.ended, entry.chunks_sent), (Ended::Fault, 3));
        assert_eq!(entry.fault.as_deref(), Some("cut_after=3"));
    }
}

#[tokio::test]
async fn end_after_ends_the_body_cleanly_without_the_terminal_event() {
    let provider = Running::start();
    for (path, body, piece, terminal) in shapes() {
        let wire = provider.wire(path, &body, "end_after=2").await;

        assert!(wire.is_whole() && !wire.reset);
        assert_eq!(pieces(&wire.text(), piece), 2);
        assert!(!wire.text().contains(terminal.trim_end()));
        assert_eq!(provider.books_now().pop().unwrap().ended, Ended::Fault);
    }
}

#[tokio::test]
async fn error_after_sends_an_error_event_and_ends() {
    let provider = Running::start();
    for (path, body, piece, terminal) in shapes() {
        let text = provider.post(path, &body, "error_after=2").await.text();

        let events = events(&text);
        assert!(events.last().unwrap()["error"]["message"].is_string());
        assert_eq!(pieces(&text, piece), 2);
        assert!(!text.contains(terminal.trim_end()));
        assert_eq!(provider.books_now().pop().unwrap().ended, Ended::Fault);
    }
}

#[tokio::test]
async fn garble_after_breaks_one_event_and_goes_on() {
    let provider = Running::start();
    for (path, body, _, terminal) in shapes() {
        let reply = provider.post(path, &body, "garble_after=2,tokens=9").await;

        assert!(std::str::from_utf8(&reply.body).is_err());
        let lossy = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(lossy.ends_with(terminal));
        let data = lossy.split("\n\n").filter_map(|event| event.split_once("data: "));
        let broken = data
            .filter(|(_, data)| *data != "[DONE]")
            .filter(|(_, data)| serde_json::from_str::<Value>(data).is_err());
        assert_eq!(broken.count(), 1);
        let entry = provider.books_now().pop().unwrap();
        assert_eq!((entry.ended, entry.completion_tokens), (Ended::Complete, 9));
    }
}

#[tokio::test]
async fn stall_after_keeps_the_connection_open_and_books_when_the_client_leaves() {
    let provider = Running::start();
    for (index, (path, body, piece, _)) in shapes().into_iter().enumerate() {
        let mut socket = provider.dial(path, &body, "stall_after=2").await;
        let mut seen = String::new();
        let reading = async {
            let mut buffer = [0; 4096];
            while pieces(&seen, piece) < 2 {
                let count = socket.read(&mut buffer).await.unwrap();
                assert_ne!(count, 0, "still open");
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.unwrap();

        assert_eq!(provider.books_now().len(), index, "nothing is booked while it stalls");
        assert_eq!(provider.stats().await.streams_open, 1);
        drop(socket);

        let entry = provider.booked(index + 1).await.pop().unwrap();
        assert_eq!((entry.ended, entry.chunks_sent), (Ended::ClientGone, 2));
    }
}

#[tokio::test]
async fn whole_replies_can_be_cut_and_stalled_in_the_middle() {
    let provider = Running::start();
    for (path, body) in [(CHAT, chat("hello")), (MESSAGES, message("hello"))] {
        let wire = provider.wire(path, &body, "cut_after=1").await;

        let text = wire.text();
        let (head, half) = text.split_once("\r\n\r\n").unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        assert!(wire.reset);
        assert_eq!(half.len(), length / 2);
        assert_eq!(provider.books_now().pop().unwrap().ended, Ended::Fault);
    }
}

#[tokio::test]
async fn an_asked_for_status_comes_in_the_shape_of_the_provider_and_costs_nothing() {
    let provider = Running::start();
    let openai = [
        (400, "invalid_request_error"),
        (401, "invalid_request_error"),
        (429, "requests"),
        (500, "server_error"),
        (503, "server_error"),
    ];
    let anthropic = [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ];
    let openai = openai.map(|(status, kind)| (CHAT, chat_stream("hi"), status, kind));
    let anthropic = anthropic.map(|(status, kind)| (MESSAGES, message("hi"), status, kind));
    for (path, body, status, kind) in openai.into_iter().chain(anthropic) {
        let reply = provider.post(path, &body, &format!("status={status}")).await;

        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(reply.json()["error"]["type"], kind);
        assert_eq!(reply.headers.contains_key("retry-after"), matches!(status, 429 | 503 | 529));
        let entry = provider.books_now().pop().unwrap();
        assert_eq!((entry.status, entry.prompt_tokens, entry.completion_tokens), (status, 0, 0));
        assert_eq!(entry.ended, Ended::Fault);
    }
}

#[tokio::test]
async fn a_failure_can_hold_for_the_first_tries_only() {
    let provider = Running::start();
    for (path, body) in [(CHAT, chat("hi")), (MESSAGES, message("hi"))] {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let reply = provider.post(path, &body, "status=503,times=2").await;
            statuses.push(reply.status.as_u16());
        }

        assert_eq!(statuses, [503, 503, 200, 200]);
    }
}

#[tokio::test]
async fn drop_resets_the_connection_before_any_reply() {
    let provider = Running::start();

    let dropped = provider.wire(CHAT, &chat("hi"), "drop=1,times=1").await;
    let answered = provider.wire(CHAT, &chat("hi"), "drop=1,times=1").await;

    assert!(dropped.reset && dropped.bytes.is_empty());
    assert!(answered.text().starts_with("HTTP/1.1 200 OK"));
    let entries = provider.books_now();
    assert_eq!((entries[0].ended, entries[0].status), (Ended::Fault, 499));
    assert_eq!(entries[0].prompt_tokens, 0);
    assert_eq!(entries[1].ended, Ended::Complete);
}

#[tokio::test]
async fn error200_answers_a_stream_request_with_a_json_error() {
    let provider = Running::start();
    for (path, body, ..) in shapes() {
        let reply = provider.post(path, &body, "error200=1").await;

        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "application/json");
        assert!(reply.json()["error"].is_object());
        assert_eq!(provider.books_now().pop().unwrap().prompt_tokens, 0);
    }
}

#[tokio::test]
async fn usage_can_be_withheld_zeroed_repeated_early_and_wrong() {
    let provider = Running::start();
    let stream = async |control: &str| {
        let control = format!("tokens=6,usage={control}");
        events(&provider.post(CHAT, &chat_stream("hi"), &control).await.text())
    };

    let none = stream("none").await;
    let zero = stream("zero").await;
    let every = stream("every_chunk").await;
    let finish = stream("finish_chunk").await;
    let wrong = stream("wrong_total").await;

    assert!(none.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(zero.last().unwrap()["usage"]["completion_tokens"], 0);
    let told: Vec<u64> =
        every.iter().map(|event| event["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert!(told.is_sorted() && told.first() == Some(&0) && told.last() == Some(&6));
    let last = finish.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"]["completion_tokens"], 6);
    let whole = async |control: &str| provider.post(CHAT, &chat("hi"), control).await.json();
    assert!(whole("usage=none").await.get("usage").is_none());
    for reply in [wrong.last().unwrap(), &whole("usage=wrong_total").await] {
        let usage = |part: &str| reply["usage"][part].as_u64().unwrap();
        let parts = usage("prompt_tokens") + usage("completion_tokens");
        assert_eq!(usage("total_tokens"), parts + 1);
    }
    let booked: Vec<u64> =
        provider.books_now().iter().take(5).map(|entry| entry.completion_tokens).collect();
    assert_eq!(booked, [6, 6, 6, 6, 6], "the books always tell the truth");
}

#[tokio::test]
async fn anthropic_usage_can_be_withheld_zeroed_repeated_and_late() {
    let provider = Running::start();
    let stream = async |control: &str| {
        let control = format!("tokens=6,usage={control}");
        events(&provider.post(MESSAGES, &message_stream("hi"), &control).await.text())
    };

    let none = stream("none").await;
    let zero = stream("zero").await;
    let every = stream("every_chunk").await;
    let late = stream("finish_chunk").await;

    assert!(!json!(none).to_string().contains("usage"));
    let last = |events: &[Value]| events[events.len() - 2]["usage"].clone();
    assert_eq!(last(&zero)["output_tokens"], 0);
    let deltas = every.iter().filter(|event| event["type"] == "message_delta");
    let told: Vec<u64> =
        deltas.map(|event| event["usage"]["output_tokens"].as_u64().unwrap()).collect();
    assert!(told.is_sorted() && told.len() > 5 && told.last() == Some(&6));
    assert_eq!(late[0]["message"]["usage"]["input_tokens"], 0);
    assert!(last(&late)["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn gzip_compresses_streams_event_by_event_and_whole_replies() {
    let provider = Running::start();
    let inflate = |body: &[u8]| {
        let mut text = String::new();
        GzDecoder::new(body).read_to_string(&mut text).unwrap();
        text
    };
    for (path, body, _, terminal) in shapes() {
        let reply = provider.post(path, &body, "gzip=1").await;

        assert_eq!(reply.headers["content-encoding"], "gzip");
        assert!(inflate(&reply.body).ends_with(terminal));
    }
    let mut partial = provider.open(CHAT, &chat_stream("hi"), "gzip=1,stall_after=2").await;
    let mut received = Vec::new();
    let mut seen = String::new();
    while pieces(&seen, "\"delta\":{\"content\":\"") < 2 {
        let frame = tokio::time::timeout(DEADLINE, partial.body_mut().frame()).await.unwrap();
        received.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
        seen.clear();
        GzDecoder::new(&received[..]).read_to_string(&mut seen).unwrap_err();
    }

    let whole = provider.post(CHAT, &chat("hi"), "gzip=1,tokens=5").await;
    let whole: Value = serde_json::from_str(&inflate(&whole.body)).unwrap();
    assert_eq!(whole["usage"]["completion_tokens"], 5);
}

#[tokio::test]
async fn line_ends_and_comments_change_the_framing_only() {
    let provider = Running::start();
    for (path, body, ..) in shapes() {
        let plain = provider.post(path, &body, "").await.text();
        let crlf = provider.post(path, &body, "crlf=1").await.text();
        let comments = provider.post(path, &body, "comments=1").await.text();

        let text = |body: &str| format!("{}{}", chat_text_any(body), message_text(&events(body)));
        assert!(!crlf.replace("\r\n", "").contains('\n'));
        assert_eq!(text(&crlf.replace("\r\n", "\n")), text(&plain));
        assert!(comments.contains("\n\n: keep-alive\n\n"));
        assert_eq!(text(&comments), text(&plain));
    }
}

fn chat_text_any(body: &str) -> String {
    let chunks: Vec<Value> =
        events(body).into_iter().filter(|event| event["choices"].is_array()).collect();
    chat_text(&chunks, 0)
}

#[tokio::test]
async fn coalesce_writes_once_and_split_writes_at_odd_places() {
    let provider = Running::start();
    let body = chat_stream("请说中文");
    let plain = provider.wire(CHAT, &body, "tokens=40").await;
    let once = provider.wire(CHAT, &body, "tokens=40,coalesce=1").await;
    let split = provider.wire(CHAT, &body, "tokens=40,split=1").await;

    let chunks = |wire: &[u8]| chunk_sizes(wire).len();
    assert_eq!(chunks(&once.bytes), 1);
    assert!(chunks(&plain.bytes) > 20);
    let sizes = chunk_sizes(&split.bytes);
    assert!(sizes.iter().all(|size| size % 2 == 1 || *size < 32), "{sizes:?}");
    assert!(sizes.contains(&1) && sizes.len() > chunks(&plain.bytes));
    assert!(split.reads.len() > plain.reads.len());
    for wire in [&plain, &once, &split] {
        assert_eq!(tokens(&chat_text_any(&dechunk(&wire.bytes))), 40);
    }
}

/// The chunked body of a response as it was sent: the content of each chunk.
fn chunks(wire: &[u8]) -> Vec<&[u8]> {
    let head = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut rest = &wire[head..];
    let mut chunks = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return chunks;
        }
        chunks.push(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

fn chunk_sizes(wire: &[u8]) -> Vec<usize> {
    chunks(wire).into_iter().map(<[u8]>::len).collect()
}

fn dechunk(wire: &[u8]) -> String {
    String::from_utf8(chunks(wire).concat()).unwrap()
}

#[tokio::test]
async fn bigline_sends_one_line_of_that_size_and_no_tokens_more() {
    let provider = Running::start();
    for (path, body, ..) in shapes() {
        let text = provider.post(path, &body, "bigline=300000,tokens=4").await.text();

        let longest = text.lines().map(str::len).max().unwrap();
        assert_eq!(longest, 300_000);
        assert_eq!(provider.books_now().pop().unwrap().completion_tokens, 4);
    }
}

#[tokio::test]
async fn pace_holds_back_the_head_the_first_piece_and_the_others() {
    let provider = Running::start();
    let body = with(chat_stream("hi"), json!({"user": "simulate:tokens=4"}));
    for (control, least_ms) in [("slow_head_ms=60", 60), ("first_ms=60", 60), ("chunk_ms=20", 60)] {
        let begun = std::time::Instant::now();
        let text = provider.post(CHAT, &body, control).await.text();

        assert!(text.ends_with("data: [DONE]\n\n"));
        assert!(begun.elapsed().as_millis() >= least_ms, "{control}");
    }
}

#[tokio::test]
async fn a_message_can_carry_controls_where_headers_do_not_pass() {
    let provider = Running::start();

    let chat_reply = provider.post(CHAT, &chat("simulate:tokens=11 and the question"), "").await;
    let message_reply = provider.post(MESSAGES, &message("simulate:status=529"), "").await;
    let user = with(message("hi"), json!({"metadata": {"user_id": "simulate:tokens=2"}}));
    let by_user = provider.post(MESSAGES, &user, "").await.json();

    assert_eq!(chat_reply.json()["usage"]["completion_tokens"], 11);
    assert_eq!(message_reply.status.as_u16(), 529);
    assert_eq!(by_user["usage"]["output_tokens"], 2);
    until("the reply is booked", || provider.books_now().len() == 3).await;
}
