//! Work in steps over the API: how far it is, and that a step too far or too large is refused.

use serde_json::{Value, json};

use crate::{
    events::{Gateway, event},
    support::Api,
};

const PLAN: &str = "[[plan]]\nname = \"flat\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                    fee = \"30\"\n";

/// `a1`, `a2` and `acme`, of whom the first two have usage in October.
async fn october() -> Api {
    let api = Api::with_acme().await;
    for (number, customer) in [(1, "a1"), (2, "a2")] {
        api.add_customer(customer, "CNY").await;
        let key = api.add_key(customer).await;
        let mut used = event(number, customer, key["id"].as_str().unwrap());
        used.at = "2026-10-10T10:00:00Z".parse().unwrap();
        Gateway::of(&api, "n1").await.ship(number.into(), &[used]).await;
    }
    api
}

/// Every step of a call, of one customer each.
async fn steps(api: &Api, path: &str, mut body: Value) -> Vec<Value> {
    let mut steps = Vec::new();
    body["limit"] = json!(1);
    loop {
        let step = api.post(path, &body).await.ok();
        body["cursor"] = step["progress"]["next_cursor"].clone();
        let is_last = body["cursor"].is_null();
        steps.push(step);
        if is_last {
            return steps;
        }
    }
}

#[tokio::test]
async fn a_close_is_drafted_customer_by_customer_and_its_end_is_the_report() {
    let api = october().await;

    let steps = steps(&api, "/api/v1/close/2026-10/drafts", json!({})).await;
    let whole = api.post("/api/v1/close/2026-10", &json!({})).await.ok();
    let at_once = api.post("/api/v1/close/2026-10/drafts", &json!({})).await.ok();

    let done: Vec<_> = steps.iter().map(|step| step["progress"]["done"].clone()).collect();
    assert_eq!(done, [1, 2, 3]);
    assert!(steps.iter().all(|step| step["progress"]["of"] == 3 && step["period"] == "2026-10"));
    assert!(steps[..2].iter().all(|step| step.get("close").is_none()), "{steps:?}");
    assert_eq!(steps[2]["close"], whole);
    assert_eq!(at_once["close"], whole);
    let drafts = api.items("/api/v1/invoices").await;
    assert_eq!(drafts.len(), 2);
    for (limit, named) in [(0, "limit `0`"), (1_001, "limit `1001`")] {
        let refused = api.post("/api/v1/close/2026-10/drafts", &json!({"limit": limit})).await;
        let detail = refused.problem(422, "invalid");
        assert!(detail.contains(named) && detail.contains("1 to 1000"), "{detail}");
    }
}

#[tokio::test]
async fn a_simulation_is_made_customer_by_customer() {
    let api = october().await;
    let body = json!({"toml": PLAN, "period": "2026-10"});

    let whole = api.post("/api/v1/simulate", &body).await.ok();
    let steps = steps(&api, "/api/v1/simulate", body.clone()).await;

    assert!(whole.get("progress").is_none(), "{whole}");
    let customers: Vec<Value> =
        steps.iter().flat_map(|step| step["customers"].as_array().unwrap().clone()).collect();
    assert_eq!(whole["customers"], Value::from(customers));
    let done: Vec<_> = steps.iter().map(|step| step["progress"]["done"].clone()).collect();
    assert_eq!(done, [1, 2, 3]);
    let mut too_many = body;
    too_many["limit"] = json!(1_001);
    let detail = api.post("/api/v1/simulate", &too_many).await.problem(422, "invalid");
    assert!(detail.contains("limit `1001`"), "{detail}");
}
