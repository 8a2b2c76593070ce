//! `permille serve`: first start, commands beside it, refusals, the end.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::net::TcpListener;

use serde_json::json;
use support::{Folder, Server, eventually};

fn question() -> serde_json::Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]})
}

#[tokio::test]
async fn a_first_start_prints_a_key_that_works_at_once_and_never_again() {
    let folder = Folder::new();
    let mut server = folder.serve().await;
    let key = server.first_key().await;

    let reply = server.chat(&key, question()).await;

    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(server.printed().contains("curl http://"), "{}", server.printed());
    assert!(server.printed().contains("pmt_"), "{}", server.printed());
    let row = eventually("the request is settled", async || folder.usage(&[]).pop()).await;
    assert_eq!(row["customer"], "default");
    assert_eq!(row["input_total"], reply.json()["usage"]["prompt_tokens"]);
    assert_eq!(row["output_total"], reply.json()["usage"]["completion_tokens"]);
    assert!(row["flags"].as_array().unwrap().contains(&json!("simulated")), "{row}");

    assert!(server.stop().await.success());
    let printed = server.printed();
    let server = folder.serve().await;
    let again = eventually("a second start says where the server is", async || {
        let again = server.printed().strip_prefix(&printed)?.to_owned();
        again.contains("/metrics").then_some(again)
    })
    .await;
    assert!(again.contains(&format!("http://{}/v1", server.gateway())), "{again}");
    assert!(!again.contains("sk-pm_") && !again.contains("pmt_"), "no secret: {again}");
    assert_eq!(server.chat(&key, question()).await.status, 200);
}

#[tokio::test]
async fn billing_alone_makes_one_admin_token_however_often_it_starts() {
    let folder = Folder::new();
    let secrets = async |server: &Server| {
        let greeted = "the first token is printed";
        eventually(greeted, async || Some(server.printed()).filter(|told| told.contains("pmt_")))
            .await;
        server.printed().matches("pmt_").count()
    };
    let mut server = Server::start(&folder, "billing", &[]).await;
    assert_eq!(secrets(&server).await, 1);
    assert!(server.stop().await.success());

    let mut server = Server::start(&folder, "billing", &[]).await;
    // Its greeting is over once it ends well: a stop waits for it.
    assert!(server.stop().await.success());
    assert_eq!(secrets(&server).await, 1);
}

#[tokio::test]
async fn commands_say_the_same_with_and_without_a_server() {
    let folder = Folder::new();
    let mut server = folder.serve().await;
    let key = folder.key("acme", "USD");
    for turn in 1..=3 {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("permille-session", "s1")];
        let path = "/v1/chat/completions";
        let reply = server.web.post(server.gateway(), path, &headers, &question()).await;
        assert_eq!(reply.status, 200, "turn {turn}: {}", reply.text());
    }
    eventually("three requests are settled", async || {
        (folder.usage(&["--customer", "acme"]).len() == 3).then_some(())
    })
    .await;
    let period = folder.usage(&[])[0]["at"].as_str().unwrap()[..7].to_owned();
    let all = |folder: &Folder| -> Vec<String> {
        [
            &["customer", "list"][..],
            &["customer", "show", "acme"],
            &["project", "list", "--customer", "acme"],
            &["key", "list"],
            &["price", "list"],
            &["usage", "list", "--customer", "acme", "--session", "s1"],
            &["usage", "drop", "--before", "2100-01-01"],
            &["session", "list", "--customer", "acme"],
            &["session", "list", "--turns", "3"],
            &["session", "show", "s1", "--customer", "acme"],
            &["session", "outcome", "s1", "accepted", "--customer", "acme"],
            &["session", "summary", "--customer", "acme", "--flat-fee", "1 USD"],
            &["invoice", "preview", "--customer", "acme", "--period", &period],
            &["invoice", "draft", "--customer", "acme", "--period", &period],
        ]
        .iter()
        .map(|args| folder.text(&[args, &["--json"][..]].concat()) + &folder.text(args))
        .collect()
    };

    folder.json(&["session", "outcome", "s1", "accepted", "--customer", "acme"]);
    let beside_the_server = all(&folder);
    assert!(server.stop().await.success());
    let without_a_server = all(&folder);

    assert_eq!(beside_the_server, without_a_server);
    assert!(beside_the_server.iter().all(|text| !text.is_empty()));
    let kept = folder.json(&["usage", "drop", "--before", "2100-01-01", "--check"]);
    let why = kept["days"][0]["kept"].as_str().unwrap();
    assert!(why.starts_with("the month ") && why.ends_with("is not closed"), "{kept}");
    let summary = folder.json(&["session", "summary", "--flat-fee", "1 USD"]);
    let of = &summary["currencies"][0];
    let session = folder.json(&["session", "show", "s1", "--customer", "acme"]);
    assert_eq!(of["cost"], session["session"]["cost"]);
    assert_eq!(of["cost"], of["cost_per_accepted"], "the one session is accepted");
    let refusal = folder.run(&["session", "outcome", "s1", "liked"]).refused(1);
    assert!(refusal.contains("`liked`") && refusal.contains("accepted"), "{refusal}");
}

