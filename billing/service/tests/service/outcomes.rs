//! What became of a session: told, kept, and never mixed with what is inferred.

use serde_json::{Value, json};

use crate::{
    events::{Gateway, event},
    support::{Api, Reply, column},
};

/// `acme` and `globex` with a session `chat-1` each.
async fn two() -> Api {
    let api = Api::with_acme().await;
    api.add_customer("globex", "CNY").await;
    for (number, customer) in (1..).zip(["acme", "globex"]) {
        let key = api.add_key(customer).await;
        let used = event(number, customer, key["id"].as_str().unwrap());
        Gateway::of(&api, "n1").await.ship(number.into(), &[used]).await;
    }
    api
}

async fn tell(api: &Api, token: &str, body: Value) -> Reply {
    api.post_as(token, "/api/v1/sessions/chat-1/outcome", &body).await
}

#[tokio::test]
async fn an_outcome_is_kept_with_its_author_beside_what_is_inferred() {
    let api = two().await;
    let accepted = json!({"customer": "acme", "outcome": "accepted"});

    let told = tell(&api, &api.admin, accepted.clone()).await.ok();
    let shown = api.get("/api/v1/sessions/chat-1?customer=acme").await.ok();
    let other = api.get("/api/v1/sessions/chat-1?customer=globex").await.ok();

    let admin = api.items("/api/v1/tokens").await;
    assert!(column(&admin, "id").contains(&told["outcome"]["by"].as_str().unwrap().to_owned()));
    assert_eq!(told["outcome"]["outcome"], "accepted");
    assert_eq!(told["outcome"]["at"], "2026-11-20T10:00:00Z");
    assert_eq!(told["inferred_outcome"], "ended");
    assert_eq!(shown["session"], told);
    assert!(other["session"].get("outcome").is_none(), "another customer's is another session");
    let again = tell(&api, &api.token("operator").await, accepted).await.ok();
    assert_eq!(again, told, "the same again changes nothing, not even the author");
    let rejected = json!({"customer": "acme", "outcome": "rejected"});
    let changed = tell(&api, &api.admin, rejected).await.ok();
    assert_eq!(changed["outcome"]["outcome"], "rejected");
    assert_eq!(api.items("/api/v1/sessions?customer=acme").await, [changed]);
}

#[tokio::test]
async fn a_customer_tells_of_its_own_sessions_only() {
    let api = two().await;
    let customer = api.token("customer").await;

    tell(&api, &customer, json!({"outcome": "resolved"})).await.ok();
    let others = json!({"outcome": "resolved", "customer": "globex"});
    let detail = tell(&api, &customer, others).await.problem(404, "not_found");

    assert_eq!(detail, "customer `globex` is unknown");
    let outcomes = api.items("/api/v1/sessions").await;
    assert_eq!(outcomes.iter().filter(|session| session.get("outcome").is_some()).count(), 1);
}

#[tokio::test]
async fn what_is_no_outcome_and_no_session_is_named() {
    let api = two().await;

    let happy = json!({"customer": "acme", "outcome": "happy"});
    let detail = tell(&api, &api.admin, happy).await.problem(422, "invalid");
    let accepted = json!({"customer": "acme", "outcome": "accepted"});
    let path = "/api/v1/sessions/chat-9/outcome";
    let unknown = api.post_as(&api.admin, path, &accepted).await.problem(404, "not_found");

    assert!(detail.contains("`happy`") && detail.contains("resolved"), "{detail}");
    assert_eq!(unknown, "session `chat-9` of customer `acme` is unknown");
}
