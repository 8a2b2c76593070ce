//! The internal intake route: what gateways ship is booked once, whatever comes again or broken.

use http::Method;
use permille_ledger::BATCH_EVENTS_MAX;
use permille_types::{
    BATCH_MEDIA_TYPE, Endpoint, INTAKE_PATH, SNAPSHOT_PATH, STORED_RESPONSE_PATH, TURN_PATH,
};
use serde_json::{Value, json};

use crate::{
    events::{Gateway, body, event, payload, request_id},
    metrics::sample,
    support::{Api, column},
};

/// The API with `acme` and the id of a key of it.
async fn books() -> (Api, String) {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await["id"].as_str().unwrap().to_owned();
    (api, key)
}

/// What money depends on.
async fn bill(api: &Api) -> (Vec<Value>, Value) {
    let month = json!({"customer": "acme", "period": "2026-11"});
    let invoice = api.post("/api/v1/invoices/preview", &month).await.ok();
    (api.items("/api/v1/usage").await, invoice)
}

fn results(api: &Api) -> [u64; 4] {
    ["booked", "duplicate", "conflict", "quarantined"].map(|result| {
        sample(&api.registry, &format!("permille_intake_events_total{{result=\"{result}\"}}"))
            .map_or(0, |value| value.parse().unwrap())
    })
}

#[tokio::test]
async fn a_batch_again_is_acknowledged_and_bills_nothing_more() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let events: Vec<_> = (1..=5).map(|number| event(number, "acme", &key)).collect();
    gateway.ship(1, &events).await;
    let before = bill(&api).await;

    gateway.ship(1, &events).await;
    gateway.ship(3, &events[2..]).await;
    gateway.ship(40, &events[..1]).await;

    assert_eq!(bill(&api).await, before);
    assert_eq!(results(&api), [5, 9, 0, 0]);
    assert!(api.items("/api/v1/usage/quarantine").await.is_empty());
}

#[tokio::test]
async fn the_same_events_shipped_at_once_are_booked_once() {
    let (api, key) = books().await;
    let (one, two) = (Gateway::of(&api, "n1").await, Gateway::of(&api, "n2").await);
    let events: Vec<_> = (1..=50).map(|number| event(number, "acme", &key)).collect();

    tokio::join!(one.ship(1, &events), two.ship(1, &events), one.ship(1, &events[..9]));

    let (rows, invoice) = bill(&api).await;
    assert_eq!((rows.len(), &invoice["requests"]), (50, &json!(50)));
    assert_eq!(results(&api), [50, 59, 0, 0]);
}

#[tokio::test]
async fn another_payload_under_a_booked_id_is_quarantined_counted_and_shown() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &[event(1, "acme", &key)]).await;
    let before = bill(&api).await;
    let mut other = event(1, "acme", &key);
    other.latency_ms += 1;

    gateway.ship(2, std::slice::from_ref(&other)).await;
    gateway.ship(2, std::slice::from_ref(&other)).await;

    assert_eq!(bill(&api).await, before);
    assert_eq!(results(&api), [1, 1, 1, 0]);
    let kept = api.items("/api/v1/usage/quarantine").await;
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0]["reason"], &kept[0]["node"]), (&json!("conflict"), &json!("n1")));
    assert_eq!((&kept[0]["sequence"], &kept[0]["request_id"]), (&json!(2), &request_id(1).into()));
    assert_eq!(kept[0]["payload"], String::from_utf8(payload(&other)).unwrap());
    assert_eq!(kept[0]["state"], "open");

    let path = format!("/api/v1/usage/quarantine/{}", kept[0]["id"].as_str().unwrap());
    let still = api.post(&format!("{path}/book"), &json!({})).await.problem(409, "conflict");
    assert!(still.contains("conflict, the request is booked with another content"), "{still}");
    let note = json!({"note": "the first one stands"});
    let dismissed = api.post(&format!("{path}/dismiss"), &note).await.ok();
    assert_eq!((&dismissed["state"], &dismissed["note"]), (&json!("dismissed"), &note["note"]));
    assert!(api.items("/api/v1/usage/quarantine?state=open").await.is_empty());
    assert_eq!(api.items("/api/v1/usage/quarantine?state=dismissed").await, [dismissed]);
    assert_eq!(bill(&api).await, before);
}

