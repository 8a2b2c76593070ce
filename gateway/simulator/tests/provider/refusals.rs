//! What is refused, and how the provider says so.

use http::{Method, Request};
use http_body_util::Full;
use permille_simulator::{Simulator, SimulatorConfig, SimulatorError};
use serde_json::json;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{CHAT, DEADLINE, MESSAGES, Running, chat, chat_stream, message, with};

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let provider = Running::start();
    let cases = [
        (CHAT, with(chat("hi"), json!({"model": null})), "model"),
        (CHAT, with(chat("hi"), json!({"messages": []})), "messages"),
        (CHAT, with(chat("hi"), json!({"n": 0})), "n: 1 to 128"),
        (CHAT, with(chat("hi"), json!({"n": 129})), "n: 1 to 128"),
        (CHAT, with(chat("hi"), json!({"max_tokens": 0})), "max_tokens"),
        (CHAT, with(chat("hi"), json!({"stream_options": {}})), "stream_options"),
        (CHAT, with(chat("hi"), json!({"messages": "hi"})), "JSON body"),
        (CHAT, with(chat("hi"), json!({"tool_choice": "required"})), "tool_choice"),
        ("/v1/completions", json!({"model": "m", "prompt": {}}), "prompt"),
        ("/v1/embeddings", json!({"model": "m", "input": []}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": "x", "dimensions": 0}), "dimensions"),
        (MESSAGES, with(message("hi"), json!({"max_tokens": null})), "max_tokens"),
        (MESSAGES, with(message("hi"), json!({"messages": []})), "messages"),
        (CHAT, chat("simulate:tokens=x"), "0 to 1000000"),
        (CHAT, chat("simulate:garble_after=1"), "needs a streamed reply"),
        (CHAT, chat_stream("simulate:nonsense=1"), "`nonsense`"),
    ];
    for (path, body, part) in cases {
        let reply = provider.post(path, &body, "").await;

        assert_eq!(reply.status, 400, "{body}");
        let reply = reply.json();
        assert!(reply["error"]["message"].as_str().unwrap().contains(part), "{reply}");
        assert_eq!(reply["error"]["type"], "invalid_request_error");
        assert_eq!(reply.get("request_id").is_some(), path == MESSAGES);
    }
}

#[tokio::test]
async fn a_credential_is_needed_and_must_be_one_of_the_accepted() {
    let accepted_keys = vec!["sk-good".to_owned()];
    let picky = Running::start_with(SimulatorConfig { accepted_keys, ..<_>::default() });
    let any = Running::start();
    let cases = [
        (&any, None, 401),
        (&any, Some(("authorization", "Bearer ")), 401),
        (&any, Some(("authorization", "Basic c2s=")), 401),
        (&any, Some(("authorization", "Bearer x")), 200),
        (&any, Some(("x-api-key", "x")), 200),
        (&picky, Some(("x-api-key", "sk-bad")), 401),
        (&picky, Some(("authorization", "bearer sk-good")), 200),
    ];
    for (path, body, kind) in [
        (CHAT, chat("hi"), "invalid_request_error"),
        (MESSAGES, message("hi"), "authentication_error"),
    ] {
        for (provider, header, status) in &cases {
            let mut request = Request::post(format!("http://{}{path}", provider.address));
            if let Some((name, value)) = header {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::from(body.to_string())).unwrap();

            let reply = provider.send(request).await;

            assert_eq!(reply.status.as_u16(), *status, "{header:?}");
            if *status == 401 {
                assert_eq!(reply.json()["error"]["type"], kind);
                assert_eq!(provider.books_now().pop().unwrap().status, 401);
            }
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_shape() {
    let provider = Running::start();
    let cases = [
        (Method::GET, "/v1/nothing", 404),
        (Method::POST, "/v1/models", 405),
        (Method::GET, CHAT, 405),
        (Method::GET, MESSAGES, 405),
        (Method::GET, "/anthropic/v1/chat/completions", 404),
        (Method::GET, "/simulator/nothing", 404),
    ];
    for (method, path, status) in cases {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", provider.address))
            .header("x-api-key", "k")
            .body(Full::default())
            .unwrap();

        let reply = provider.send(request).await;

        assert_eq!(reply.status.as_u16(), status, "{path}");
        assert!(reply.json()["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn a_body_above_the_bound_is_refused_unread() {
    let provider = Running::start();
    let mut socket = TcpStream::connect(provider.address).await.unwrap();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: simulator\r\nx-api-key: k\r\n\
                content-length: 67108865\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();

    let mut reply = vec![0; 4096];
    let count = tokio::time::timeout(DEADLINE, socket.read(&mut reply)).await.unwrap().unwrap();

    let reply = String::from_utf8_lossy(&reply[..count]);
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("request_too_large"));
}

#[tokio::test]
async fn an_address_in_use_and_unusable_books_are_named() {
    let provider = Running::start();
    let listen = SimulatorConfig { listen: provider.address, ..SimulatorConfig::default() };
    let books = SimulatorConfig { books: Some("/dev/null/books".into()), ..<_>::default() };

    let listen = Simulator::bind(listen).unwrap_err();
    let books = Simulator::bind(books).unwrap_err();

    assert!(matches!(listen, SimulatorError::Listen { .. }));
    assert!(listen.to_string().contains(&provider.address.to_string()));
    assert!(matches!(books, SimulatorError::Books { .. }));
    assert!(books.to_string().contains("/dev/null/books"));
}
