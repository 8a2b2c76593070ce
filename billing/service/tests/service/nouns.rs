//! Customers, projects, keys, tokens and prices: made, shown and listed as the interface says.

use permille_types::{ControlPlane, PriceVersion};
use serde_json::{Value, json};

use crate::support::{Api, NOW, column, encoded};

fn names(document: &Value) -> Vec<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_customer_is_what_was_asked_for_and_its_id_comes_from_its_name() {
    let api = Api::start().await;
    let asked = json!({
        "name": "Acme (Shanghai) Ltd.", "currency": "cny", "time_zone": "Asia/Shanghai"
    });

    let made = api.post("/api/v1/customers", &asked).await.created();

    let expected = json!({
        "id": "acme-shanghai-ltd", "name": "Acme (Shanghai) Ltd.", "currency": "CNY",
        "time_zone": "Asia/Shanghai", "created_at": NOW
    });
    assert_eq!(made, expected);
    assert_eq!(api.get("/api/v1/customers/acme-shanghai-ltd").await.ok(), expected);
    assert_eq!(api.get("/api/v1/customers").await.ok(), json!({"items": [expected]}));
    let short = json!({"id": "b", "name": "B", "currency": "USD"});
    assert_eq!(api.post("/api/v1/customers", &short).await.created()["time_zone"], "UTC");
}

#[tokio::test]
async fn a_customer_begins_with_a_project_and_may_have_more() {
    let api = Api::with_acme().await;
    let asked = json!({"customer": "acme", "name": "Web Shop"});

    let made = api.post("/api/v1/projects", &asked).await.created();

    let expected = json!({
        "customer": "acme", "id": "web-shop", "name": "Web Shop", "created_at": NOW
    });
    assert_eq!(made, expected);
    let listed = api.items("/api/v1/projects?customer=acme").await;
    assert_eq!(column(&listed, "id"), ["default", "web-shop"]);
    assert_eq!(listed[1], expected);
}

#[tokio::test]
async fn a_key_is_shown_once_and_known_to_gateways_when_its_creation_answers() {
    let api = Api::with_acme().await;
    let asked = json!({"customer": "acme", "name": "laptop", "rpm": 60, "tpm": null});

    let mut made = api.post("/api/v1/keys", &asked).await.created();

    let secret = made.as_object_mut().unwrap().remove("secret").unwrap();
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    assert!(secret.ends_with(made["last4"].as_str().unwrap()), "{made}");
    assert_eq!(
        names(&made),
        ["created_at", "customer", "id", "last4", "name", "prefix", "project", "rpm"]
    );
    assert_eq!((&made["project"], &made["rpm"]), (&json!("default"), &json!(60)));
    assert_eq!(api.items("/api/v1/keys").await, [made.clone()]);
    let known = api.billing.snapshot(None).await.unwrap().unwrap();
    assert_eq!(known.keys.len(), 1);
    assert_eq!(known.keys[0].key.as_str(), made["id"]);
    assert_eq!(known.keys[0].hash, permille_ledger::Pepper::new([7; 32]).digest(secret));
}

#[tokio::test]
async fn a_revoked_key_stays_listed_with_the_time() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let path = format!("/api/v1/keys/{}/revoke", key["id"].as_str().unwrap());

    let revoked = api.post(&path, &Value::Null).await.ok();

    assert_eq!(revoked["revoked_at"], NOW);
    assert_eq!(api.post(&path, &Value::Null).await.ok(), revoked);
    assert_eq!(api.items("/api/v1/keys?customer=acme").await, [revoked]);
    assert!(api.billing.snapshot(None).await.unwrap().unwrap().keys[0].revoked);
}

#[tokio::test]
async fn a_token_says_its_role_and_customer() {
    let api = Api::with_acme().await;
    let asked = json!({"role": "customer", "customer": "acme", "name": "console"});

    let mut made = api.post("/api/v1/tokens", &asked).await.created();

    let secret = made.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("pmt_"));
    assert_eq!(names(&made), ["created_at", "customer", "id", "last4", "name", "prefix", "role"]);
    assert_eq!((&made["role"], &made["customer"]), (&json!("customer"), &json!("acme")));
    let listed = api.items("/api/v1/tokens").await;
    assert_eq!(listed.len(), 2, "beside the admin's own");
    assert!(listed.contains(&made), "{listed:?}");
}

