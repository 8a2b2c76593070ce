//! Webhooks of a real server at a real receiver: signed as the standard says, at least once, in
//! order, tried again, given up, sent again, and not lost by kill -9.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Folder, Server, eventually,
    receiver::{Answer, Received, Receiver},
    sdk::python,
};
use tokio::net::TcpListener;

/// Retries so soon that a test can wait for them.
const SOON: &str = "[webhooks]\nallow_private = true\nretry_seconds = [1, 1]\n";

/// Adds an endpoint; its id and secret.
fn add(folder: &Folder, url: &str) -> (String, String) {
    let added = folder.json(&["webhook", "add", url]);
    (added["id"].as_str().unwrap().to_owned(), added["secret"].as_str().unwrap().to_owned())
}

fn log(folder: &Folder, webhook: &str) -> Vec<Value> {
    folder.lines(&["webhook", "log", webhook])
}

/// Whether the library of the standard's authors accepts what was received.
fn verified(secret: &str, received: &Received) -> bool {
    let headers: HashMap<&str, &str> = received
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let asked = json!({"secret": secret, "headers": headers, "payload": received.body});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/verify_webhook.py");
    let mut child = Command::new(python()).arg(script).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_signed_and_in_order_and_a_failed_one_comes_again() {
    let folder = Folder::new();
    folder.config(SOON);
    let receiver = Receiver::start(&[Answer::Status(500), Answer::Redirect]).await;
    let server = folder.serve().await;
    let (webhook, secret) = add(&folder, &receiver.url());

    folder.text(&["invoice", "draft", "--customer", "default", "--period", "2026-01"]);
    folder.text(&["webhook", "test", &webhook]);

    eventually("both events are delivered", async || {
        let log = log(&folder, &webhook);
        (log.len() == 2 && log.iter().all(|one| one["state"] == "delivered")).then_some(())
    })
    .await;
    let sent = receiver.received();
    let mut kinds: Vec<String> = sent.iter().map(Received::kind).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["invoice.drafted", "webhook.test"]);
    assert_eq!(sent.len(), 4, "two attempts failed, a redirect was not followed");
    for one in &sent {
        assert!(verified(&secret, one), "{one:?}");
        assert!(!verified("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", one));
        assert_eq!(one.headers["content-type"], "application/json");
    }
    let mut by_id: HashMap<&str, Vec<&str>> = HashMap::new();
    for one in &sent {
        by_id.entry(one.id()).or_default().push(&one.body);
    }
    assert_eq!(by_id.len(), 2, "an event keeps its id");
    assert!(by_id.values().all(|bodies| bodies.iter().all(|body| *body == bodies[0])));
    assert!(!server.errors().contains(&secret), "no secret is logged");
    let failed = server.metric("permille_webhook_attempts_total").await;
    assert_eq!(failed, Some(4.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_closes_behind_its_answer_has_been_told() {
    let folder = Folder::new();
    folder.config(SOON);
    let receiver = Receiver::start(&[Answer::Closing(204), Answer::Closing(200)]).await;
    let _server = folder.serve().await;
    let (webhook, _) = add(&folder, &receiver.url());

    for sent in 1..=2 {
        folder.text(&["webhook", "test", &webhook]);
        eventually("the event is delivered", async || {
            let log = log(&folder, &webhook);
            (log.len() == sent && log.iter().all(|one| one["state"] == "delivered")).then_some(())
        })
        .await;
    }

    assert!(log(&folder, &webhook).iter().all(|one| one["attempts"] == 1));
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_event_is_shown_and_sent_again_when_asked() {
    let folder = Folder::new();
    folder.config(SOON);
    let answers = [Answer::Status(503), Answer::Status(503), Answer::Status(503)];
    let receiver = Receiver::start(&answers).await;
    let _server = folder.serve().await;
    let (webhook, _) = add(&folder, &receiver.url());
    let event = folder.json(&["webhook", "test", &webhook])["event"].clone();
    let event = event.as_str().unwrap();

    let dead = eventually("the event is given up", async || {
        log(&folder, &webhook).into_iter().find(|one| one["state"] == "dead")
    })
    .await;
    assert_eq!((&dead["attempts"], &dead["last_status"]), (&json!(3), &json!(503)));
    assert_eq!(dead["last_error"], "status 503");
    folder.text(&["webhook", "resend", &webhook, event]);

    eventually("it is delivered", async || {
        log(&folder, &webhook).into_iter().find(|one| one["state"] == "delivered")
    })
    .await;
    assert_eq!(receiver.received().iter().filter(|one| one.id() == event).count(), 4);
}

/// The change is committed and its event is being sent, when the server is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_commit_and_delivery_loses_no_event() {
    let folder = Folder::new();
    folder.config(SOON);
    let receiver = Receiver::start(&[Answer::Silence]).await;
    let mut server = folder.serve().await;
    let (webhook, secret) = add(&folder, &receiver.url());
    folder.text(&["invoice", "draft", "--customer", "default", "--period", "2026-01"]);
    eventually("the event is being sent", async || (!receiver.received().is_empty()).then_some(()))
        .await;

    server.kill().await;
    let _again = folder.serve().await;

    eventually("the event is delivered", async || {
        log(&folder, &webhook).into_iter().find(|one| one["state"] == "delivered")
    })
    .await;
    let sent = receiver.received();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].id(), sent[1].id());
    assert_eq!(sent[0].body, sent[1].body);
    assert!(verified(&secret, &sent[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_server_runs_for_is_told_once_one_runs() {
    let folder = Folder::new();
    folder.config(SOON);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    folder.text(&["customer", "add", "Acme", "--id", "acme", "--currency", "CNY"]);
    let (webhook, _) = add(&folder, &url);
    folder.text(&["invoice", "draft", "--customer", "acme", "--period", "2026-01"]);
    assert_eq!(log(&folder, &webhook)[0]["state"], "pending");

    let receiver = Receiver::on(listener, &[]);
    let _server = folder.serve().await;

    let told = eventually("the event arrives", async || receiver.received().into_iter().next());
    assert_eq!(told.await.kind(), "invoice.drafted");
}

/// What four budgets of one request have told, by type and level, oldest first in each.
fn told_of_budgets(receiver: &Receiver) -> Vec<(String, String)> {
    let of = |one: &Received| {
        let data = one.payload()["data"].clone();
        assert_eq!(data["customer"], "acme");
        assert_eq!(data["budget"].as_str().unwrap().split_once('/').unwrap().0, "0.004 USD");
        (one.kind(), data["level"].as_str().unwrap().to_owned())
    };
    let mut told: Vec<_> = receiver.received().iter().map(of).collect();
    told.sort();
    told
}

/// A chat that sets no limit of its own, so that its reply may cost more than there is.
async fn spend(server: &Server, key: &str, tokens: u32) -> u16 {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("permille-session", "long")];
    let content = format!("simulate:tokens={tokens} Which river?");
    let body = json!({
        "model": "gpt-4o-mini", "stream": true,
        "messages": [{"role": "user", "content": content}],
    });
    server.web.post(server.gateway(), "/v1/chat/completions", &headers, &body).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_of_every_level_tells_once_that_it_is_nearly_spent_and_once_that_it_is() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&format!("{SOON}{}", simulator.upstreams()));
    let receiver = Receiver::start(&[]).await;
    let server = folder.serve().await;
    folder.json(&["customer", "add", "Acme", "--id", "acme", "--currency", "USD"]);
    let key = folder.json(&["key", "create", "--customer", "acme", "--budget", "0.004 USD/total"]);
    let key = key["secret"].as_str().unwrap();
    let session = ["--budget", "0.004 USD/month", "--session-budget", "0.004 USD/total"];
    folder.json(&[&["customer", "limit", "acme"][..], &session].concat());
    let project = ["project", "limit", "default", "--customer", "acme"];
    folder.json(&[&project[..], &["--budget", "0.004 USD/day"]].concat());
    let events = ["--event", "limit.warning", "--event", "limit.exhausted"];
    folder.json(&[&["webhook", "add", &receiver.url()][..], &events].concat());
    let levels = ["customer", "key", "project", "session"];
    let of = |kind: &str| levels.map(|level| (kind.to_owned(), level.to_owned()));

    // A token costs 0.0000006: these are 81 percent, and a little more.
    eventually("the budget is served", async || {
        (spend(&server, key, 1).await == 200).then_some(())
    })
    .await;
    assert_eq!(spend(&server, key, 5_400).await, 200);
    eventually("every level has warned", async || {
        (told_of_budgets(&receiver) == of("limit.warning")).then_some(())
    })
    .await;
    assert_eq!(spend(&server, key, 10).await, 200);
    assert_eq!(spend(&server, key, 2_000).await, 200, "the last one goes beyond");

    let all = [of("limit.exhausted"), of("limit.warning")].concat();
    eventually("every level is exhausted", async || {
        (told_of_budgets(&receiver).len() >= all.len()).then_some(())
    })
    .await;
    assert_eq!(spend(&server, key, 1).await, 402);
    assert_eq!(told_of_budgets(&receiver), all);
}

#[test]
fn a_private_address_is_refused_unless_the_house_allows_it() {
    let folder = Folder::new();
    for url in ["http://127.0.0.1:9/", "https://10.0.0.1/", "https://[::1]/", "http://example.com/"]
    {
        let refused = folder.run(&["webhook", "add", url]).refused(1);
        assert!(refused.contains("is not accepted; accepted:"), "{refused}");
    }
    folder.text(&["webhook", "add", "https://example.com/hooks"]);
}
