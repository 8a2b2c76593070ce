//! Plans and prepaid credit over the API: who may, and what a customer sees.

use serde_json::{Value, json};

use crate::support::Api;

const PLANS: &str = "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                     fee = \"30\"\n\n[[plan]]\nname = \"secret\"\nkind = \"metered\"\n\
                     currency = \"CNY\"\nminimum = \"5\"\n";

async fn with_plans() -> Api {
    let api = Api::with_acme().await;
    let added = api.post("/api/v1/plans", &json!({"toml": PLANS})).await.created();
    assert_eq!(added["items"].as_array().unwrap().len(), 2);
    api
}

#[tokio::test]
async fn finance_gives_a_customer_a_plan_and_its_invoice_has_the_fee() {
    let api = with_plans().await;
    let finance = api.token("finance").await;
    let body = json!({"plan": "team", "from": "2026-11-01T00:00:00Z"});

    let plans = api.post_as(&finance, "/api/v1/customers/acme/plans", &body).await.ok();
    let month = json!({"customer": "acme", "period": "2026-11"});
    let preview = api.post("/api/v1/invoices/preview", &month).await.ok();

    assert_eq!(plans["items"][0]["plan"], "team");
    assert_eq!(preview["lines"][0]["class"], "fee");
    assert_eq!(preview["total"], "30.00");
    assert!(preview["charges"][0]["terms"].as_str().unwrap().contains("fee = \"30\""));
    for (role, status) in [("operator", 403), ("customer", 403), ("admin", 200)] {
        let token = api.token(role).await;
        let reply = api.post_as(&token, "/api/v1/customers/acme/plans", &body).await;
        assert_eq!(reply.status, status, "{role}");
    }
    let unknown = json!({"plan": "nothing"});
    api.post("/api/v1/customers/acme/plans", &unknown).await.problem(404, "not_found");
    let detail = api
        .post("/api/v1/plans", &json!({"toml": PLANS.replace("fee", "fees")}))
        .await
        .problem(422, "invalid");
    assert!(detail.contains("did you mean `fee`?"), "{detail}");
}

#[tokio::test]
async fn a_customer_sees_the_plans_that_it_has_had_and_no_others() {
    let api = with_plans().await;
    let acme = api.token("customer").await;
    assert_eq!(api.get_as(&acme, "/api/v1/plans").await.items(), Vec::<Value>::new());

    api.post("/api/v1/customers/acme/plans", &json!({"plan": "team"})).await.ok();

    let seen = api.get_as(&acme, "/api/v1/plans").await.items();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["name"], "team");
    api.get_as(&acme, "/api/v1/plans/secret").await.problem(404, "not_found");
    assert_eq!(api.get_as(&acme, "/api/v1/plans/team").await.ok()["kind"], "subscription");
    api.add_customer("other", "CNY").await;
    api.get_as(&acme, "/api/v1/customers/other/plans").await.problem(404, "not_found");
}

#[tokio::test]
async fn credit_is_granted_by_finance_and_seen_by_its_customer() {
    let api = Api::with_acme().await;
    let finance = api.token("finance").await;
    let body = json!({"customer": "acme", "amount": "12.50", "paid": "10", "reason": "top-up"});

    let granted = api.post_as(&finance, "/api/v1/grants", &body).await.created();

    assert_eq!((&granted["amount"], &granted["left"]), (&json!("12.50"), &json!("12.50")));
    let operator = api.token("operator").await;
    api.post_as(&operator, "/api/v1/grants", &body).await.problem(403, "forbidden");
    let detail = api
        .post("/api/v1/grants", &json!({"customer": "acme", "amount": "ten", "reason": "x"}))
        .await
        .problem(422, "invalid");
    assert!(detail.contains("amount `ten`"), "{detail}");
    let acme = api.token("customer").await;
    assert_eq!(api.get_as(&acme, "/api/v1/grants").await.items().len(), 1);
    api.add_customer("other", "CNY").await;
    let theirs = json!({"customer": "other", "amount": "1", "reason": "theirs"});
    api.post("/api/v1/grants", &theirs).await.created();
    assert_eq!(api.get_as(&acme, "/api/v1/grants").await.items().len(), 1);
}
