//! Replies in every framing that providers use reach the client unchanged and are billed as the
//! provider's own books say.

use std::{net::SocketAddr, path::Path, time::Duration};

use permille_simulator::BookEntry;
use permille_types::{Ended, Family, Source};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{
    World, ask, chat, message, read_all,
    scripted::{Scripted, Step, stream},
    upstream, world_of,
};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_framing_and_place_of_usage_is_billed_as_the_books_say() {
    let world = World::start().await;
    let (mut done, mut compared) = (0, 0);
    for (control, stream) in [
        ("crlf=1", true),
        ("comments=1", true),
        ("crlf=1,comments=1,split=1", true),
        ("coalesce=1", true),
        ("bigline=200000", true),
        ("gzip=1", true),
        ("gzip=1,split=1", true),
        ("gzip=1", false),
        ("usage=every_chunk", true),
        ("usage=finish_chunk", true),
        ("tool=1", true),
        ("tool=1", false),
    ] {
        for (path, ask) in [(CHAT, chat(control, stream)), (MESSAGES, message(control, stream))] {
            let response = world.post(path, &ask).await;
            let (head, body) = response.into_parts();
            let bytes = read_all(body).await;
            done += 1;
            if head.status == 400 {
                continue; // Not every control is for every family.
            }
            assert_eq!(head.status, 200, "{path} {control}");
            assert!(bytes.is_some(), "{path} {control} broke off");
            let row = world.row_of(&head.headers).await;
            let books = world.books(done).await;
            let of_row = |book: &&BookEntry| Some(&book.id) == row.attempts[0].provider_id.as_ref();
            let book = books.iter().find(of_row).unwrap_or_else(|| panic!("{control}: {row:?}"));
            assert_eq!((row.ended, row.source), (Ended::Complete, Source::Reported), "{control}");
            assert_eq!(row.input_total, Some(book.prompt_tokens), "{path} {control}");
            assert_eq!(row.output_total, Some(book.completion_tokens), "{path} {control}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "only {compared} replies compared");
}

/// A recorded reply: its bytes as they came, the body alone, and what must be counted.
struct Recorded {
    name: String,
    http: Vec<u8>,
    body: Vec<u8>,
    expected: Option<Value>,
}

fn recorded(family: &str) -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../usage/tests/fixtures").join(family);
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let Some(name) = path.to_str().unwrap().strip_suffix(".response.http") else { continue };
        let http = std::fs::read(&path).unwrap();
        let end = http.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let expected = std::fs::read(format!("{name}.expected.json")).ok();
        found.push(Recorded {
            name: name.to_owned(),
            body: http[end..].to_vec(),
            http,
            expected: expected.map(|json| serde_json::from_slice(&json).unwrap()),
        });
    }
    assert!(!found.is_empty(), "no recorded replies of {family}");
    found
}

/// An upstream that answers each request with the next reply, in writes of `piece` bytes.
async fn replaying(replies: Vec<Vec<u8>>, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for reply in replies {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let mut request = vec![0; 65_536];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            for bytes in reply.chunks(piece) {
                socket.write_all(bytes).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_reply_passes_the_gateway_unchanged_and_is_billed_as_expected() {
    let asks_for_usage = json!({"include_usage": true});
    for (family, folder, path, stream_options) in [
        (Family::OpenAi, "openai-chat", CHAT, Some(&asks_for_usage)),
        (Family::OpenAi, "openai-completions", "/v1/completions", Some(&asks_for_usage)),
        (Family::OpenAi, "openai-embeddings", "/v1/embeddings", None),
        (Family::Anthropic, "anthropic-messages", MESSAGES, None),
    ] {
        for piece in [11, 4_096] {
            let replies = recorded(folder);
            let sent = replies.iter().map(|reply| reply.http.clone()).collect();
            let address = replaying(sent, piece).await;
            let base = if path.starts_with("/v1") { "/v1" } else { "" };
            let world = World::with(|setup| {
                let url = format!("http://{address}{base}");
                setup.config.upstreams = vec![upstream("recorded", family, url)];
            })
            .await;
            for reply in &replies {
                let stream = reply.name.contains("stream") && !reply.name.contains("nonstream");
                let mut ask = json!({
                    "model": if family == Family::OpenAi { "gpt-4o-mini" } else { "claude-sonnet-4-5" },
                    "stream": stream, "max_tokens": 64,
                    "messages": [{"role": "user", "content": "Name the river."}],
                });
                if let (true, Some(options)) = (stream, stream_options) {
                    ask["stream_options"] = options.clone();
                }
                let response = world.post(path, &ask).await;
                let (head, body) = response.into_parts();
                let bytes = read_all(body).await;

                let row = world.row_of(&head.headers).await;
                let name = &reply.name;
                if let Some(bytes) = bytes {
                    assert_eq!(bytes, reply.body, "{name} in pieces of {piece}");
                } else {
                    assert_eq!(row.ended, Ended::UpstreamError, "{name} broke off");
                }
                let Some(expected) = &reply.expected else { continue };
                assert_eq!(row.source.as_str(), expected["source"], "{name}: {row:?}");
                for (total, key) in
                    [(row.input_total, "input_total"), (row.output_total, "output_total")]
                {
                    if expected[key].is_u64() {
                        assert_eq!(total, expected[key].as_u64(), "{name}: {key}");
                    }
                }
            }
        }
    }
}

/// A reply whose end is the end of its connection, cut before its own end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_only_its_connection_ends_is_not_whole_when_its_own_end_is_missing() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
                  data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"The Ni\"}}]}\n\n";
    let document = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\
                    {\"id\":\"c\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"The Ni";
    for (reply, streamed) in [(stream, true), (document, false)] {
        let address = replaying(vec![reply.as_bytes().to_vec()], 4_096).await;
        let world = World::with(|setup| {
            setup.config.upstreams =
                vec![upstream("cut", Family::OpenAi, format!("http://{address}/v1"))];
        })
        .await;

        let (head, body) = world.post(CHAT, &chat("", streamed)).await.into_parts();
        let read = tokio::time::timeout(Duration::from_mins(1), read_all(body)).await.unwrap();

        assert!(read.is_none(), "a truncated reply ended as if it were whole: {read:?}");
        let row = world.row_of(&head.headers).await;
        assert_eq!(row.ended, Ended::UpstreamError);
        assert!(row.output_total.unwrap() > 0, "what was delivered is billed: {row:?}");
    }
}

/// Streams that HTTP calls whole and that lack their own end, running counts in them or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lacks_its_own_end_does_not_end_as_if_it_were_whole() {
    let world = World::start().await;
    let mut done = 0;
    for (path, ask) in [
        (CHAT, chat("tokens=30,end_after=6", true)),
        (CHAT, chat("tokens=30,end_after=6,usage=every_chunk", true)),
        (MESSAGES, message("tokens=30,end_after=6", true)),
    ] {
        let (head, body) = world.post(path, &ask).await.into_parts();
        let read = read_all(body).await;
        done += 1;

        assert_eq!(head.status, 200);
        assert!(read.is_none(), "{ask}: a truncated stream ended as if it were whole: {read:?}");
        let row = world.row_of(&head.headers).await;
        assert_eq!(row.ended, Ended::UpstreamError, "{ask}: {row:?}");
        assert_ne!(row.source, Source::Reported, "{ask}: {row:?}");
        let books = world.books(done).await;
        let of_row = |book: &&BookEntry| Some(&book.id) == row.attempts[0].provider_id.as_ref();
        let delivered = books.iter().find(of_row).unwrap().completion_tokens;
        assert!(row.output_total.unwrap() >= delivered.min(6), "{ask}: {row:?}");
    }
}

/// Servers that say why they stopped, and no more: HTTP says that this was all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_with_a_reason_to_stop_is_passed_on_whole() {
    let text = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile"}}],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}"#;
    let last = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let upstream = Scripted::start([stream(&[text, last], true)]).await;
    let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

    let asked = ask(&world, &chat("", true)).await;

    assert_eq!(asked.body, format!("data: {text}\n\ndata: {last}\n\n"));
    let rows = world.rows(1).await;
    assert_eq!((rows[0].ended, rows[0].source), (Ended::Complete, Source::Reported));
    assert_eq!(rows[0].output_total, Some(2), "told before the reason to stop, and whole with it");
}

/// Servers forget the type of a stream, or call it something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_whatever_its_type_says() {
    let text = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile"}}]}"#;
    let usage = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}"#;
    let said = |lines: &[&str], kind: &str| {
        let Step::Say(said) = stream(lines, true) else { unreachable!() };
        let said = String::from_utf8(said).unwrap();
        Step::Say(said.replace("content-type: text/event-stream\r\n", kind).into_bytes())
    };
    for kind in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/json\r\n",
        "content-type: application/octet-stream\r\n",
        "content-type: text/event-stream, text/event-stream\r\n",
    ] {
        let (whole, cut) = (said(&[text, usage, "[DONE]"], kind), said(&[text], kind));
        let upstream = Scripted::start([whole, cut]).await;
        let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

        let asked = ask(&world, &chat("", true)).await;
        let broken = ask(&world, &chat("", true)).await;

        assert_eq!(asked.body, format!("data: {text}\n\ndata: [DONE]\n\n"), "{kind}");
        let row = asked.row;
        assert_eq!((row.ended, row.source), (Ended::Complete, Source::Reported), "{kind}");
        assert_eq!((row.input_total, row.output_total), (Some(8), Some(2)), "{kind}");
        assert_eq!((broken.row.ended, &*broken.body), (Ended::UpstreamError, ""), "{kind}");
        assert_eq!(broken.row.output_total, Some(2), "{kind}");
    }
}

/// Such as the usage of a provider that tells it last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_the_end_in_its_frame_stays_behind_it() {
    let both = "[DONE]\n\ndata: {\"more\":1}";
    let upstream = Scripted::start([stream(&[both], true)]).await;
    let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

    let asked = ask(&world, &chat("", true)).await;

    assert_eq!(asked.body, format!("data: {both}\n\n"));
}
