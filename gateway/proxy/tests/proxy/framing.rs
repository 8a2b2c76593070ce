//! However HTTP marks the end of a reply, its end waits for the record and its row tells the truth.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use permille_journal::testing::MemFs;
use permille_types::{Ended, Family, UsageEvent};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
};

use crate::support::{World, chat, read_all, upstream};

const CHAT: &str = "/v1/chat/completions";
const DOCUMENT: &str = r#"{"id":"c1","model":"gpt-4o-mini","choices":[{"index":0,"message":{"content":"6,650 km"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;

/// An upstream that answers every request with these bytes and closes the connection.
async fn raw(reply: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                assert!(socket.read(&mut request).await.unwrap() > 0);
                socket.write_all(reply.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

async fn in_front_of(address: SocketAddr, http2: bool, fs: Arc<MemFs>) -> World {
    World::with(|setup| {
        let mut only = upstream("raw", Family::OpenAi, format!("http://{address}/v1"));
        only.section.http2 = http2;
        setup.config.upstreams = vec![only];
        setup.fs = fs;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_a_body_ends_as_its_status_says() {
    for (head, ended) in [
        ("500 Internal Server Error\r\ncontent-length: 0", Ended::UpstreamError),
        ("429 Too Many Requests\r\ncontent-length: 0", Ended::UpstreamError),
        ("204 No Content", Ended::UpstreamError),
        ("200 OK\r\ncontent-length: 0", Ended::UpstreamError),
    ] {
        let address = raw(format!("HTTP/1.1 {head}\r\n\r\n")).await;
        let world = in_front_of(address, false, Arc::default()).await;

        let response = world.post(CHAT, &chat("", false)).await;
        let (reply, body) = response.into_parts();

        assert!(head.starts_with(reply.status.as_str()));
        assert!(read_all(body).await.unwrap().is_empty());
        let row = world.row_of(&reply.headers).await;
        assert_eq!(row.ended, ended, "{head}");
        assert!(row.tokens.is_empty(), "{head}: {row:?}");
    }
}

/// Chunks say where a reply ends, whatever else does. Source: RFC 9112, section 6.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_chunks_means_nothing() {
    for length in [5, 9_999] {
        let head = format!("200 OK\r\ncontent-length: {length}\r\ntransfer-encoding: chunked");
        let (size, end) = (DOCUMENT.len(), "0\r\n\r\n");
        let address = raw(format!("HTTP/1.1 {head}\r\n\r\n{size:x}\r\n{DOCUMENT}\r\n{end}")).await;
        let world = in_front_of(address, false, Arc::default()).await;

        let response = world.post(CHAT, &chat("", false)).await;

        let row = world.row_of(response.headers()).await;
        assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(4)), "{length}");
        assert_eq!(read_all(response.into_body()).await.unwrap(), DOCUMENT, "{length}");
    }
}

/// Its bound is that of the buffer, which is part of what a stream costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replys_head_of_30_kib_passes_and_one_that_no_buffer_holds_is_an_upstream_error() {
    for (kib, status) in [(30, 200), (100, 502)] {
        let (long, length) = ("x".repeat(kib * 1_024), DOCUMENT.len());
        let head = format!("200 OK\r\nx-long: {long}\r\ncontent-length: {length}");
        let address = raw(format!("HTTP/1.1 {head}\r\n\r\n{DOCUMENT}")).await;
        let world = in_front_of(address, false, Arc::default()).await;

        let response = world.post(CHAT, &chat("", false)).await;

        assert_eq!(response.status(), status, "{kib} KiB");
        let row = world.row_of(response.headers()).await;
        if status == 200 {
            assert_eq!(response.headers()["x-long"], long);
            assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(4)));
            assert_eq!(read_all(response.into_body()).await.unwrap(), DOCUMENT);
        } else {
            assert_eq!((row.ended, row.tokens.len()), (Ended::UpstreamError, 0));
        }
    }
}

/// An HTTP/2 upstream whose document is there at once, its length announced, and whose stream
/// ends only when `end` says so.
async fn late_end(end: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let end = Arc::clone(&end);
            let service = hyper::service::service_fn(move |_| {
                let end = Arc::clone(&end);
                async move {
                    let parts = stream::unfold(0, move |part| {
                        let end = Arc::clone(&end);
                        async move {
                            if part > 0 {
                                end.notified().await;
                                return None;
                            }
                            let data = Frame::data(Bytes::from_static(DOCUMENT.as_bytes()));
                            Some((Ok::<_, Infallible>(data), 1))
                        }
                    });
                    Response::builder()
                        .header(header::CONTENT_TYPE, "application/json")
                        .header(header::CONTENT_LENGTH, DOCUMENT.len())
                        .body(StreamBody::new(Box::pin(parts)))
                }
            });
            let served = auto::Builder::new(TokioExecutor::new()).http2_only();
            tokio::spawn(async move {
                drop(served.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_byte_of_an_announced_length_is_the_end_also_when_http2_ends_later() {
    let end = Arc::new(Notify::new());
    let fs = Arc::new(MemFs::new());
    let world = in_front_of(late_end(Arc::clone(&end)).await, true, Arc::clone(&fs)).await;

    let gate = fs.hold_syncs();
    let body = chat("", false);
    let reply = async { read_all(world.post(CHAT, &body).await.into_body()).await };
    tokio::pin!(reply);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut reply).await;
    assert!(early.is_err(), "the reply was whole before its record was on disk: {early:?}");

    drop(gate);
    assert_eq!(reply.await.unwrap(), DOCUMENT);
    let rows: Vec<UsageEvent> = world.rows(1).await;
    assert_eq!(rows[0].ended, Ended::Complete, "{:?}", rows[0]);
    end.notify_one();
}
