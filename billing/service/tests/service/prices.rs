//! Imports of prices: looked at first, applied by who may, and never with a slip of the unit.

use permille_rating::price_book::parse_price_book;
use serde_json::{Value, json};

use crate::support::{Api, column};

/// The body of an import of `ERNIE-Bot` and a model `new`, at `input` per thousand.
fn body(input: &str, apply: bool) -> Value {
    let entry = |model: &str, input: &str| {
        format!(
            "[[price]]\nmodel = \"{model}\"\ncurrency = \"CNY\"\nsource = \"list 2\"\n\
             from = 2026-12-01T00:00:00Z\ninput = \"{input}\"\noutput = \"0.012\"\n"
        )
    };
    let text = format!("{}{}", entry("ERNIE-Bot", input), entry("new", "0.01"));
    json!({"prices": parse_price_book(&text, "a test").unwrap(), "apply": apply})
}

const PATH: &str = "/api/v1/prices/import";

#[tokio::test]
async fn an_import_is_looked_at_first_and_changes_nothing_until_it_is_applied() {
    let api = Api::with_acme().await;
    let before = api.items("/api/v1/prices").await;

    let seen = api.post(PATH, &body("0.02", false)).await.ok();

    assert_eq!(seen["applied"], false);
    assert_eq!(seen["diff"]["added"][0]["model"], "new");
    let change = &seen["diff"]["changed"][0];
    assert_eq!(change["amounts"][0]["before"], "0.012");
    assert_eq!(change["amounts"][0]["after"], "0.02");
    assert_eq!(api.items("/api/v1/prices").await, before);

    let applied = api.post(PATH, &body("0.02", true)).await.ok();
    assert_eq!(applied["applied"], true);
    assert_eq!(api.items("/api/v1/prices").await.len(), before.len() + 2);
    let again = api.post(PATH, &body("0.02", true)).await.ok();
    assert_eq!(again["diff"]["unchanged"], 2);
    let trail = api.items("/api/v1/audit?noun=prices&id=book").await;
    assert_eq!(trail.len(), 1, "{trail:?}");
    assert_eq!((&trail[0]["action"], &trail[0]["role"]), (&json!("import"), &json!("admin")));
    let told = trail[0]["detail"].as_str().unwrap();
    assert!(told.starts_with("2 added: new@2026-12-01"), "{told}");
    assert!(told.contains("ERNIE-Bot@2026-12-01"), "{told}");
    let detail = api.get("/api/v1/audit?noun=price&id=book").await.problem(422, "invalid");
    assert!(detail.contains("noun `price`") && detail.contains("plan, prices"), "{detail}");
    assert!(api.items("/api/v1/audit?noun=plan&id=none").await.is_empty());
}

#[tokio::test]
async fn a_change_by_a_hundredfold_is_refused_unless_it_is_meant() {
    let api = Api::with_acme().await;
    let mut import = body("0.00012", true);

    let detail = api.post(PATH, &import).await.problem(422, "invalid");
    assert!(detail.contains("ERNIE-Bot") && detail.contains("accept_jumps"), "{detail}");

    import["accept_jumps"] = true.into();
    assert_eq!(api.post(PATH, &import).await.ok()["applied"], true);
}

#[tokio::test]
async fn only_admin_and_finance_import_prices() {
    let api = Api::with_acme().await;
    for (role, allowed) in
        [("finance", true), ("operator", false), ("customer", false), ("gateway", false)]
    {
        let token = api.token(role).await;
        let reply = api.post_as(&token, PATH, &body("0.02", false)).await;
        assert_eq!(reply.status, if allowed { 200 } else { 403 }, "{role}");
    }
}

#[tokio::test]
async fn a_customer_sees_no_cost_and_nobody_elses_terms() {
    let api = Api::with_acme().await;
    let entry = |head: &str| {
        format!(
            "[[price]]\nmodel = \"x\"\ncurrency = \"CNY\"\nsource = \"s\"\n\
             from = 2026-11-01T00:00:00Z\n{head}\ninput = \"1\"\n"
        )
    };
    let heads = ["customer = \"zen\"", "customer = \"acme\"", "side = \"cost\""];
    let prices = parse_price_book(&heads.map(entry).concat(), "a test").unwrap();
    let versions: Vec<_> = prices.iter().map(|price| price.version.to_string()).collect();
    api.post(PATH, &json!({"prices": prices, "apply": true})).await.ok();
    let customer = api.token("customer").await;

    let seen = api.get_as(&customer, "/api/v1/prices?model=x").await.items();

    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["price"]["version"], versions[1].as_str());
    for (place, status) in [(0, 404), (1, 200), (2, 404)] {
        let path = format!("/api/v1/prices/{}", crate::support::encoded(&versions[place]));
        assert_eq!(api.get_as(&customer, &path).await.status, status, "{}", versions[place]);
    }
    assert_eq!(column(&api.items("/api/v1/prices?model=x").await, "origin").len(), 3);
}

#[tokio::test]
async fn prices_that_contradict_each_other_are_refused_whole() {
    let api = Api::with_acme().await;
    let before = api.items("/api/v1/prices").await.len();
    let mut twice = body("0.02", true);
    let mut other = body("0.03", true)["prices"][0].clone();
    twice["prices"].as_array_mut().unwrap().push(other.clone());
    assert!(api.post(PATH, &twice).await.status >= 400);

    other["version"] = "ERNIE-Bot@2026-12-01.000000000000".into();
    assert!(api.post(PATH, &json!({"prices": [other], "apply": true})).await.status >= 400);
    assert_eq!(api.items("/api/v1/prices").await.len(), before);
}