#[tokio::test]
async fn what_cannot_be_booked_is_set_aside_and_the_rest_lands() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let mut future = event(8, "acme", &key);
    future.version = 0;
    let payloads = [
        payload(&event(1, "acme", &key)),
        b"\xff\x00 no text".to_vec(),
        b"null".to_vec(),
        b"".to_vec(),
        b" {} ".to_vec(),
        br#"{"version":1}"#.to_vec(),
        payload(&event(2, "nobody", &key)),
        payload(&event(3, "acme", "key_none")),
        payload(&future),
        payload(&event(4, "acme", &key)),
    ];

    let reply = gateway.ship_bytes(1, &payloads).await;

    assert_eq!(reply.ok(), json!({"version": 1, "sequence": 10, "quarantined": 8}));
    let rows = api.items("/api/v1/usage").await;
    assert_eq!(column(&rows, "request_id"), [request_id(4), request_id(1)]);
    assert_eq!(results(&api), [2, 0, 0, 8]);
    let mut kept = api.pages("/api/v1/usage/quarantine", 3).await;
    kept.sort_by_key(|row| row["sequence"].as_u64());
    assert_eq!(column(&kept, "sequence"), ["2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(
        column(&kept, "reason")[4..],
        ["unreadable", "unknown_customer", "unknown_key", "unreadable"]
    );
    let text: Vec<_> = payloads[1..9].iter().map(|p| String::from_utf8_lossy(p)).collect();
    assert_eq!(column(&kept, "payload"), text);
}

#[tokio::test]
async fn two_nodes_have_sequences_of_their_own_and_one_bill() {
    let (api, key) = books().await;
    let (one, two) = (Gateway::of(&api, "n1").await, Gateway::of(&api, "n2").await);

    one.ship(7, &[event(1, "acme", &key), event(2, "acme", &key)]).await;
    two.ship(1, &[event(3, "acme", &key)]).await;
    two.ship(2, &[event(1, "acme", &key)]).await;

    let (rows, invoice) = bill(&api).await;
    assert_eq!((rows.len(), &invoice["requests"]), (3, &json!(3)));
    assert_eq!(results(&api), [3, 1, 0, 0]);
    let mut nodes = api.billing.ledger().checkpoints().await.unwrap();
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    let nodes: Vec<_> = nodes.iter().map(|node| (node.node.as_str(), node.sequence)).collect();
    assert_eq!(nodes, [("n1", 8), ("n2", 2)]);
}

/// A refusal is a 4xx: the gateway keeps the batch and says so, rather than trying for ever.
#[tokio::test]
async fn a_body_of_another_version_or_shape_is_refused_whole() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let good = body("n1", 1, &[payload(&event(1, "acme", &key))]);
    let with = |at: usize, bytes: &[u8]| {
        let mut body = good.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        body
    };
    for (body, part) in [
        (with(0, &[3, 0]), "version 3, this build reads up to 2"),
        (with(0, &[0, 0]), "version 0, this build reads up to 2"),
        (with(2, &[0, 0]), "node id is empty"),
        (with(4, b"\x07"), "node id holds a control character"),
        (with(2, &[0xff, 0xff]), "ends within its node id"),
        (with(14, &[0xff; 8]), "ends within its events"),
        (good[..good.len() - 1].to_vec(), "ends within its events"),
        (good[..6].to_vec(), "batch `0` is not accepted; accepted: 1 to 10000"),
        (Vec::new(), "ends within its version"),
    ] {
        let reply = gateway.post(body).await;

        let detail = reply.problem(422, "invalid");
        assert!(detail.contains(part), "no `{part}` in: {detail}");
    }
    let bearer = format!("Bearer {}", gateway.token());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let json = api.send(Method::POST, INTAKE_PATH, &headers, good.clone()).await;
    let detail = json.problem(415, "unsupported_media_type");
    assert!(detail.contains(BATCH_MEDIA_TYPE), "{detail}");
    assert!(api.items("/api/v1/usage").await.is_empty());
    assert!(api.billing.ledger().checkpoints().await.unwrap().is_empty());
    gateway.post(good).await.ok();
}

