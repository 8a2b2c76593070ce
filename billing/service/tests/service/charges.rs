//! Charges: finance adds them, everyone who sees prices sees them, a customer only what is theirs.

use serde_json::json;

use crate::support::{Api, encoded};

const CHARGE: &str = "[[charge]]\nname = \"tokens\"\ncustomer = \"acme\"\ncurrency = \"CNY\"\n\
                      kind = \"package\"\nfrom = 2026-12-01T00:00:00Z\nsize = \"1000\"\n\
                      unit = \"5\"\n";

#[tokio::test]
async fn only_admin_and_finance_add_charges_and_a_customer_sees_its_own() {
    let api = Api::with_acme().await;
    let everyone = CHARGE.replace("customer = \"acme\"\n", "");
    let body = json!({"toml": format!("{CHARGE}{everyone}")});
    for role in ["operator", "customer", "gateway"] {
        let token = api.token(role).await;
        api.post_as(&token, "/api/v1/charges", &body).await.problem(403, "forbidden");
    }

    let finance = api.token("finance").await;
    let added = api.post_as(&finance, "/api/v1/charges", &body).await.created();

    assert_eq!(added["items"].as_array().unwrap().len(), 2);
    let version = added["items"][0]["version"].as_str().unwrap();
    let path = format!("/api/v1/charges/{}", encoded(version));
    let shown = api.get(&path).await.ok();
    assert_eq!(shown["per"], "1k_tokens");
    assert!(shown["terms"].as_str().unwrap().contains("kind = \"package\""), "{shown}");
    api.post("/api/v1/charges", &body).await.problem(409, "already_exists");
    let detail =
        api.post("/api/v1/charges", &json!({"toml": "[[charge]]"})).await.problem(422, "invalid");
    assert!(detail.contains("currency"), "{detail}");
    let ended =
        api.post(&format!("{path}/end"), &json!({"until": "2027-01-01T00:00:00Z"})).await.ok();
    assert_eq!(ended["until"], "2027-01-01T00:00:00Z");
    api.add_customer("other", "CNY").await;
    let theirs = json!({"toml": CHARGE.replace("acme", "other")});
    let other = api.post("/api/v1/charges", &theirs).await.created();
    let other = encoded(other["items"][0]["version"].as_str().unwrap());
    let acme = api.token("customer").await;
    assert_eq!(api.get_as(&acme, "/api/v1/charges").await.items().len(), 2);
    api.get_as(&acme, &format!("/api/v1/charges/{other}")).await.problem(404, "not_found");
}
