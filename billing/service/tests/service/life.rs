//! The life of an invoice over the API: steps, documents, history, idempotency keys.

use permille_types::UsageEvent;
use serde_json::{Value, json};

use crate::{
    events::{Gateway, event},
    support::{Api, Reply, column},
};

/// The draft of a month that has ended; nothing was used in it.
async fn october(api: &Api) -> String {
    let month = json!({"customer": "acme", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    draft["id"].as_str().unwrap().to_owned()
}

async fn step(api: &Api, id: &str, step: &str, body: &Value) -> Reply {
    api.post(&format!("/api/v1/invoices/{id}/{step}"), body).await
}

#[tokio::test]
async fn an_invoice_is_issued_shown_and_paid_by_its_number() {
    let api = Api::with_acme().await;
    let id = october(&api).await;

    // A step takes no body, or one that says nothing.
    let path = format!("/api/v1/invoices/{id}/approve");
    let approved = api.ask(http::Method::POST, &api.admin, &path, "").await.ok();
    let mut issued = step(&api, &id, "finalize", &json!({})).await.ok();
    let document = api.get("/api/v1/invoices/INV-2026-000001/document").await;
    let paid = step(&api, "INV-2026-000001", "pay", &json!({"reference": "SEPA 42"})).await.ok();

    assert_eq!(approved["state"], "approved");
    assert_eq!((&issued["state"], &issued["id"]), (&json!("final"), &json!(id)));
    let standing = issued.as_object_mut().unwrap().remove("standing");
    assert_eq!(standing, Some(json!({"paid": "0.00", "credited": "0.00", "due": "0.00"})));
    assert_eq!((document.ok(), paid["state"].as_str()), (issued, Some("paid")));
    let again = api.get(&format!("/api/v1/invoices/{id}/document")).await;
    assert_eq!(again.body, document.body, "to the byte, in whatever state");
    let history = api.items(&format!("/api/v1/invoices/{id}/history")).await;
    let actions: Vec<_> = history.iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["draft", "approve", "finalize", "pay"]);
    assert!(history.iter().all(|entry| entry["role"] == "admin"), "{history:?}");
}

#[tokio::test]
async fn a_refused_step_says_what_is_accepted() {
    let api = Api::with_acme().await;
    let id = october(&api).await;

    let early = step(&api, &id, "finalize", &json!({})).await.problem(409, "conflict");
    let unknown = step(&api, "inv_none", "approve", &json!({})).await.problem(404, "not_found");
    let extra = step(&api, &id, "approve", &json!({"force": true})).await.problem(422, "invalid");
    let mute = step(&api, &id, "void", &json!({"reason": ""})).await.problem(422, "invalid");

    assert!(early.contains("accepted: an approved invoice"), "{early}");
    assert!(unknown.contains("inv_none"), "{unknown}");
    assert!(extra.contains("force"), "{extra}");
    assert!(mute.contains("reason"), "{mute}");
}

#[tokio::test]
async fn a_call_that_is_repeated_under_its_key_answers_the_same_and_changes_nothing() {
    let api = Api::with_acme().await;
    let id = october(&api).await;
    let bearer = format!("Bearer {}", api.admin);
    let void = async |key: &str, reason: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        let path = format!("/api/v1/invoices/{id}/void");
        let body = json!({"reason": reason}).to_string();
        api.send(http::Method::POST, &path, &headers, body).await
    };

    let first = void("k-1", "a typo").await.ok();

    assert_eq!(void("k-1", "a typo").await.ok(), first);
    let other = void("k-1", "something else").await.problem(409, "conflict");
    assert!(other.contains("k-1"), "{other}");
    let new = void("k-2", "a typo").await.problem(409, "conflict");
    assert!(new.contains("is void"), "{new}");
    let bad = void("", "a typo").await.problem(422, "invalid");
    assert!(bad.contains("idempotency-key"), "{bad}");
    assert_eq!(api.items(&format!("/api/v1/invoices/{id}/history")).await.len(), 2);
}