#[tokio::test]
async fn a_batch_has_a_bound_in_events() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let payloads = vec![payload(&event(1, "acme", &key)); BATCH_EVENTS_MAX + 1];

    let more = gateway.ship_bytes(1, &payloads).await;

    let detail = more.problem(422, "invalid");
    assert_eq!(detail, "batch `10001` is not accepted; accepted: 1 to 10000 events");
    assert!(api.items("/api/v1/usage").await.is_empty());
}

#[tokio::test]
async fn gateways_learn_the_last_turn_of_a_session() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &[event(1, "acme", &key), event(4, "acme", &key)]).await;
    let turn =
        async |query: &str| api.get_as(gateway.token(), &format!("{TURN_PATH}?{query}")).await;

    let known = turn("customer=acme&session=chat-1").await.ok();
    let new = turn("customer=acme&session=other").await.ok();

    assert_eq!(known, json!({"version": 1, "turn": 4}));
    assert_eq!(new, json!({"version": 1, "turn": 0}));
    let detail = turn("customer=acme").await.problem(422, "invalid");
    assert!(detail.contains("`session`"), "{detail}");
}

#[tokio::test]
async fn gateways_learn_who_created_a_stored_response() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let mut created = event(1, "acme", &key);
    created.endpoint = Endpoint::Responses;
    created.attempts[0].provider_id = Some("resp/1".to_owned());
    gateway.ship(1, std::slice::from_ref(&created)).await;
    let path = |query: &str| format!("{STORED_RESPONSE_PATH}?{query}");
    let stored = async |query: &str| api.get_as(gateway.token(), &path(query)).await;

    let known = stored("customer=acme&id=resp%2F1").await.ok();
    let unknown = stored("customer=acme&id=resp_2").await.ok();

    assert_eq!(known["response"]["created"]["request_id"], created.request_id.to_string());
    assert_eq!(known["response"]["settled"], false);
    assert_eq!(unknown, json!({"version": 1, "response": null}));
    let detail = stored("customer=acme").await.problem(422, "invalid");
    assert!(detail.contains("`id`"), "{detail}");
}

#[tokio::test]
async fn a_snapshot_waits_for_a_change_and_answers_with_it() {
    let (api, key) = books().await;
    let gateway = Gateway::of(&api, "n1").await;
    let first = api.get_as(gateway.token(), SNAPSHOT_PATH).await.ok();
    let version = first["version"].as_u64().unwrap();
    assert_eq!(column(first["keys"].as_array().unwrap(), "key"), [key]);
    let path = format!("{SNAPSHOT_PATH}?known={version}");

    let (waited, added) = tokio::join!(api.get_as(gateway.token(), &path), api.add_key("acme"));

    let next = waited.ok();
    assert!(next["version"].as_u64().unwrap() > version);
    let keys = column(next["keys"].as_array().unwrap(), "key");
    assert!(keys.contains(&added["id"].as_str().unwrap().to_owned()), "{keys:?}");
    // A version from before a restored backup is answered at once.
    api.get_as(gateway.token(), &format!("{SNAPSHOT_PATH}?known=999999")).await.ok();
    let detail = api.get_as(gateway.token(), &format!("{SNAPSHOT_PATH}?known=x")).await;
    assert!(detail.problem(422, "invalid").starts_with("known `x` is not accepted"));
    assert_eq!(INTAKE_PATH, "/internal/v1/intake");
}
