//! HTTP/2 with prior knowledge: the same replies, many at once, faults that stay in their stream.

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::support::{CHAT, DEADLINE, Running, chat_stream, chat_text, events, tokens};

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

#[tokio::test]
async fn many_streams_share_a_connection_and_all_recount() {
    let provider = Running::start();
    let client = client();
    let one = async |index: usize| {
        let request = provider.request(CHAT, &chat_stream(&format!("{index}?")), "chunk_ms=1");
        let reply = client.request(request).await.unwrap();
        assert_eq!(reply.version(), http::Version::HTTP_2);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let events = events(std::str::from_utf8(&body).unwrap());
        let counted = tokens(&chat_text(&events, 0));
        assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], counted);
        counted
    };

    one(0).await; // Opens the connection.
    let all = join_all((1..40).map(one));
    let counted = tokio::time::timeout(DEADLINE, all).await.unwrap();

    let booked: u64 =
        provider.booked(40).await.iter().skip(1).map(|entry| entry.completion_tokens).sum();
    assert_eq!(booked, counted.iter().sum::<u64>());
    assert!(provider.stats().await.connections <= 3);
}

#[tokio::test]
async fn a_cut_resets_its_stream_and_leaves_the_connection() {
    let provider = Running::start();
    let client = client();
    let cut = provider.request(CHAT, &chat_stream("hi"), "cut_after=3");

    let mut body = client.request(cut).await.unwrap().into_body();
    let mut received = Vec::new();
    let broken = loop {
        match body.frame().await {
            Some(Ok(frame)) => received.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => break error,
            None => panic!("the body ended as if it were whole"),
        }
    };
    let again = provider.request(CHAT, &chat_stream("hi"), "");
    let whole = client.request(again).await.unwrap().into_body().collect().await.unwrap();

    assert!(!broken.is_timeout());
    let text = String::from_utf8(received).unwrap();
    assert_eq!(events(&text).len(), 1 + 3);
    assert!(whole.to_bytes().ends_with(b"data: [DONE]\n\n"));
    assert!(provider.stats().await.connections <= 2, "one for HTTP/2, one for the statistics");
}

#[tokio::test]
async fn an_abandoned_stream_is_booked_and_the_others_go_on() {
    let provider = Running::start();
    let client = client();
    let stalled = provider.request(CHAT, &chat_stream("hi"), "stall_after=2");
    let stalled = client.request(stalled).await.unwrap();
    let other = provider.request(CHAT, &chat_stream("hi"), "tokens=20,chunk_ms=2");
    let other = client.request(other).await.unwrap();

    drop(stalled);

    let body = other.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    let entries = provider.booked(2).await;
    assert!(entries.iter().any(|entry| entry.ended == permille_simulator::Ended::ClientGone));
}
