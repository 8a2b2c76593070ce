//! Bad input: a refusal that names the field, the value and what is accepted, and nothing done.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Api, Reply, encoded};

/// Everything that a bad request could have changed.
async fn everything(api: &Api) -> Vec<Value> {
    let mut rows = Vec::new();
    for noun in ["customers", "projects", "keys", "tokens", "invoices", "usage"] {
        rows.extend(api.items(&format!("/api/v1/{noun}")).await);
    }
    rows
}

async fn post_text(api: &Api, path: &str, body: &str) -> Reply {
    api.ask(Method::POST, &api.admin, path, body.to_owned()).await
}

/// Path, body, status and every part that the detail must have.
type Bad<'a> = (&'a str, &'a str, u16, &'a [&'a str]);

const BODIES: [Bad<'_>; 40] = [
    // Not what JSON is.
    ("customers", "", 422, &["body", "EOF", "line 1"]),
    ("customers", "name=New", 422, &["body", "line 1 column 2"]),
    ("customers", r#"{"name": "New","#, 422, &["body", "EOF"]),
    ("customers", r#"["New"]"#, 422, &["body", "a list", "an object"]),
    ("customers", r#"{"name":"New","currency":"CNY"} {}"#, 422, &["body", "trailing"]),
    ("customers", r#"{"name":"a","name":"b","currency":"CNY"}"#, 422, &["duplicate", "`name`"]),
    // Customers.
    ("customers", "{}", 422, &["missing field", "`name`"]),
    ("customers", r#"{"name":"New"}"#, 422, &["missing field", "`currency`"]),
    (
        "customers",
        r#"{"name":"New","currency":"CNY","timezone":"UTC"}"#,
        422,
        &["`timezone`", "`time_zone`"],
    ),
    ("customers", r#"{"name":7,"currency":"CNY"}"#, 422, &["name", "`7`", "a string"]),
    ("customers", r#"{"name":" ","currency":"CNY"}"#, 422, &["name ``", "1 to 256 bytes"]),
    ("customers", r#"{"name":"a\nb","currency":"CNY"}"#, 422, &["name `a\nb`", "one line"]),
    ("customers", r#"{"name":"百度","currency":"CNY"}"#, 422, &["id ``", "a-z, 0-9"]),
    ("customers", r#"{"id":"A b","name":"N","currency":"CNY"}"#, 422, &["id `A b`", "a-z"]),
    ("customers", r#"{"id":"../x","name":"N","currency":"CNY"}"#, 422, &["id `../x`", "a-z"]),
    ("customers", r#"{"name":"New","currency":"XYZ"}"#, 422, &["currency `XYZ`", "ISO 4217"]),
    ("customers", r#"{"name":"New","currency":""}"#, 422, &["currency ``", "CNY"]),
    (
        "customers",
        r#"{"name":"New","currency":"CNY","time_zone":"Mars/Olympus"}"#,
        422,
        &["time_zone `Mars/Olympus`", "Asia/Shanghai"],
    ),
    ("customers", r#"{"id":"acme","name":"N","currency":"CNY"}"#, 409, &["customer `acme`"]),
    // Projects.
    ("projects", r#"{"customer":"nobody","name":"P"}"#, 404, &["customer `nobody`", "unknown"]),
    ("projects", r#"{"customer":"","name":"P"}"#, 422, &["customer", "empty"]),
    ("projects", r#"{"customer":"acme","name":"default"}"#, 409, &["project `default`"]),
    // Keys.
    ("keys", r#"{"customer":"nobody"}"#, 404, &["customer `nobody`"]),
    ("keys", r#"{"customer":"acme","project":"none"}"#, 404, &["project `none`"]),
    ("keys", r#"{"customer":"acme","rpm":0}"#, 422, &["rpm `0`", "1 or more"]),
    ("keys", r#"{"customer":"acme","rpm":-1}"#, 422, &["rpm", "`-1`", "u32"]),
    ("keys", r#"{"customer":"acme","rpm":"60"}"#, 422, &["rpm", "\"60\"", "u32"]),
    ("keys", r#"{"customer":"acme","rpm":1.5}"#, 422, &["rpm", "`1.5`", "u32"]),
    ("keys", r#"{"customer":"acme","tpm":0}"#, 422, &["tpm `0`", "1 to 1000000000"]),
    ("keys", r#"{"customer":"acme","tpm":"9"}"#, 422, &["tpm", "\"9\"", "u64"]),
    ("keys", r#"{"customer":"acme","budget":"5"}"#, 422, &["budget `5`", "`50 CNY/month`"]),
    ("keys", r#"{"customer":"acme","budget":"5 EUR/day"}"#, 422, &["budget", "in CNY"]),
    ("keys/key_x/limits", r#"{"tpn":1}"#, 422, &["`tpn`", "`tpm`"]),
    ("keys/key_x/limits", r#"{"tpm":1}"#, 404, &["key_x"]),
    ("customers/acme/limits", r#"{"concurrency":0}"#, 422, &["concurrency `0`"]),
    ("projects/acme/none/limits", r#"{"rpm":1}"#, 404, &["project `none`"]),
    // Tokens.
    ("tokens", r#"{"role":"root"}"#, 422, &["role `root`", "admin, finance, operator"]),
    ("tokens", r#"{"role":"customer"}"#, 422, &["customer ``", "bound to"]),
    ("tokens", r#"{"role":"admin","customer":"acme"}"#, 422, &["`acme`", "role customer"]),
    ("tokens", r#"{"role":"customer","customer":"nobody"}"#, 404, &["customer `nobody`"]),
];

#[tokio::test]
async fn a_bad_body_is_refused_by_name_and_changes_nothing() {
    let api = Api::with_acme().await;
    let before = everything(&api).await;
    for (noun, body, status, parts) in BODIES {
        let reply = post_text(&api, &format!("/api/v1/{noun}"), body).await;

        assert_eq!(reply.status, status, "{noun} {body}: {}", reply.text());
        let code = match status {
            404 => "not_found",
            409 => "already_exists",
            _ => "invalid",
        };
        let detail = reply.problem(status, code);
        for part in parts {
            assert!(detail.contains(part), "{noun} {body}: no `{part}` in: {detail}");
        }
    }
    assert_eq!(everything(&api).await, before);
}

#[tokio::test]
async fn a_period_is_a_month_of_the_calendar() {
    let api = Api::with_acme().await;
    for period in
        ["2026-13", "2026-00", "2026-1", "11-2026", "2026", "", "2026-11-01", "２０２６-11"]
    {
        for kind in ["preview", "draft"] {
            let month = json!({"customer": "acme", "period": period});
            let reply = api.post(&format!("/api/v1/invoices/{kind}"), &month).await;

            let detail = reply.problem(422, "invalid");
            assert!(detail.contains(&format!("period `{period}`")), "{detail}");
            assert!(detail.contains("2026-11"), "{detail}");
        }
    }
    for kind in ["preview", "draft"] {
        let path = format!("/api/v1/invoices/{kind}");
        let month = json!({"customer": "nobody", "period": "2026-11"});
        let detail = api.post(&path, &month).await.problem(404, "not_found");
        assert_eq!(detail, "customer `nobody` is unknown");
    }
    assert!(api.items("/api/v1/invoices").await.is_empty());
}

#[tokio::test]
async fn a_bad_query_is_refused_by_name() {
    let api = Api::with_acme().await;
    let instant = "2026-11-01T00:00:00Z";
    for (query, parts) in [
        ("usage?custmer=acme", ["`custmer`", "`customer`"]),
        ("usage?limit=0", ["limit `0`", "1 to 1000"]),
        ("usage?limit=1001", ["limit `1001`", "1 to 1000"]),
        ("usage?limit=-1", ["limit `-1`", "1 to 1000"]),
        ("usage?limit=ten", ["limit `ten`", "1 to 1000"]),
        ("usage?limit=", ["limit ``", "1 to 1000"]),
        ("usage?limit=99999999999", ["limit `99999999999`", "1 to 1000"]),
        ("usage?limit=1&limit=2", ["duplicate", "`limit`"]),
        ("usage?since=yesterday", ["since `yesterday`", instant]),
        ("usage?until=2026-11-01", ["until `2026-11-01`", instant]),
        ("usage?since=2026-11-01T00:00:00+08:00", ["since `2026-11-01T00:00:00 08:00`", "%2B"]),
        ("usage?request=7", ["request `7`", "UUID"]),
        ("usage?customer=", ["customer ``", "1 to 256 bytes"]),
        ("usage?session=a%0Ab", ["session `a\nb`", "one line"]),
        ("usage?cursor=x", ["cursor `x`", "`next_cursor`"]),
        ("usage?cursor=x/y", ["cursor `x/y`", "`next_cursor`"]),
        ("sessions?cursor=1/acme", ["cursor `1/acme`", "`next_cursor`"]),
        ("projects?cursor=acme", ["cursor `acme`", "`next_cursor`"]),
        ("prices?cursor=gpt@1", ["cursor `gpt@1`", "`next_cursor`"]),
        ("prices?currency=yuan", ["currency `yuan`", "ISO 4217"]),
        ("prices?at=now", ["at `now`", instant]),
        ("customers?limit=x", ["limit `x`", "1 to 1000"]),
        ("tokens?role=admin", ["`role`", "`limit`"]),
        ("keys?revoked=true", ["`revoked`", "`customer`"]),
        ("invoices?period=2026-11", ["`period`", "`customer`"]),
        ("usage/quarantine?customer=acme", ["`customer`", "`cursor`"]),
        ("sessions/s1?owner=acme", ["`owner`", "`customer`"]),
    ] {
        let reply = api.get(&format!("/api/v1/{query}")).await;

        assert_eq!(reply.status, 422, "{query}: {}", reply.text());
        let detail = reply.problem(422, "invalid");
        for part in parts {
            assert!(detail.contains(part), "{query}: no `{part}` in: {detail}");
        }
    }
}

#[tokio::test]
async fn what_is_unknown_is_not_found_by_name() {
    let api = Api::with_acme().await;
    for (path, detail) in [
        ("customers/nobody", "customer `nobody` is unknown"),
        ("customers?customer=nobody", "customer `nobody` is unknown"),
        ("customers/a%2Fb", "customer `a/b` is unknown"),
        ("customers/a%0Ab", "customer `a\nb` is unknown"),
        ("prices/gpt@1", "price version `gpt@1` is unknown"),
        ("sessions/s1?customer=acme", "session `s1` of customer `acme` is unknown"),
        ("sessions/s1", "session `s1` of customer `acme` is unknown"),
        ("invoices/inv_1", "invoice `inv_1` is unknown"),
        ("customers/%FF", "there is nothing at this path"),
    ] {
        let reply = api.get(&format!("/api/v1/{path}")).await;

        assert_eq!(reply.problem(404, "not_found"), detail, "{path}");
    }
    for (path, detail) in [
        ("keys/key_1/revoke", "key `key_1` is unknown"),
        ("tokens/tok_1/revoke", "token `tok_1` is unknown"),
        ("tokens/7/revoke", "token `7` is unknown"),
    ] {
        let reply = api.post(&format!("/api/v1/{path}"), &Value::Null).await;

        assert_eq!(reply.problem(404, "not_found"), detail, "{path}");
    }
}

/// An empty list would read as a customer that used nothing.
#[tokio::test]
async fn what_is_asked_of_nobody_is_refused_by_name() {
    let api = Api::with_acme().await;
    for path in [
        "projects",
        "keys",
        "usage",
        "sessions",
        "sessions/s1",
        "session-summary",
        "invoices",
        "credit-notes",
        "grants",
        "disputes",
        "webhooks",
        "margin?currency=CNY",
    ] {
        let and = if path.contains('?') { '&' } else { '?' };
        let path = format!("/api/v1/{path}{and}customer=");

        let reply = api.get(&format!("{path}nobody")).await;

        let detail = reply.problem(404, "not_found");
        assert_eq!(detail, "customer `nobody` is unknown", "{path}");
        let of_acme = api.get(&format!("{path}acme")).await;
        let is_there = !path.contains("sessions/s1");
        assert_eq!(of_acme.status, if is_there { 200 } else { 404 }, "{path}: {}", of_acme.text());
    }
}

#[tokio::test]
async fn an_unknown_path_or_method_is_a_problem_with_the_methods_that_are_there() {
    let api = Api::start().await;
    for path in ["/api", "/api/v1", "/api/v1/", "/api/v1/nouns", "/api/v2/customers"] {
        api.get(path).await.problem(404, "not_found");
    }
    for path in ["/api/v1/customers/", "/api/v1/customers/acme/keys", "/internal/v1"] {
        api.get(path).await.problem(404, "not_found");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/customers", "GET,HEAD,POST"),
        (Method::PUT, "/api/v1/customers/acme", "GET,HEAD,POST"),
        (Method::PATCH, "/api/v1/keys", "GET,HEAD,POST"),
        (Method::DELETE, "/api/v1/invoices/draft", "POST"),
        (Method::GET, "/api/v1/keys/key_1/revoke", "POST"),
        (Method::POST, "/api/v1/usage", "GET,HEAD"),
        (Method::GET, permille_types::INTAKE_PATH, "POST"),
        (Method::POST, permille_types::SNAPSHOT_PATH, "GET,HEAD"),
    ] {
        let reply = api.ask(method.clone(), &api.admin, path, "").await;

        assert_eq!(reply.status, 405, "{method} {path}: {}", reply.text());
        reply.problem(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_has_a_bound_that_the_refusal_names() {
    let api = Api::with_acme().await;
    let gateway = api.token("gateway").await;
    let (people, batches) = (1024 * 1024, 16 * 1024 * 1024);
    for (path, token, bound, read) in [
        ("/api/v1/customers", &api.admin, people, "EOF"),
        ("/api/v1/invoices/draft", &api.admin, people, "EOF"),
        (permille_types::INTAKE_PATH, &gateway, batches, "version"),
    ] {
        let fits = api.ask(Method::POST, token, path, vec![b' '; bound]).await;
        let larger = api.ask(Method::POST, token, path, vec![b' '; bound + 1]).await;

        assert!(fits.problem(422, "invalid").contains(read), "{path}");
        let detail = larger.problem(413, "too_large");
        assert_eq!(detail, format!("the body has more than {bound} bytes"), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_no_json_is_refused() {
    let api = Api::start().await;
    let bearer = format!("Bearer {}", api.admin);
    let body = r#"{"name":"New","currency":"CNY"}"#;
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", "é", ""] {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let reply = api.send(Method::POST, "/api/v1/customers", &headers, body).await;

        let detail = reply.problem(415, "unsupported_media_type");
        assert!(detail.contains(&format!("`{kind}`")), "{detail}");
        assert!(detail.contains("accepted: application/json"), "{detail}");
    }
    assert!(api.items("/api/v1/customers").await.is_empty());
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let named = format!(r#"{{"name":"N {}","currency":"CNY"}}"#, kind.len());
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        api.send(Method::POST, "/api/v1/customers", &headers, named).await.created();
    }
    let untold = [("authorization", bearer.as_str())];
    api.send(Method::POST, "/api/v1/customers", &untold, body).await.created();
}

#[tokio::test]
async fn a_refusal_stays_short_whatever_was_sent() {
    let api = Api::with_acme().await;
    let long = "x".repeat(900_000);
    let name = json!({"name": long, "currency": "CNY"});
    let kind = json!({"customer": "acme", "rpm": long});
    let mut field = json!({"name": "New", "currency": "CNY"});
    field[&long] = 1.into();
    for (path, body, parts) in [
        ("/api/v1/customers", name, ["name `xxx", "accepted: 1 to 256 bytes"]),
        ("/api/v1/keys", kind, ["rpm: invalid type", "expected u32"]),
        ("/api/v1/customers", field, ["body is not accepted: xxx", "`time_zone`"]),
    ] {
        let reply = api.post(path, &body).await;

        let detail = reply.problem(422, "invalid");
        assert!(detail.len() < 2_100, "{} bytes", detail.len());
        for part in parts {
            assert!(detail.contains(part), "{path}: no `{part}` in: {detail}");
        }
    }
    let path = format!("/api/v1/customers/{}", encoded(&"百".repeat(5_000)));
    let detail = api.get(&path).await.problem(404, "not_found");
    assert!(detail.chars().count() < 2_100, "{detail}");
}