#[tokio::test]
async fn a_revoked_key_stops_within_seconds() {
    let folder = Folder::new();
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    assert_eq!(server.chat(&key, question()).await.status, 200);

    let id = folder.lines(&["key", "list", "--customer", "acme"])[0]["id"].clone();
    folder.json(&["key", "revoke", id.as_str().unwrap()]);

    eventually("the key is refused", async || {
        (server.chat(&key, question()).await.status == 401).then_some(())
    })
    .await;
}

#[test]
fn a_port_in_use_is_refused_with_its_address_and_section() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    for section in ["gateway", "console", "metrics"] {
        let folder = Folder::new();
        let flag = format!("--{section}-listen");
        let refusal = folder.run(&["serve", &flag, &address]).refused(1);
        assert!(refusal.contains(&address), "{refusal}");
        assert!(refusal.contains(&format!("`{section}.listen`")), "{refusal}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let folder = Folder::new();
    let _server = folder.serve().await;

    let refusal = folder.run(&["serve"]).refused(1);

    assert!(refusal.contains("another permille process"), "{refusal}");
}

#[tokio::test]
async fn after_kill_9_commands_and_a_new_server_work() {
    let folder = Folder::new();
    let mut server = folder.serve().await;
    let key = server.first_key().await;
    assert_eq!(server.chat(&key, question()).await.status, 200);

    server.kill().await;

    // The record of the dead server still lies in the folder and must mislead nobody.
    assert!(folder.data().join("server.json").exists());
    assert_eq!(folder.lines(&["customer", "list"]).len(), 1);
    let server = folder.serve().await;
    eventually("the request is settled", async || folder.usage(&[]).pop()).await;
    assert_eq!(server.chat(&key, question()).await.status, 200);
}

#[tokio::test]
async fn metrics_and_health_are_on_their_own_listener() {
    let folder = Folder::new();
    let server = folder.serve().await;

    assert_eq!(server.web.get(server.metrics(), "/livez").await.status, 200);
    assert_eq!(server.web.get(server.metrics(), "/readyz").await.status, 200);
    server.chat(&server.first_key().await, question()).await;
    assert!(server.metric("permille_requests_total").await.unwrap() >= 1.0);
    assert_ne!(server.web.get(server.gateway(), "/metrics").await.status, 200);
}

#[tokio::test]
async fn the_api_answers_nobody_without_a_token() {
    let folder = Folder::new();
    let server = folder.serve().await;

    let refused = server.web.get(server.console(), "/api/v1/customers").await;

    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_stream_that_runs_at_the_stop_signal_is_finished() {
    let folder = Folder::new();
    let mut server = folder.serve().await;
    let key = server.first_key().await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("x-simulate", "tokens=60,chunk_ms=10")];
    let mut body = question();
    body["stream"] = json!(true);
    let path = "/v1/chat/completions";
    let mut stream = server.web.stream(server.gateway(), path, &headers, &body).await;
    assert!(stream.piece().await.is_some());

    server.signal("TERM");
    let (rest, whole) = stream.rest().await;

    assert!(whole && String::from_utf8_lossy(&rest).ends_with("data: [DONE]\n\n"));
    assert!(server.ended().await.success());
    let log = server.errors();
    let last = log.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("stopped"), "the log does not end with the stop: {log}");
    let rows = folder.usage(&[]);
    assert_eq!((rows.len(), rows[0]["ended"].as_str()), (1, Some("complete")));
}

#[tokio::test]
async fn a_second_signal_forces_the_end() {
    let folder = Folder::new();
    let mut server = folder.serve().await;
    let bearer = format!("Bearer {}", server.first_key().await);
    let headers = [("authorization", bearer.as_str()), ("x-simulate", "stall_after=1")];
    let mut body = question();
    body["stream"] = json!(true);
    let path = "/v1/chat/completions";
    let mut stream = server.web.stream(server.gateway(), path, &headers, &body).await;
    assert!(stream.piece().await.is_some());

    server.signal("TERM");
    eventually("the gateway takes no new connection", async || {
        let refused = server.web.get(server.gateway(), "/v1/models").await.status == 0;
        refused.then_some(())
    })
    .await;
    server.signal("TERM");

    assert_eq!(server.ended().await.code(), Some(1));
}

#[test]
fn a_gateway_alone_says_what_it_needs() {
    let folder = Folder::new();

    let refusal = folder.run(&["gateway"]).refused(1);

    assert!(refusal.contains("billing.url"), "{refusal}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let folder = Folder::new();
    // Every write there fails as on a full disk.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = folder.command(&["billing"]);
    command.env("PERMILLE_LOG", "debug").stdout(std::process::Stdio::null()).stderr(full);
    let mut child = command.spawn().unwrap();

    eventually("it serves", async || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        (folder.run(&["health"]).code == 0).then_some(())
    })
    .await;

    child.kill().unwrap();
    child.wait().unwrap();
}
