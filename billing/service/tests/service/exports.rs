//! Documents as files over the API: names, media types, sums, and who may have them.

use permille_rating::price_book::parse_price_book;
use permille_types::UsageEvent;
use serde_json::json;

use crate::{
    events::{Gateway, event},
    interim_sums::{Row, rows},
    support::{Api, Reply},
};

/// An API with an issued invoice of `acme` for October over `events` requests in as many sessions.
async fn october(events: u32) -> (Api, String) {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();
    let used: Vec<UsageEvent> = (1..=events)
        .map(|number| UsageEvent {
            at: "2026-10-10T10:00:00Z".parse().unwrap(),
            session: format!("chat-{number:05}").parse().unwrap(),
            ..event(number, "acme", key)
        })
        .collect();
    let gateway = Gateway::of(&api, "n1").await;
    for (place, used) in used.chunks(500).enumerate() {
        gateway.ship(u64::try_from(place * 500 + 1).unwrap(), used).await;
    }
    let month = json!({"customer": "acme", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    let id = draft["id"].as_str().unwrap().to_owned();
    for step in ["approve", "finalize"] {
        api.post(&format!("/api/v1/invoices/{id}/{step}"), &json!({})).await.ok();
    }
    (api, id)
}

/// Ten per cent off everyone's price, and a markup on what the provider takes.
const OWN: &str = r#"
[[price]]
model = "ERNIE-Bot"
currency = "CNY"
customer = "acme"
from = 2026-01-01T00:00:00Z
source = "contract 12"
discount_percent = "10"

[[price]]
model = "ERNIE-Bot"
currency = "CNY"
side = "cost"
from = 2026-01-01T00:00:00Z
source = "what the provider takes"
input = "0.008"
output = "0.008"

[[price]]
model = "ERNIE-Bot"
currency = "CNY"
customer = "globex"
from = 2026-01-01T00:00:00Z
source = "contract 13"
markup_percent = "20"
"#;

/// The FOCUS rows of an issued invoice of October over one request of a customer with [`OWN`].
async fn focus_of(customer: &str) -> Vec<Row> {
    let api = Api::issuing("Permille GmbH").await;
    for id in ["acme", "globex"] {
        api.add_customer(id, "CNY").await;
    }
    let prices = parse_price_book(OWN, "a test").unwrap();
    let import = json!({"prices": prices, "apply": true});
    api.post("/api/v1/prices/import", &import).await.ok();
    let key = api.add_key(customer).await;
    let at = "2026-10-10T10:00:00Z".parse().unwrap();
    let used = UsageEvent { at, ..event(1, customer, key["id"].as_str().unwrap()) };
    Gateway::of(&api, "n1").await.ship(1, &[used]).await;
    let month = json!({"customer": customer, "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    let path = format!("/api/v1/invoices/{}", draft["id"].as_str().unwrap());
    for step in ["approve", "finalize"] {
        api.post(&format!("{path}/{step}"), &json!({})).await.ok();
    }
    rows(&export(&api, "format=focus").await.text())
}

#[tokio::test]
async fn focus_tells_the_list_price_beside_the_discounted_one_and_never_what_a_markup_is_on() {
    for (customer, list, contracted) in
        [("acme", "0.012", "0.0108"), ("globex", "0.0096", "0.0096")]
    {
        let rows = focus_of(customer).await;

        let usage: Vec<_> = rows.iter().filter(|row| row["ChargeCategory"] == "Usage").collect();
        assert_eq!(usage.len(), 2, "{rows:?}");
        for row in usage {
            assert_eq!((&*row["ListUnitPrice"], &*row["ContractedUnitPrice"]), (list, contracted));
            let [list, contracted] = ["ListCost", "ContractedCost"].map(|cost| row[cost].as_str());
            let told = if customer == "acme" { list != contracted } else { list == contracted };
            assert!(told, "{row:?}");
        }
    }
}

async fn export(api: &Api, query: &str) -> Reply {
    api.get(&format!("/api/v1/invoices/INV-2026-000001/export?{query}")).await
}

/// The sum of a column, in thousand-millionths.
fn sum(csv: &str, column: &str) -> i128 {
    let mut lines = csv.lines();
    let place = lines.next().unwrap().split(',').position(|name| name == column).unwrap();
    let nano = |line: &str| {
        let cell = line.split(',').nth(place).unwrap();
        let (whole, fraction) = cell.split_once('.').unwrap_or((cell, ""));
        format!("{whole}{fraction:0<9}").parse::<i128>().unwrap()
    };
    lines.map(nano).sum()
}

#[tokio::test]
async fn every_format_has_its_media_type_and_file_name() {
    let (api, id) = october(1).await;
    for (format, kind, name) in [
        ("csv", "text/csv; charset=utf-8; header=present", "INV-2026-000001.csv"),
        ("json", "application/json", "INV-2026-000001.json"),
        ("html", "text/html; charset=utf-8", "INV-2026-000001.html"),
        ("hledger", "text/plain; charset=utf-8", "INV-2026-000001.journal"),
        ("beancount", "text/plain; charset=utf-8", "INV-2026-000001.beancount"),
    ] {
        let reply = export(&api, &format!("format={format}")).await;

        assert_eq!(reply.status, 200, "{format}: {}", reply.text());
        assert_eq!(reply.header("content-type"), kind);
        let disposition = format!("attachment; filename=\"{name}\"");
        assert_eq!(reply.header("content-disposition"), disposition);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let by_id = api.get(&format!("/api/v1/invoices/{id}/export?format={format}")).await;
        assert_eq!(by_id.body, reply.body);
    }
    let issued = api.get(&format!("/api/v1/invoices/{id}/document")).await;
    assert_eq!(export(&api, "format=json").await.body, issued.body);
}

#[tokio::test]
async fn what_is_not_accepted_is_named_with_what_is() {
    let (api, _) = october(1).await;
    for (query, code, named) in [
        ("format=doc", "invalid", "pdf, html, csv"),
        ("format=html&lang=fr", "invalid", "en, zh"),
        ("format=csv&detail=days", "invalid", "lines, sessions, requests"),
        ("format=html&detail=lines", "invalid", "csv"),
        ("format=csv&size=9", "invalid", "size"),
        ("lang=en", "invalid", "format"),
        // Nobody has said who issues.
        ("format=focus", "not_expressible", "`issuer.name`"),
        ("format=ubl", "not_expressible", "accepted"),
    ] {
        let detail = export(&api, query).await.problem(422, code);
        assert!(detail.contains(named), "{query}: {detail}");
    }
    let none = api.get("/api/v1/invoices/INV-2026-000009/export?format=csv").await;
    none.problem(404, "not_found");
}

#[tokio::test]
async fn shares_of_many_sessions_are_streamed_and_add_up_to_the_invoice() {
    let (api, id) = october(2_500).await;
    let invoice = api.get(&format!("/api/v1/invoices/{id}")).await.ok();
    assert_eq!(invoice["net"], "45.00");

    let sessions = export(&api, "format=csv&detail=sessions").await.text();
    let requests = export(&api, "format=csv&detail=requests").await.text();
    let page = export(&api, "format=html&lang=zh").await.text();

    for csv in [&sessions, &requests] {
        assert_eq!(csv.lines().count(), 1 + 2 * 2_500);
        assert_eq!(sum(csv, "billed"), 45_000_000_000);
        assert_eq!(sum(csv, "quantity"), 2_500 * 1_500 * 1_000_000_000);
    }
    assert!(page.contains("全部会话 (2,500)") && page.contains("其余会话 (2,480)"), "{page}");
}

#[tokio::test]
async fn usage_that_comes_late_leaves_the_export_of_the_issued_invoice_as_it_is() {
    let (api, _) = october(3).await;
    let key = api.add_key("acme").await;
    let late = UsageEvent {
        at: "2026-10-11T10:00:00Z".parse().unwrap(),
        ..event(99, "acme", key["id"].as_str().unwrap())
    };
    let before = export(&api, "format=csv").await.body;
    Gateway::of(&api, "n2").await.ship(1, &[late]).await;

    let sessions = export(&api, "format=csv&detail=sessions").await.text();

    assert_eq!(export(&api, "format=csv").await.body, before);
    // Which of the requests were billed is not known any more: each line stands for itself.
    assert_eq!(sessions.lines().count(), 1 + 2);
    assert_eq!(sum(&sessions, "quantity"), 3 * 1_500 * 1_000_000_000);
}

#[tokio::test]
async fn a_customer_exports_its_own_documents_and_no_others() {
    let (api, id) = october(1).await;
    let credit = json!({"reason": "a test"});
    api.post(&format!("/api/v1/invoices/{id}/credit"), &credit).await.created();
    api.add_customer("globex", "CNY").await;
    let globex = json!({"role": "customer", "customer": "globex"});
    let globex = api.post("/api/v1/tokens", &globex).await.created();
    let globex = globex["secret"].as_str().unwrap();
    let (acme, operator) = (api.token("customer").await, api.token("operator").await);
    for path in ["invoices/INV-2026-000001", "credit-notes/CN-2026-000001"] {
        let path = format!("/api/v1/{path}/export?format=csv");

        assert_eq!(api.get_as(&acme, &path).await.status, 200);
        let detail = api.get_as(globex, &path).await.problem(404, "not_found");
        assert!(!detail.contains("acme"), "{detail}");
        api.get_as(&operator, &path).await.problem(403, "forbidden");
    }
    let note = api.get_as(&acme, "/api/v1/credit-notes/CN-2026-000001/export?format=html").await;
    assert!(note.text().contains("INV-2026-000001"), "{}", note.text());
    let json = api.get("/api/v1/credit-notes/CN-2026-000001/export?format=json").await;
    assert_eq!(json.body, api.get("/api/v1/credit-notes/CN-2026-000001").await.body);
}

#[tokio::test]
async fn lines_of_a_cut_month_say_which_part_and_so_does_a_note_over_them() {
    let api = Api::with_acme().await;
    let plan = "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                fee = \"31\"\n";
    api.post("/api/v1/plans", &json!({"toml": plan})).await.created();
    let from = json!({"plan": "team", "from": "2026-10-22T10:00:00Z"});
    api.post("/api/v1/customers/acme/plans", &from).await.ok();
    let month = json!({"customer": "acme", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    let id = draft["id"].as_str().unwrap();
    for step in ["approve", "finalize"] {
        api.post(&format!("/api/v1/invoices/{id}/{step}"), &json!({})).await.ok();
    }
    let credit = json!({"reason": "a test"});
    api.post(&format!("/api/v1/invoices/{id}/credit"), &credit).await.created();
    let part = &draft["lines"][0]["part"];
    assert_eq!(part["start"], "2026-10-22T10:00:00Z", "{draft}");

    for path in ["invoices/INV-2026-000001", "credit-notes/CN-2026-000001"] {
        let csv = api.get(&format!("/api/v1/{path}/export?format=csv")).await;

        let csv = csv.text();
        let fee = csv.lines().nth(1).unwrap();
        // Followed by an empty `charge`.
        let bounds = format!(",{},{},", part["start"], part["end"]).replace('"', "");
        assert!(fee.ends_with(&bounds), "{path}: {csv}");
    }
}
