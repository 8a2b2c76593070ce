//! Every change of the API under an `Idempotency-Key`: made once, answered the same, and no other
//! call under the same key. Which operations take the header is read from the description itself.

mod cases;
mod rows;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use http::Method;
use permille_service::openapi;
use serde_json::Value;

use crate::support::{Api, Reply};
use cases::{Case, World};
use rows::Rows;

/// Operations whose answer has a secret that is shown once: the same call again is refused, and
/// names what was made.
const SHOWN_ONCE: [&str; 2] = ["keys.create", "tokens.create"];

/// Calls with `POST` that take no key, and why.
const WITHOUT: [(&str, &str); 5] = [
    ("close.draft", "many transactions, each of what is not drafted yet"),
    ("close.prepare", "many transactions, each of what is not drafted yet"),
    ("invoices.preview", "changes nothing"),
    ("simulate.simulate", "changes nothing"),
    ("usage.drop_days", "a transaction for each day, of what is not dropped yet"),
];

/// Ids of the operations with `POST`: those that take the header, and the others.
fn operations() -> (Vec<&'static str>, Vec<&'static str>) {
    let paths = openapi()["paths"].as_object().unwrap().values();
    let changes = paths.filter_map(|methods| methods.get("post"));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for operation in changes {
        let parameters = operation["parameters"].as_array().unwrap();
        let takes_key = parameters
            .iter()
            .any(|parameter| parameter["$ref"] == "#/components/parameters/IdempotencyKey");
        let id = operation["operationId"].as_str().unwrap();
        if takes_key { with.push(id) } else { without.push(id) }
    }
    (with, without)
}

async fn call(api: &Api, case: &Case, key: &str, (path, body): &(String, Value)) -> Reply {
    let bearer = format!("Bearer {}", case.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    api.send(Method::POST, &format!("/api/v1/{path}"), &headers, body).await
}

/// Asserts that a key was spent on another call, which the refusal names.
fn refused(reply: &Reply, operation: &str, key: &str) {
    assert_eq!(reply.status, 409, "{operation} under {key}: {}", reply.text());
    let detail = reply.problem(409, "conflict");
    let told = detail.starts_with(&format!("idempotency key `{key}` "));
    assert!(told && detail.contains("Idempotency-Key"), "{operation}: {detail}");
}

/// Asserts that the same call again has the first answer.
fn answered_again(first: &Reply, again: &Reply, operation: &str, key: &str) {
    if SHOWN_ONCE.contains(&operation) {
        refused(again, operation, key);
        let made = first.created()["id"].as_str().unwrap().to_owned();
        assert!(again.text().contains(&made), "{operation}: {}", again.text());
    } else {
        assert_eq!(again.status, first.status, "{operation}: {}", again.text());
        assert_eq!(again.json(), first.json(), "{operation}");
    }
}

async fn check(world: &mut World, operation: &'static str) {
    let case = world.case(operation).await;
    let api = world.api();
    let key = |which: &str| format!("{operation} {which}");

    let first = call(api, &case, &key("1"), &case.first).await;
    assert!(matches!(first.status, 200 | 201), "{operation}: {}", first.text());
    let made = Rows::of(api).await;
    let again = call(api, &case, &key("1"), &case.first).await;
    answered_again(&first, &again, operation, &key("1"));
    made.assert_kept(api, operation, "the same call again").await;
    let other = call(api, &case, &key("1"), &case.other).await;
    refused(&other, operation, &key("1"));
    made.assert_kept(api, operation, "another call under the key").await;

    // Where the same may be asked for anew and changes nothing, that spends its key as well.
    if call(api, &case, &key("2"), &case.first).await.status < 300 {
        let other = call(api, &case, &key("2"), &case.other).await;
        refused(&other, operation, &key("2"));
    }

    // What was changed since stays changed, however late the first call comes again.
    call(api, &case, &key("3"), &case.other).await;
    let since = Rows::of(api).await;
    let late = call(api, &case, &key("1"), &case.first).await;
    if SHOWN_ONCE.contains(&operation) {
        refused(&late, operation, &key("1"));
    } else {
        assert_eq!(late.status, first.status, "{operation}: {}", late.text());
    }
    since.assert_kept(api, operation, "the first call after another change").await;
}

#[tokio::test]
async fn a_change_under_a_key_is_made_once_and_its_key_is_for_no_other_call() {
    let mut world = World::new().await;
    let (with, _) = operations();
    assert!(with.len() > 30, "{with:?}");
    let mut broken = Vec::new();
    for operation in with {
        // Of each that is broken it is told how, not of the first alone.
        let checked = AssertUnwindSafe(check(&mut world, operation)).catch_unwind().await;
        broken.extend(checked.is_err().then_some(operation));
    }
    assert_eq!(broken, Vec::<&str>::new());
}

#[test]
fn only_calls_that_cannot_keep_a_key_take_none() {
    let (_, mut without) = operations();
    without.sort_unstable();

    assert_eq!(without, WITHOUT.map(|(operation, _)| operation));
}

#[tokio::test]
async fn a_key_is_of_one_token() {
    let mut world = World::new().await;
    let case = world.case("customers.change").await;
    let finance = Case { token: world.api().token("finance").await, ..case.clone() };

    let (one, other) = (case.first.clone(), case.other.clone());
    call(world.api(), &case, "same", &one).await.ok();

    assert_eq!(call(world.api(), &finance, "same", &other).await.ok()["notes"], "b");
}
