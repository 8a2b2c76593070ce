//! Whoever waits for nothing is let go: silent upstreams, silent clients, replies without an end.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use permille_proxy::config::MeteringSection;
use permille_types::{Ended, Family, Flag};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{KEY, World, chat, client, eventually, read_all, read_events, upstream};

const CHAT: &str = "/v1/chat/completions";
/// Far more than any bound in these tests.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_sends_no_head_by_the_deadline_is_given_up() {
    let world = World::with(|setup| setup.config.gateway.deadline_seconds = 1).await;

    let body = chat("tokens=9,slow_head_ms=60000", false);
    let asked = tokio::time::timeout(PATIENCE, world.post(CHAT, &body)).await;
    let response = asked.expect("the deadline holds before the reply's head too");

    assert_eq!(response.status(), 504);
    let row = world.row_of(response.headers()).await;
    assert_eq!(row.ended, Ended::Deadline);
}

/// An upstream that writes events without an end, as fast as they are taken.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                assert!(socket.read(&mut request).await.unwrap() > 0);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                socket.write_all(head.as_bytes()).await.unwrap();
                let event =
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"on \"}}]}\n\n";
                while socket.write_all(event.as_bytes()).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_never_pauses_ends_at_the_deadline_too() {
    let address = endless().await;
    let world = World::with(|setup| {
        // Long enough for the head of the reply on a busy machine.
        setup.config.gateway.deadline_seconds = 4;
        setup.config.upstreams =
            vec![upstream("endless", Family::OpenAi, format!("http://{address}/v1"))];
    })
    .await;

    let response = world.post(CHAT, &chat("", true)).await;
    let (head, body) = response.into_parts();
    let read = tokio::time::timeout(PATIENCE, read_all(body)).await;

    assert!(read.expect("the deadline holds while bytes flow too").is_none());
    assert_eq!(world.row_of(&head.headers).await.ended, Ended::Deadline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let world = World::with(|setup| setup.config.gateway.request_seconds_max = 1).await;

    for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /v1/chat"] {
        let mut silent = TcpStream::connect(world.gateway).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut answer)).await;

        assert!(closed.is_ok(), "still open after `{said}`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_settles_the_streams_of_http2_connections_too() {
    const OPEN: usize = 30;
    let mut world = World::with(|setup| setup.config.gateway.grace_seconds = 1).await;
    let client = client(true);
    let mut replies = Vec::new();
    for _ in 0..OPEN {
        let ask = Bytes::from(chat("tokens=20,stall_after=5", true).to_string());
        let request = Request::post(world.url(CHAT)).header("x-api-key", KEY).body(Full::new(ask));
        let mut reply = client.request(request.unwrap()).await.unwrap().into_body();
        read_events(&mut reply, 2).await;
        replies.push(reply);
    }

    world.stop().await;

    assert_eq!(world.journal.stats().open_requests, 0, "a stream was left unsettled");
    for row in world.rows(OPEN).await {
        assert_eq!(row.ended, Ended::Shutdown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_bounded_in_bytes_in_time_and_in_number() {
    let drained = [Flag::Simulated, Flag::Drained, Flag::DrainBound];
    let cancelled = [Flag::Simulated, Flag::Cancelled, Flag::DrainBound];
    let bytes = |metering: &mut MeteringSection| metering.drain_bytes_max = 2_000;
    let time = |metering: &mut MeteringSection| metering.drain_seconds_max = 1;
    let number = |metering: &mut MeteringSection| metering.drains_max = 0;
    for (bound, ask, flags) in [
        (bytes as fn(&mut MeteringSection), "tokens=400,chunk_ms=2", drained),
        (time, "tokens=400,stall_after=9", drained),
        (number, "tokens=400,chunk_ms=2", cancelled),
    ] {
        let world = World::with(|setup| bound(&mut setup.config.metering)).await;
        let (head, mut body) = world.post(CHAT, &chat(ask, true)).await.into_parts();
        read_events(&mut body, 3).await;
        drop(body);

        let row = world.row_of(&head.headers).await;

        assert_eq!((row.ended, &*row.flags), (Ended::ClientGone, &flags[..]), "{ask}");
        let output = row.output_total.unwrap();
        assert!((2..400).contains(&output), "{ask}: what was delivered is billed, not {output}");
        assert_eq!(world.journal.stats().open_requests, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_used_stays_open_beyond_the_bound_of_a_request() {
    let world = World::with(|setup| setup.config.gateway.request_seconds_max = 1).await;
    let slow = chat("tokens=30,chunk_ms=60", true);

    for http2 in [false, true] {
        let request = Request::post(world.url(CHAT)).header("x-api-key", KEY);
        let request = request.body(Full::new(Bytes::from(slow.to_string()))).unwrap();
        let reply = client(http2).request(request).await.unwrap();

        let bytes = read_all(reply.into_body()).await.expect("the reply is whole");
        assert!(bytes.ends_with(b"data: [DONE]\n\n"));
    }
    eventually("both connections are idle or gone", || {
        (world.journal.stats().open_requests == 0).then_some(())
    })
    .await;
}
