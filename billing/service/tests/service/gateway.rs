//! The gateway beside billing: a change of keys is answered once it is in force there.

use std::time::Duration;

use permille_types::ControlPlane;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Api, column};

#[tokio::test]
async fn a_key_is_answered_when_the_gateway_beside_it_knows_and_not_before() {
    let api = Api::with_acme().await;
    let ledger = api.billing.ledger();
    let gateway = watch::Sender::new(ledger.snapshot_version());
    api.billing.serve_gateway(gateway.subscribe());
    let asked = json!({"customer": "acme"});
    let mut changes = ledger.snapshot_changes();

    let mut created = Box::pin(api.post("/api/v1/keys", &asked));
    let listed = async {
        changes.changed().await;
        // Answers to others do not wait.
        api.items("/api/v1/keys").await
    };
    let listed = tokio::select! {
        biased;
        early = &mut created => panic!("answered too early: {early:?}"),
        listed = listed => listed,
    };
    gateway.send_replace(ledger.snapshot_version());
    let created = created.await.created();

    assert_eq!(column(&listed, "id"), [created["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_revocation_is_answered_when_the_gateway_beside_it_refuses_the_key() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let ledger = api.billing.ledger();
    let gateway = watch::Sender::new(ledger.snapshot_version());
    api.billing.serve_gateway(gateway.subscribe());
    let path = format!("/api/v1/keys/{}/revoke", key["id"].as_str().unwrap());
    let mut changes = ledger.snapshot_changes();

    let mut revoked = Box::pin(api.post(&path, &Value::Null));
    let in_force = async {
        changes.changed().await;
        api.items("/api/v1/keys").await
    };
    tokio::select! {
        biased;
        early = &mut revoked => panic!("answered too early: {early:?}"),
        _ = in_force => {}
    }
    gateway.send_replace(ledger.snapshot_version());

    assert!(revoked.await.ok().get("revoked_at").is_some());
}

/// A gateway that hangs or has gone must not hold people up.
#[tokio::test]
async fn a_gateway_that_never_knows_holds_an_answer_for_a_bounded_time() {
    let api = Api::with_acme().await;
    let hung = watch::Sender::new(0);
    api.billing.serve_gateway(hung.subscribe());
    api.add_key("acme").await;

    drop(hung);
    api.add_key("acme").await;
}

/// A request for a newer snapshot ends by itself, before proxies end it.
#[tokio::test]
async fn a_snapshot_that_does_not_come_is_none_after_twenty_seconds() {
    let api = Api::with_acme().await;
    let version = api.billing.ledger().snapshot_version();
    tokio::time::pause();
    let asked = tokio::time::Instant::now();

    let newer = api.billing.snapshot(Some(version)).await.unwrap();

    assert!(newer.is_none());
    let waited = asked.elapsed().as_secs();
    assert!((20..25).contains(&waited), "{waited} s");
}

/// Of two billing processes one may not have looked yet. What it has is older than what the
/// gateway knows, and a key that was revoked would be in force again.
#[tokio::test]
async fn a_billing_process_that_lags_behind_looks_before_it_gives_a_gateway_older_keys() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await["id"].as_str().unwrap().to_owned();
    let second = api.second_billing().await;
    api.post(&format!("/api/v1/keys/{key}/revoke"), &json!({})).await.ok();
    let known = api.billing.ledger().snapshot_version();
    assert!(second.ledger().snapshot_version() < known);
    let restored = api.billing.snapshot(Some(known + 100)).await.unwrap().unwrap();
    assert_eq!(restored.version, known, "the store itself is older than what the gateway knows");

    let mut looked = second.ledger().snapshot_changes();
    let asked = second.clone();
    let asked = tokio::spawn(async move { asked.snapshot(Some(known)).await });
    tokio::time::timeout(Duration::from_mins(1), looked.changed()).await.unwrap();
    tokio::time::pause();

    let newer = asked.await.unwrap().unwrap();
    assert!(newer.is_none(), "{newer:?}");
    assert_eq!(second.ledger().snapshot_version(), known);
}
