//! A store that fails: the API says so without its inner words, and nothing is acknowledged.

use http::Method;
use permille_types::{Batch, ControlError, ControlPlane, Intake, Sequenced};
use serde_json::{Value, json};

use crate::{
    events::{Gateway, body, event, payload},
    metrics::sample,
    support::Api,
};

/// The API over a ledger that can no longer be used, with what was asked for before.
async fn failing() -> (Api, String, Vec<u8>) {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await["id"].as_str().unwrap().to_owned();
    let gateway = Gateway::of(&api, "n1").await.token().to_owned();
    api.billing.ledger().close().await;
    (api, gateway, payload(&event(1, "acme", &key)))
}

#[tokio::test]
async fn every_route_answers_503_without_inner_words() {
    let (api, gateway, payload) = failing().await;
    let batch = body("n1", 1, &[payload]);
    let month = json!({"customer": "acme", "period": "2026-11"}).to_string();
    for (method, token, path, sent) in [
        (Method::GET, &api.admin, "/api/v1/customers", Vec::new()),
        (Method::GET, &api.admin, "/api/v1/usage?customer=acme", Vec::new()),
        (Method::POST, &api.admin, "/api/v1/invoices/draft", month.into_bytes()),
        (Method::POST, &gateway, permille_types::INTAKE_PATH, batch),
        (Method::GET, &gateway, permille_types::SNAPSHOT_PATH, Vec::new()),
    ] {
        let reply = api.ask(method, token, path, sent).await;

        let detail = reply.problem(503, "store_failed");
        assert_eq!(detail, "the store failed; the server's log says why", "{path}");
    }
}

/// Refused would mean that the gateway need not try again.
#[tokio::test]
async fn a_gateway_is_told_to_come_back_with_its_batch() {
    let (api, _, payload) = failing().await;
    let events = vec![Sequenced { sequence: 1, payload: payload.into() }];
    let batch = Batch { node: "n1".parse().unwrap(), events };
    let (customer, session) = ("acme".parse().unwrap(), "chat-1".parse().unwrap());

    let intake = api.billing.accept(batch).await;
    let turn = api.billing.last_turn(&customer, &session).await;

    assert!(matches!(intake, Err(ControlError::Unavailable { .. })), "{intake:?}");
    assert!(matches!(turn, Err(ControlError::Unavailable { .. })), "{turn:?}");
    let batches = sample(&api.registry, "permille_intake_batch_seconds_count");
    assert_eq!(batches.as_deref(), Some("0"), "what was not booked is not counted");
    let booked = sample(&api.registry, "permille_intake_events_total{result=\"booked\"}");
    assert_eq!(booked.as_deref(), Some("0"));
}

#[tokio::test]
async fn what_is_wrong_before_the_store_is_asked_is_still_told() {
    let (api, ..) = failing().await;

    api.send(Method::GET, "/api/v1/usage", &[], "").await.problem(401, "unauthenticated");
    api.get("/api/v1/nothing").await.problem(404, "not_found");
    api.ask(Method::PUT, &api.admin, "/api/v1/usage", "").await.problem(405, "method_not_allowed");
    let reply = api.post("/api/v1/keys", &Value::Null).await;
    assert_eq!(reply.status, 503, "a token cannot be checked without the store");
}
