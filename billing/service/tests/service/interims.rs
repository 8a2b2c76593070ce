//! Interim invoices over the API, drafted by hand and by a plan's threshold, and as files.

use std::str::FromStr;

use permille_ledger::ThresholdsSeen;
use permille_types::{TokenClass, UsageEvent};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    events::{Gateway, event},
    support::Api,
};

const PLAN: &str = "[[plan]]\nname = \"progressive\"\nkind = \"subscription\"\n\
                    currency = \"CNY\"\nfee = \"31\"\nthreshold = \"0.05\"\n";

/// `acme` under the plan, with so many requests of November, 0.018 CNY each.
async fn november(events: u32) -> Api {
    let api = Api::with_acme().await;
    api.post("/api/v1/plans", &json!({"toml": PLAN})).await.created();
    let body = json!({"plan": "progressive", "from": "2026-11-01T00:00:00Z"});
    api.post("/api/v1/customers/acme/plans", &body).await.ok();
    ship(&api, 1, events).await;
    api
}

async fn ship(api: &Api, first: u32, events: u32) {
    let gateway = Gateway::of(api, "n1").await;
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();
    let used: Vec<UsageEvent> = (first..first + events)
        .map(|number| UsageEvent {
            tokens: [(TokenClass::INPUT_UNCACHED, 1_500)].into(),
            ..event(number, "acme", key)
        })
        .collect();
    gateway.ship(u64::from(first), &used).await;
}

fn month(interim: bool) -> Value {
    json!({"customer": "acme", "period": "2026-11", "interim": interim})
}

fn amount(value: &Value) -> Decimal {
    Decimal::from_str(value.as_str().unwrap()).unwrap()
}

/// The sum of a column of a table.
fn sum(csv: &str, column: &str) -> Decimal {
    let mut lines = csv.lines();
    let place = lines.next().unwrap().split(',').position(|name| name == column).unwrap();
    lines.map(|line| Decimal::from_str(line.split(',').nth(place).unwrap()).unwrap()).sum()
}

#[tokio::test]
async fn an_interim_invoice_is_previewed_drafted_issued_and_written_out() {
    let api = november(3).await;

    let whole = api.post("/api/v1/invoices/preview", &month(false)).await.ok();
    let preview = api.post("/api/v1/invoices/preview", &month(true)).await.ok();
    let draft = api.post("/api/v1/invoices/draft", &month(true)).await.ok();
    let id = draft["id"].as_str().unwrap().to_owned();
    for step in ["approve", "finalize"] {
        api.post(&format!("/api/v1/invoices/{id}/{step}"), &json!({})).await.ok();
    }
    let rest = api.post("/api/v1/invoices/preview", &month(false)).await.ok();
    let listed = api.get("/api/v1/invoices").await.items();

    assert_eq!((&whole["total"], &whole["interim"]), (&json!("31.05"), &Value::Null));
    assert_eq!((&preview["total"], &preview["interim"]), (&json!("0.05"), &json!(true)));
    assert_eq!((&rest["total"], &rest["interim"]), (&json!("31.00"), &Value::Null));
    let before = json!([{"number": "INV-2026-000001", "subtotal": "0.05"}]);
    assert_eq!(rest["billed_before"], before);
    assert_eq!((&listed[0]["interim"], &listed[0]["state"]), (&json!(true), &json!("final")));
    let path = format!("/api/v1/invoices/{id}/export");
    let table = api.get(&format!("{path}?format=csv")).await;
    assert_eq!(sum(&table.text(), "amount"), amount(&draft["total"]));
    let sessions = api.get(&format!("{path}?format=csv&detail=sessions")).await;
    assert_eq!(sum(&sessions.text(), "billed"), amount(&draft["total"]));
    let page = api.get(&format!("{path}?format=html")).await;
    assert!(page.text().contains("<h1>Interim invoice</h1>"), "{}", page.text());
    let journal = api.get(&format!("{path}?format=hledger")).await;
    assert_eq!(journal.status, 200, "{}", journal.text());
}

#[tokio::test]
async fn a_reached_threshold_drafts_once() {
    let api = november(2).await;
    let mut seen = ThresholdsSeen::default();

    api.billing.draft_over_thresholds(&mut seen).await.unwrap();
    let below = api.get("/api/v1/invoices").await.items();
    ship(&api, 3, 1).await;
    api.billing.draft_over_thresholds(&mut seen).await.unwrap();
    api.billing.draft_over_thresholds(&mut seen).await.unwrap();

    assert!(below.is_empty(), "{below:?}");
    let listed = api.get("/api/v1/invoices").await.items();
    assert_eq!(listed.len(), 1);
    let told = ["total", "interim", "state"].map(|field| listed[0][field].clone());
    assert_eq!(told, [json!("0.05"), json!(true), json!("draft")]);
    let history =
        api.get(&format!("/api/v1/invoices/{}/history", listed[0]["id"].as_str().unwrap())).await;
    assert_eq!(history.items()[0]["token"], "threshold");
}

#[tokio::test]
async fn a_threshold_that_is_no_amount_is_refused_by_its_name() {
    let api = Api::with_acme().await;
    for (given, said) in [
        ("\"0\"", "`threshold`: 0 is not accepted; accepted: above 0"),
        ("\"-5\"", "`threshold`: -5 is negative"),
        ("\"much\"", "`threshold` is \"much\", accepted is a decimal"),
        ("5", "`threshold` is an integer"),
    ] {
        let plan = PLAN.replace("\"0.05\"", given);
        let refused = api.post("/api/v1/plans", &json!({"toml": plan})).await;
        let detail = refused.problem(422, "invalid");
        assert!(detail.contains(said), "{given}: {detail}");
    }
    let body = json!({"customer": "acme", "period": "2026-11", "interim": "yes"});
    api.post("/api/v1/invoices/draft", &body).await.problem(422, "invalid");
}
