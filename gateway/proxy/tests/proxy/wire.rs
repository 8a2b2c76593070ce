//! What crosses the gateway: bytes, headers, protocols.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use permille_types::{Ended, Family};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{
    self, KEY, World, chat, client, message, read_all, recorded::recorded, upstream,
};

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    connection: close\r\nx-request-id: req_1\r\n\r\n\
    : keep-alive\n\n\
    data: {\"id\":\"c1\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xe5\xb0\xbc\xe7\xbd\x97\"}}],\"usage\":null}\n\n\
    data: {\"id\":\"c1\",\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}}\n\n\
    data: [DONE]\n\n";
const USAGE_FRAME: &[u8] = b"data: {\"id\":\"c1\",\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}}\n\n";

fn body_of(reply: &[u8]) -> &[u8] {
    let head = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    &reply[head + 4..]
}

fn without(bytes: &[u8], part: &[u8]) -> Vec<u8> {
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    [&bytes[..at], &bytes[at + part.len()..]].concat()
}

async fn through(address: SocketAddr, body: &Value) -> (World, http::HeaderMap, Bytes) {
    let world = World::with(|setup| {
        setup.config.upstreams =
            vec![upstream("recorded", Family::OpenAi, format!("http://{address}/v1"))];
    })
    .await;
    let response = world.post("/v1/chat/completions", body).await;
    let (head, body) = response.into_parts();
    let bytes = read_all(body).await.unwrap();
    (world, head.headers, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_usage_frame_that_we_asked_for_is_missing() {
    let (address, mut requests) = recorded(STREAM, 7).await;

    let (world, headers, bytes) = through(address, &chat("", true)).await;

    assert_eq!(bytes, without(body_of(STREAM), USAGE_FRAME));
    let row = world.row_of(&headers).await;
    assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)));
    assert_eq!(row.ended, Ended::Complete);
    let sent = String::from_utf8(requests.recv().await.unwrap()).unwrap();
    assert!(sent.contains("\"include_usage\":true"), "{sent}");
    assert!(sent.contains("authorization: Bearer provider-secret"), "{sent}");
    assert!(!sent.contains("sk-pm_"), "our key reached the upstream: {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_passes_when_the_client_asked_for_usage_itself() {
    for piece in [1, 3, 64, 4_096] {
        let (address, mut requests) = recorded(STREAM, piece).await;
        let mut body = chat("", true);
        body["stream_options"] = serde_json::json!({"include_usage": true, "unknown": [1, 2]});

        let (_world, headers, bytes) = through(address, &body).await;

        assert_eq!(bytes, body_of(STREAM), "in pieces of {piece}");
        assert_eq!(headers["x-request-id"], "req_1");
        let sent = requests.recv().await.unwrap();
        assert!(sent.ends_with(body.to_string().as_bytes()), "the request body was changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_billing_goes_on_after_a_restart() {
    let world = World::with(|setup| setup.last_turns = vec![("talk", 4)]).await;

    for turn in 5..8 {
        let request = Request::post(world.url("/v1/chat/completions"))
            .header("authorization", format!("Bearer {KEY}"))
            .header("permille-session", "talk");
        let response = world.send(request, chat("tokens=2", false).to_string()).await;

        assert_eq!(response.headers()["permille-session"], "talk");
        assert_eq!(response.headers()["permille-turn"], turn.to_string());
        let row = world.row_of(response.headers()).await;
        assert_eq!((row.session.as_str(), row.turn, row.session_explicit), ("talk", turn, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_works_on_both_sides() {
    let world = World::with(|setup| {
        // Bound twice: the provider's address is known only after it listens.
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        setup.simulator.listen = probe.local_addr().unwrap();
        let address = setup.simulator.listen;
        setup.config.upstreams = [
            ("openai-h2", Family::OpenAi, format!("http://{address}/v1")),
            ("anthropic-h2", Family::Anthropic, format!("http://{address}")),
        ]
        .into_iter()
        .map(|(name, family, url)| {
            let mut over_h2 = upstream(name, family, url);
            over_h2.section.http2 = true;
            over_h2
        })
        .collect();
    })
    .await;

    for (path, body) in [
        ("/v1/chat/completions", chat("tokens=20", true)),
        ("/anthropic/v1/messages", message("tokens=20", true)),
        ("/v1/chat/completions", chat("tokens=20", false)),
    ] {
        let request = Request::post(world.url(path))
            .header("x-api-key", KEY)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = client(true).request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!bytes.is_empty());
        let row = world.row_of(&headers).await;
        assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(20)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_reach_the_client_while_the_provider_is_still_writing() {
    let world = World::start().await;

    // The provider falls silent after 5 pieces and never ends: what a buffer would hold back
    // never comes.
    let response = world.post("/v1/chat/completions", &chat("tokens=9,stall_after=5", true)).await;
    let mut body = response.into_body();
    let read = support::read_events(&mut body, 5).await;

    let pieces = String::from_utf8(read).unwrap().matches("\"delta\"").count();
    assert!(pieces >= 5, "{pieces} of 5 pieces came through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_and_token_counting_pass_and_bill_nothing() {
    let world = World::start().await;

    let request = Request::get(world.url("/v1/models")).header("x-api-key", KEY);
    let models = world.send(request, "").await;
    assert_eq!(models.status(), 200);
    let counted = serde_json::json!({
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "How long is the Nile?"}],
    });
    let counted = world.post("/anthropic/v1/messages/count_tokens", &counted).await;
    assert_eq!(counted.status(), 200);

    for row in world.rows(2).await {
        assert_eq!(row.ended, Ended::Complete);
        assert!(row.tokens.is_empty(), "a read was billed: {row:?}");
    }
}

/// Ends TLS in front of the provider, with a certificate of its own authority.
async fn tls_in_front_of(
    provider: SocketAddr,
    folder: &std::path::Path,
    protocols: &[&[u8]],
) -> (u16, std::path::PathBuf) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, signed.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(socket).await.unwrap();
                let mut server = tokio::net::TcpStream::connect(provider).await.unwrap();
                // Either side may close first; both are an ending, not a failure.
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (port, ca_file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_reached_over_tls_and_verified() {
    // Installed once per process; a second test of this file may have been first.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let folder = tempfile::TempDir::new().unwrap();
    let plain = World::start().await;
    for protocols in [&[b"h2".as_slice()], &[b"http/1.1".as_slice()]] {
        let (port, ca_file) = tls_in_front_of(plain.provider, folder.path(), protocols).await;
        for (trusted, status) in [(Some(ca_file), 200), (None, 502)] {
            let world = World::with(|setup| {
                let url = format!("https://localhost:{port}/v1");
                let mut over_tls = upstream("tls", Family::OpenAi, url);
                over_tls.section.ca_file = trusted;
                setup.config.upstreams = vec![over_tls];
            })
            .await;
            let response = world.post("/v1/chat/completions", &chat("tokens=20", true)).await;
            assert_eq!(response.status(), status);
            let headers = response.headers().clone();
            read_all(response.into_body()).await.unwrap();
            let row = world.row_of(&headers).await;
            assert_eq!(row.ended == Ended::Complete, status == 200);
        }
    }
}
