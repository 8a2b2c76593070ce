//! What is different over HTTP/2: many requests share a connection, and each may end by itself.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use permille_types::{Ended, Family, Source};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::support::{KEY, World, chat, client, message, read_all, read_events, upstream};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
/// How long a reply may take that nothing holds up.
const PATIENCE: Duration = Duration::from_mins(1);

type Http2 = Client<HttpConnector, Full<Bytes>>;

async fn ask(world: &World, client: &Http2, path: &str, body: &Value) -> Response<Incoming> {
    let request = Request::post(world.url(path)).header("x-api-key", KEY);
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    client.request(request).await.unwrap()
}

/// Aborts after each number of events from none to all of them; the connection stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_reset_after_any_event_is_one_row_with_the_books_totals() {
    for (path, body) in [
        (CHAT, chat("tokens=10,chunk_ms=30", true)),
        (MESSAGES, message("tokens=10,chunk_ms=30", true)),
    ] {
        let world = World::start().await;
        let client = client(true);
        let whole = ask(&world, &client, path, &body).await;
        let whole = read_all(whole.into_body()).await.unwrap();
        let events = whole.windows(2).filter(|pair| pair == b"\n\n").count();
        assert!(events >= 12, "{events} events");
        let mut gone = 0;
        for (done, after) in (0..=events).enumerate() {
            let (head, mut body) = ask(&world, &client, path, &body).await.into_parts();
            read_events(&mut body, after).await;
            drop(body);

            let row = world.row_of(&head.headers).await;
            let books = world.books(done + 2).await;
            let book = books
                .iter()
                .find(|book| Some(&book.id) == row.attempts[0].provider_id.as_ref())
                .unwrap();
            // The reset may arrive when the reply is whole; it is then a reply like any other.
            assert!(matches!(row.ended, Ended::ClientGone | Ended::Complete), "{row:?}");
            gone += usize::from(row.ended == Ended::ClientGone);
            assert_eq!(row.source, Source::Reported, "after {after}: {row:?}");
            assert_eq!(row.input_total, Some(book.prompt_tokens), "after {after}");
            assert_eq!(row.output_total, Some(book.completion_tokens), "after {after}");
        }
        world.rows(events + 2).await;
        assert!(gone * 2 >= events, "only {gone} of {events} resets came before the end");
    }
}

const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"on \"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// An HTTP/2 upstream that says what it is asked for: `endless` events, or one event and an end,
/// which comes at once for `short` and when `go` says so for `later`.
#[derive(Clone, Default)]
struct Upstream {
    events: Arc<AtomicU64>,
    go: CancellationToken,
}

impl Upstream {
    async fn serve(self, streams: u32) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut server = auto::Builder::new(TokioExecutor::new()).http2_only();
                server.http2().max_concurrent_streams(streams);
                let this = self.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |asked| this.clone().answer(asked));
                    drop(server.serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        address
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> http::Result<Response<StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>>
    {
        let asked = read_all(request.into_body()).await.unwrap();
        let asked = String::from_utf8(asked.to_vec()).unwrap();
        let texts = if asked.contains("endless") {
            let events = self.events;
            let count = move |event| {
                events.fetch_add(1, Ordering::Relaxed);
                event
            };
            stream::repeat(EVENT).map(count).boxed()
        } else {
            let end = async move {
                if asked.contains("later") {
                    self.go.cancelled().await;
                }
                DONE
            };
            stream::iter([EVENT]).chain(stream::once(end)).boxed()
        };
        let frames = texts.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(StreamBody::new(frames.boxed()))
    }
}

/// A client that asks for an endless reply and reads nothing of it.
async fn deaf(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(world.gateway).await.unwrap();
    let body = chat("endless", true).to_string();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

async fn in_front_of(provider: &Upstream, streams: u32) -> World {
    let address = provider.clone().serve(streams).await;
    World::with(|setup| {
        setup.config.metering.drain_seconds_max = 1;
        let mut over_h2 = upstream("endless", Family::OpenAi, format!("http://{address}/v1"));
        over_h2.section.http2 = true;
        setup.config.upstreams = vec![over_h2];
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_do_not_fill_the_window_of_an_upstreams_connection() {
    const UNREAD: usize = 20;
    let provider = Upstream::default();
    let world = in_front_of(&provider, 1_000).await;
    let mut open = world.post(CHAT, &chat("later", true)).await.into_body();
    read_events(&mut open, 1).await;
    let mut held = Vec::new();
    for _ in 0..UNREAD {
        held.push(deaf(&world).await);
    }
    // A busy machine fills them slowly: full is what has not changed for a while.
    let full = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        let (mut last, mut still) = (0, 0);
        while still <= 100 {
            looks.tick().await;
            let now = provider.events.load(Ordering::Relaxed);
            still = if now > 0 && now == std::mem::replace(&mut last, now) { still + 1 } else { 0 };
        }
    };
    tokio::time::timeout(PATIENCE * 6, full).await.expect("the pipes never fill");

    for _ in 0..3 {
        let asked = chat("short", true);
        let short = async { read_all(world.post(CHAT, &asked).await.into_body()).await };
        assert_served(short).await;
    }
    provider.go.cancel();
    assert_served(read_all(open)).await;
    drop(held);
}

async fn assert_served(reply: impl Future<Output = Option<Bytes>>) {
    let read = tokio::time::timeout(PATIENCE, reply).await;
    let read = read.expect("held up by clients that do not read");
    assert!(read.unwrap().ends_with(DONE.as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replies_are_open_at_once_than_an_upstream_takes_on_a_connection() {
    let provider = Upstream::default();
    let world = in_front_of(&provider, 100).await;
    let client = client(false);
    let asked = chat("later", true);

    let mut open = Vec::new();
    for _ in 0..250 {
        let reply = tokio::time::timeout(PATIENCE, ask(&world, &client, CHAT, &asked)).await;
        let mut body = reply.expect("it waits for another to end").into_body();
        read_events(&mut body, 1).await;
        open.push(body);
    }

    provider.go.cancel();
    for body in open {
        assert_served(read_all(body)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_holds_up_no_other_of_its_connection() {
    const UNREAD: usize = 20;
    let world = in_front_of(&Upstream::default(), 1_000).await;
    // What lies unread in all streams fits the client's window of the connection.
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(64 * 1024)
        .http2_initial_connection_window_size(i32::MAX.unsigned_abs())
        .build_http();
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(ask(&world, &client, CHAT, &chat("endless", true)).await);
    }

    for _ in 0..3 {
        let asked = chat("short", true);
        let short = async { read_all(ask(&world, &client, CHAT, &asked).await.into_body()).await };
        assert_served(short).await;
    }

    drop(unread);
    let rows = world.rows(UNREAD + 3).await;
    let gone = rows.iter().filter(|row| row.ended == Ended::ClientGone).count();
    assert_eq!(gone, UNREAD);
}
