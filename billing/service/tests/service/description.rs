//! What the description says of every operation, and what that means when it is asked.

use http::Method;
use permille_service::openapi;
use serde_json::{Value, json};

use crate::support::Api;

/// Method, path and operation of everything that is described.
fn operations() -> Vec<(Method, String, &'static Value)> {
    let mut all = Vec::new();
    for (path, methods) in openapi()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.to_uppercase().parse().unwrap(), path.clone(), operation));
        }
    }
    all
}

/// Names of the parameters of an operation.
fn parameters(operation: &Value) -> Vec<&str> {
    let listed = operation["parameters"].as_array().unwrap().iter();
    let name = |parameter: &'static str| parameter;
    listed
        .map(|parameter| match parameter["$ref"].as_str() {
            Some("#/components/parameters/IdempotencyKey") => name("Idempotency-Key"),
            _ => parameter["name"].as_str().unwrap(),
        })
        .collect()
}

#[test]
fn every_operation_has_an_id_a_summary_roles_and_its_refusals() {
    let mut ids = Vec::new();
    for (method, path, operation) in operations() {
        let at = format!("{method} {path}");
        ids.push(operation["operationId"].as_str().unwrap());
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{at}");
        assert!(!operation["x-permille-roles"].as_array().unwrap().is_empty(), "{at}");
        let replies = operation["responses"].as_object().unwrap();
        for status in ["401", "403", "503"] {
            assert!(replies.contains_key(status), "{at}: no {status}");
        }
        assert_eq!(path.contains('{'), replies.contains_key("404") && path.contains('{'), "{at}");
        // Which take it is told in `keyed`.
        let takes_key = parameters(operation).contains(&"Idempotency-Key");
        assert!(!takes_key || method == Method::POST, "{at}");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            assert!(parameters(operation).contains(&name), "{at}: no parameter {name}");
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id is of one operation");
}

#[test]
fn schemas_have_one_name_each_and_every_reference_leads_somewhere() {
    fn references<'a>(part: &'a Value, found: &mut Vec<&'a str>) {
        match part {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|part| references(part, found));
            }
            Value::Array(items) => items.iter().for_each(|part| references(part, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(openapi(), &mut found);

    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(openapi().pointer(pointer).is_some(), "{reference}");
    }
    let names = openapi()["components"]["schemas"].as_object().unwrap();
    let numbered = names.keys().filter(|name| name.ends_with(|c: char| c.is_ascii_digit()));
    assert_eq!(numbered.collect::<Vec<_>>(), Vec::<&String>::new(), "two types of one name");
}

#[tokio::test]
async fn every_list_has_pages_of_a_bounded_size() {
    let api = Api::with_acme().await;
    let mut lists = 0;
    for (method, path, operation) in operations() {
        let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let name = answer["$ref"].as_str().unwrap_or_default();
        if method != Method::GET || !name.starts_with("#/components/schemas/PageOf") {
            continue;
        }
        lists += 1;
        let named = parameters(operation);
        assert!(named.contains(&"limit") && named.contains(&"cursor"), "{path}: {named:?}");
        let path = path.replace("{id}", "acme");
        for limit in ["0", "1001", "-1", "x"] {
            let of = if path.ends_with("/audit") { "noun=fx&id=rates&" } else { "" };
            let reply = api.get(&format!("{path}?{of}limit={limit}")).await;

            // Of what is not there the limit is not looked at.
            if reply.status != 404 {
                let detail = reply.problem(422, "invalid");
                let wanted = format!("limit `{limit}` is not accepted; accepted: 1 to 1000");
                assert_eq!(detail, wanted, "{path}");
            }
        }
    }
    assert!(lists >= 17, "{lists} lists");
}

#[tokio::test]
async fn short_lists_are_read_in_pages_like_the_others() {
    let api = Api::with_acme().await;
    let plan = |name: &str| {
        let toml = format!("[[plan]]\nname = \"{name}\"\nkind = \"metered\"\ncurrency = \"CNY\"\n");
        json!({ "toml": toml })
    };
    for name in ["one", "two", "three"] {
        api.post("/api/v1/plans", &plan(name)).await.created();
    }
    for (path, step) in [("/api/v1/customers/acme", "a"), ("/api/v1/customers/acme", "b")] {
        api.post(path, &json!({ "notes": step })).await.ok();
    }

    for path in ["/api/v1/plans", "/api/v1/customers/acme/history"] {
        let whole = api.items(path).await;

        assert_eq!(whole.len(), 3, "{path}");
        assert_eq!(api.pages(path, 1).await, whole, "{path}");
        let refused = api.get(&format!("{path}?cursor=none")).await.problem(422, "invalid");
        assert!(refused.contains("cursor `none`"), "{refused}");
    }
}

/// What is made under a key is made once; the same key for another thing is refused.
#[tokio::test]
async fn under_one_key_a_thing_is_made_once() {
    let api = Api::with_acme().await;
    let under = async |path: &str, key: &str, body: &Value| {
        let bearer = format!("Bearer {}", api.admin);
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        api.send(Method::POST, path, &headers, body.to_string()).await
    };
    for (number, (path, body, other)) in [
        (
            "/api/v1/customers",
            json!({"name": "Globex", "currency": "USD"}),
            json!({"name": "Initech", "currency": "USD"}),
        ),
        (
            "/api/v1/projects",
            json!({"customer": "acme", "name": "Search"}),
            json!({"customer": "acme", "name": "Mail"}),
        ),
        (
            "/api/v1/grants",
            json!({"customer": "acme", "amount": "5", "reason": "a test"}),
            json!({"customer": "acme", "amount": "6", "reason": "a test"}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        let made = under(path, &key, &body).await.created();

        assert_eq!(under(path, &key, &body).await.created(), made, "{path}");
        under(path, &key, &other).await.problem(409, "conflict");
        let without = api.items(path).await.len();
        under(path, &format!("another-{number}"), &other).await.created();
        assert_eq!(api.items(path).await.len(), without + 1, "{path}");
    }
}

#[tokio::test]
async fn a_repeated_creation_of_a_secret_names_what_was_made_and_makes_nothing() {
    let api = Api::with_acme().await;
    for (path, body) in [
        ("/api/v1/keys", json!({"customer": "acme"})),
        ("/api/v1/tokens", json!({"role": "finance"})),
    ] {
        let bearer = format!("Bearer {}", api.admin);
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", path)];
        let made = api.send(Method::POST, path, &headers, body.to_string()).await.created();
        let before = api.items(path).await.len();

        let again = api.send(Method::POST, path, &headers, body.to_string()).await;

        let refused = again.problem(409, "conflict");
        assert!(refused.contains(made["id"].as_str().unwrap()), "{refused}");
        assert_eq!(api.items(path).await.len(), before, "{path}");
    }
}

#[tokio::test]
async fn a_summary_is_bounded_in_time() {
    let api = Api::with_acme().await;
    let path = "/api/v1/session-summary";

    let summary = api.get(path).await.ok();
    let refused = api.get(&format!("{path}?since=2020-01-01T00:00:00Z")).await;

    assert_eq!(summary["since"], "2025-10-17T00:00:00Z");
    assert!(refused.problem(422, "invalid").contains("at most 400 days"));
    api.get(&format!("{path}?since=2020-01-01T00:00:00Z&until=2020-12-31T00:00:00Z")).await.ok();
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_told_with_those_that_it_takes() {
    let api = Api::with_acme().await;
    for (path, allowed) in [
        ("/api/v1/keys", "GET,HEAD,POST"),
        ("/api/v1/balances", "GET,HEAD"),
        ("/api/v1/simulate", "POST"),
    ] {
        let reply = api.ask(Method::DELETE, &api.admin, path, "").await;

        reply.problem(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn an_amount_is_a_plain_decimal() {
    let api = Api::with_acme().await;
    for amount in ["+5", "1_000", "1e3", ".5", "5.", " 5", "", "-", "5,0"] {
        let grant = json!({"customer": "acme", "amount": amount, "reason": "a test"});

        let refused = api.post("/api/v1/grants", &grant).await.problem(422, "invalid");

        assert!(refused.starts_with(&format!("amount `{amount}`")), "{refused}");
    }
}

#[tokio::test]
async fn a_body_is_an_object() {
    let api = Api::with_acme().await;
    for body in [json!([]), json!([null, null]), json!("x"), json!(1), Value::Null] {
        let reply = api.post("/api/v1/customers/acme/limits", &body).await;

        let refused = reply.problem(422, "invalid");
        assert!(refused.starts_with("the body is not accepted: "), "{refused}");
    }
}

#[tokio::test]
async fn a_bad_idempotency_key_is_refused_also_where_none_is_taken() {
    let api = Api::with_acme().await;
    let path = "/api/v1/close/2026-10";
    let bearer = format!("Bearer {}", api.admin);
    for bad in ["ünïcode".to_owned(), "x".repeat(256)] {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", &bad)];

        let refused = api.send(Method::POST, path, &headers, "").await.problem(422, "invalid");

        assert!(refused.starts_with("idempotency-key `"), "{refused}");
    }
    assert!(api.get(path).await.ok()["history"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_does_not_revoke_itself() {
    let api = Api::with_acme().await;
    let own = api.items("/api/v1/tokens").await[0]["id"].clone();

    let path = format!("/api/v1/tokens/{}/revoke", own.as_str().unwrap());
    let refused = api.post(&path, &Value::Null).await.problem(409, "conflict");

    assert!(refused.contains("another token of role admin"), "{refused}");
}

#[tokio::test]
async fn what_is_no_month_is_refused_where_nobody_has_the_currency_of_a_plan() {
    let api = Api::with_acme().await;
    let toml = "[[plan]]\nname = \"team\"\nkind = \"metered\"\ncurrency = \"EUR\"\n";
    for period in ["", "2026-13", "2026"] {
        let trial = json!({"toml": toml, "period": period});

        let refused = api.post("/api/v1/simulate", &trial).await.problem(422, "invalid");

        assert!(refused.starts_with(&format!("period `{period}`")), "{refused}");
    }
}