#[tokio::test]
async fn prices_are_listed_filtered_and_shown_with_decimals_as_text() {
    let api = Api::start().await;
    let count = async |query: &str| api.items(&format!("/api/v1/prices?{query}")).await.len();

    let listed = api.items("/api/v1/prices").await;

    let models: Vec<_> = listed.iter().map(|row| row["price"]["model"].clone()).collect();
    assert_eq!(models, ["ERNIE-Bot", "lab/gpt-test"]);
    let version = listed[0]["price"]["version"].as_str().unwrap();
    assert!(version.parse::<PriceVersion>().is_ok());
    assert_eq!(
        listed[0],
        json!({
            "price": {
                "version": version, "model": "ERNIE-Bot", "currency": "CNY",
                "from": "2023-10-01T00:00:00Z", "source": "official list of 2024-01-19",
                "rates": {"per_thousand": {
                    "input_uncached": "0.012", "output_text": "0.012", "reasoning": "0.012"
                }}
            },
            "origin": "operator", "superseded": false, "added_at": NOW
        })
    );
    for row in &listed {
        let version = row["price"]["version"].as_str().unwrap();
        let shown = api.get(&format!("/api/v1/prices/{}", encoded(version))).await.ok();
        assert_eq!(shown, *row, "{version}");
    }
    assert_eq!(count("currency=USD").await, 1);
    assert_eq!(count("currency=EUR").await, 0);
    assert_eq!(count("model=ERNIE-Bot").await, 1);
    assert_eq!(count("model=ERNIE-Bot&currency=USD").await, 0);
    assert_eq!(count("at=2023-09-30T23:59:59Z").await, 0);
    assert_eq!(count("at=2023-10-01T08:00:00%2B08:00").await, 2);
}

#[tokio::test]
async fn every_list_in_pages_of_any_size_is_the_whole_list_once() {
    let api = Api::start().await;
    for number in 1..=5 {
        let id = format!("c{number}");
        api.add_customer(&id, "CNY").await;
        api.post("/api/v1/projects", &json!({"customer": id, "name": "web"})).await.created();
        api.add_key(&id).await;
        api.token("finance").await;
        for period in ["2026-10", "2026-11"] {
            let month = json!({"customer": id, "period": period});
            api.post("/api/v1/invoices/draft", &month).await.ok();
        }
    }
    for (list, rows) in [
        ("customers", 5),
        ("projects", 10),
        ("projects?customer=c3", 2),
        ("keys", 5),
        ("keys?customer=c3", 1),
        ("tokens", 6),
        ("prices", 2),
        ("invoices", 10),
        ("invoices?customer=c3", 2),
    ] {
        let path = format!("/api/v1/{list}");
        let whole = api.items(&path).await;
        assert_eq!(whole.len(), rows, "{list}");
        for limit in [1, 2, 3, 5, rows, 1_000] {
            assert_eq!(api.pages(&path, limit).await, whole, "{list} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_page_has_100_rows_unless_told_and_its_cursor_outlives_new_rows() {
    let api = Api::with_acme().await;
    for number in 0..101 {
        let project = json!({"customer": "acme", "name": format!("p{number:03}")});
        api.post("/api/v1/projects", &project).await.created();
    }

    let first = api.get("/api/v1/projects").await.ok();
    let before = json!({"customer": "acme", "name": "a0"});
    api.post("/api/v1/projects", &before).await.created();
    let cursor = encoded(first["next_cursor"].as_str().unwrap());
    let second = api.get(&format!("/api/v1/projects?cursor={cursor}")).await.ok();

    assert_eq!(first["items"].as_array().unwrap().len(), 100);
    assert_eq!(column(second["items"].as_array().unwrap(), "id"), ["p099", "p100"]);
    assert!(second.get("next_cursor").is_none());
}

#[tokio::test]
async fn a_list_may_be_asked_for_its_head_only() {
    let api = Api::with_acme().await;

    let reply = api.ask(http::Method::HEAD, &api.admin, "/api/v1/customers", "").await;

    assert_eq!((reply.status, reply.body.len()), (200, 0));
}