#[tokio::test]
async fn another_customers_document_does_not_exist() {
    let api = Api::with_acme().await;
    api.add_customer("globex", "CNY").await;
    let month = json!({"customer": "globex", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    let id = draft["id"].as_str().unwrap();
    step(&api, id, "approve", &json!({})).await.ok();
    step(&api, id, "finalize", &json!({})).await.ok();
    let acme = api.token("customer").await;

    for path in [id, "INV-2026-000001"] {
        let path = format!("/api/v1/invoices/{path}/document");
        let detail = api.get_as(&acme, &path).await.problem(404, "not_found");
        assert!(!detail.contains("globex"), "{detail}");
    }
}

#[tokio::test]
async fn balances_are_told_in_the_currency_itself_and_add_up_to_zero() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let used = event(1, "acme", key["id"].as_str().unwrap());
    Gateway::of(&api, "n1").await.ship(1, &[used]).await;

    let balances = api.items("/api/v1/balances").await;

    assert_eq!(column(&balances, "account"), ["receivable:unbilled:acme", "revenue:unbilled"]);
    let amounts = column(&balances, "amount");
    assert_eq!(format!("-{}", amounts[0]), amounts[1]);
    assert_eq!(column(&balances, "currency"), ["CNY", "CNY"]);
}

#[tokio::test]
async fn a_credit_is_made_listed_and_shown_to_its_own_customer_only() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let at = "2026-10-10T10:00:00Z".parse().unwrap();
    let used = UsageEvent { at, ..event(1, "acme", key["id"].as_str().unwrap()) };
    Gateway::of(&api, "n1").await.ship(1, &[used]).await;
    let id = october(&api).await;
    step(&api, &id, "approve", &json!({})).await.ok();
    let issued = step(&api, &id, "finalize", &json!({})).await.ok();
    assert_eq!(issued["total"], "0.02");

    let line = json!({"line": 1, "reason": "a test"});
    let note = step(&api, &id, "credit", &line).await.created();
    let above = json!({"amount": "0.02", "reason": "a test"});
    let above = step(&api, &id, "credit", &above).await.problem(422, "invalid");
    let nonsense = json!({"amount": "much", "reason": "a test"});
    let nonsense = step(&api, &id, "credit", &nonsense).await.problem(422, "invalid");

    assert_eq!((&note["number"], &note["gross"]), (&json!("CN-2026-000001"), &json!("0.01")));
    assert!(above.contains("up to 0.01"), "{above}");
    assert!(nonsense.contains("amount `much`"), "{nonsense}");
    assert_eq!(api.get("/api/v1/credit-notes/CN-2026-000001").await.ok(), note);
    assert_eq!(column(&api.items("/api/v1/credit-notes").await, "gross"), ["0.01"]);
    assert_eq!(api.get(&format!("/api/v1/invoices/{id}")).await.ok()["standing"]["due"], "0.01");
    api.add_customer("globex", "CNY").await;
    let globex = json!({"role": "customer", "customer": "globex"});
    let globex = api.post("/api/v1/tokens", &globex).await.created();
    let globex = globex["secret"].as_str().unwrap();
    let path = "/api/v1/credit-notes/CN-2026-000001";
    api.get_as(globex, path).await.problem(404, "not_found");
    assert!(api.get_as(globex, "/api/v1/credit-notes").await.items().is_empty());
}

#[tokio::test]
async fn a_total_that_was_not_seen_is_not_approved_and_money_moves_in_parts() {
    let api = Api::with_acme().await;
    let id = october(&api).await;

    let other = json!({"expected_total": "0.01"});
    let other = step(&api, &id, "approve", &other).await.problem(409, "conflict");
    let odd = json!({"expected_total": "much"});
    let odd = step(&api, &id, "approve", &odd).await.problem(422, "invalid");
    let seen = json!({"expected_total": "0.00"});
    let approved = step(&api, &id, "approve", &seen).await.ok();
    step(&api, &id, "finalize", &json!({})).await.ok();
    let above = json!({"amount": "0.01"});
    let above = step(&api, &id, "pay", &above).await.problem(422, "invalid");
    let number = step(&api, &id, "pay", &json!({"amount": 1})).await.problem(422, "invalid");
    step(&api, &id, "pay", &json!({})).await.ok();
    let nothing = step(&api, &id, "refund", &json!({})).await.problem(409, "conflict");

    assert!(other.contains("says 0.00 CNY in all, not 0.01"), "{other}");
    assert!(odd.contains("expected_total"), "{odd}");
    assert_eq!(approved["state"], "approved");
    assert!(above.contains("up to 0.00, which is due"), "{above}");
    assert!(number.contains("amount"), "{number}");
    assert!(nothing.contains("has nothing to be paid back"), "{nothing}");
}

#[tokio::test]
async fn a_customer_disputes_its_own_invoice_and_finance_answers() {
    let api = Api::with_acme().await;
    let id = october(&api).await;
    let body = json!({"invoice": id, "reason": "we were away"});
    let acme = api.token("customer").await;
    let early = api.post_as(&acme, "/api/v1/disputes", &body).await.problem(409, "conflict");
    step(&api, &id, "approve", &json!({})).await.ok();
    step(&api, &id, "finalize", &json!({})).await.ok();
    api.add_customer("globex", "CNY").await;
    let theirs = json!({"role": "customer", "customer": "globex"});
    let globex = api.post("/api/v1/tokens", &theirs).await.created();
    let globex = globex["secret"].as_str().unwrap();

    let opened = api.post_as(&acme, "/api/v1/disputes", &body).await.created();
    let path = format!("/api/v1/disputes/{}", opened["id"].as_str().unwrap());
    let answer = json!({"accepted": false, "note": "nothing was billed"});
    let resolve = format!("{path}/resolve");
    let own = api.post_as(&acme, &resolve, &answer).await;
    let hidden = api.post_as(globex, "/api/v1/disputes", &body).await.problem(404, "not_found");
    let finance = api.token("finance").await;
    let resolved = api.post_as(&finance, &resolve, &answer).await.ok();

    assert!(early.contains("was never issued"), "{early}");
    assert_eq!((&opened["state"], &opened["customer"]), (&json!("open"), &json!("acme")));
    assert_eq!(opened["evidence"]["document_sha256"].as_str().unwrap().len(), 64);
    own.problem(403, "forbidden");
    assert!(!hidden.contains("acme"), "{hidden}");
    assert_eq!(resolved["state"], "rejected");
    assert_eq!(api.get_as(&acme, &path).await.ok(), resolved);
    api.get_as(globex, &path).await.problem(404, "not_found");
    assert!(api.get_as(globex, "/api/v1/disputes").await.items().is_empty());
    assert_eq!(api.get_as(&acme, "/api/v1/disputes").await.items(), [resolved]);
}
