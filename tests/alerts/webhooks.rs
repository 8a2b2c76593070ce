//! Endpoints of webhooks that fail.

use serde_json::Value;

use crate::{
    Fired, shortened_rules,
    support::{
        Folder, Server, eventually,
        prometheus::Prometheus,
        receiver::{Answer, Receiver},
    },
};

/// A server with an endpoint that it has told of one event, its folder and the two ids.
async fn told(retry_seconds: &str, receiver: &Receiver) -> (Folder, Server, String, String) {
    let folder = Folder::new();
    let webhooks = format!("[webhooks]\nallow_private = true\nretry_seconds = {retry_seconds}\n");
    folder.config(&webhooks);
    let server = folder.serve().await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let webhook = text(&folder.json(&["webhook", "add", &receiver.url()])["id"]);
    let event = text(&folder.json(&["webhook", "test", &webhook])["event"]);
    (folder, server, webhook, event)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_on_an_endpoint_that_fails_fire_and_clear() {
    let failing = Receiver::start(&[Answer::Status(503)]).await;
    let given_up = Receiver::start(&[Answer::Status(503), Answer::Status(503)]).await;
    // One event is tried again in an hour, the other one is given up after a second.
    let late = told("[3600]", &failing).await;
    let dead = told("[1]", &given_up).await;
    let rules = shortened_rules(&late.0);
    let targets = [late.1.metrics(), dead.1.metrics()];
    let prometheus = Prometheus::start(late.0.path(), &targets, &rules).await;
    let expected = ["PermilleWebhooksDead", "PermilleWebhooksLate"];
    let mut fired = Fired::default();
    eventually("the alerts fire", async || fired.have(&prometheus, &expected).await).await;
    fired.check_texts();

    for (folder, _, webhook, event) in [&late, &dead] {
        folder.text(&["webhook", "resend", webhook, event]);
    }
    eventually("the alerts clear", async || fired.is_silent(&prometheus, &expected).await).await;
    for receiver in [&failing, &given_up] {
        assert!(receiver.received().len() > 1, "it was told in the end");
    }
}
