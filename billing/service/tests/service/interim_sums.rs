//! FOCUS rows of a month that several invoices bill: they add up to the invoices, and to the month.

use std::{collections::BTreeMap, str::FromStr};

use permille_types::{TokenClass, UsageEvent};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    events::{Gateway, event},
    support::Api,
};

const PLAN: &str = "[[plan]]\nname = \"progressive\"\nkind = \"subscription\"\n\
                    currency = \"CNY\"\nfee = \"31\"\n";

pub(crate) type Row = BTreeMap<String, String>;

/// The rows of a table, by column. Cells between quotes have commas in them.
pub(crate) fn rows(csv: &str) -> Vec<Row> {
    let cells = |line: &str| {
        let (mut cells, mut is_quoted) = (vec![String::new()], false);
        for character in line.chars() {
            match character {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                _ => cells.last_mut().unwrap().push(character),
            }
        }
        cells
    };
    let mut lines = csv.lines().map(cells);
    let head = lines.next().unwrap();
    lines.map(|cells| head.iter().cloned().zip(cells).collect()).collect()
}

fn sum<'r>(rows: impl IntoIterator<Item = &'r Row>, column: &str) -> Decimal {
    rows.into_iter().map(|row| amount(&row[column])).sum()
}

fn amount(text: &str) -> Decimal {
    Decimal::from_str(text).unwrap()
}

/// Requests of both sessions, with so many input tokens each.
async fn ship(api: &Api, key: &str, (first, day): (u32, u32), tokens: u64) {
    let used: Vec<UsageEvent> = (first..first + 3)
        .map(|number| UsageEvent {
            at: format!("2026-11-{day:02}T10:00:{:02}Z", number % 60).parse().unwrap(),
            session: format!("chat-{}", number % 2).parse().unwrap(),
            tokens: [(TokenClass::INPUT_UNCACHED, tokens), (TokenClass::OUTPUT_TEXT, 37)].into(),
            input_total: Some(tokens),
            output_total: Some(37),
            ..event(number, "acme", key)
        })
        .collect();
    Gateway::of(api, "n1").await.ship(first.into(), &used).await;
}

/// An invoice of November, issued, and its FOCUS rows.
async fn issue(api: &Api, interim: bool) -> (Value, Vec<Row>) {
    let wanted = json!({"customer": "acme", "period": "2026-11", "interim": interim});
    let draft = api.post("/api/v1/invoices/draft", &wanted).await.ok();
    let path = format!("/api/v1/invoices/{}", draft["id"].as_str().unwrap());
    for step in ["approve", "finalize"] {
        api.post(&format!("{path}/{step}"), &json!({})).await.ok();
    }
    let csv = api.get(&format!("{path}/export?format=focus")).await;
    assert_eq!(csv.status, 200, "{}", csv.text());
    (api.get(&path).await.ok(), rows(&csv.text()))
}

#[tokio::test]
async fn focus_rows_of_interim_invoices_and_of_the_months_own_add_up_and_name_their_invoice() {
    let api = Api::issuing("Permille GmbH").await;
    api.add_customer("acme", "CNY").await;
    let tax = json!({"treatment": "standard", "rates": [{"name": "VAT", "percent": "9.975"}]});
    api.post("/api/v1/customers/acme", &json!({"tax": tax})).await.ok();
    api.post("/api/v1/plans", &json!({"toml": PLAN})).await.created();
    let plan = json!({"plan": "progressive", "from": "2026-11-01T00:00:00Z"});
    api.post("/api/v1/customers/acme/plans", &plan).await.ok();
    let grant = json!({"customer": "acme", "amount": "0.5", "reason": "a test"});
    api.post("/api/v1/grants", &grant).await.created();
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();

    let mut issued = Vec::new();
    for (day, tokens) in [(3, 12_345), (9, 6_789), (15, 1_001)] {
        ship(&api, key, (day, day), tokens).await;
        if day < 15 {
            issued.push(issue(&api, true).await);
        }
    }
    // What was broken down by session before more usage came, and after it.
    let again = api.get("/api/v1/invoices/INV-2026-000001/export?format=focus").await;
    api.set_clock("2026-12-01T00:00:00Z");
    issued.push(issue(&api, false).await);

    let kinds = ["interim", "interim", "month"];
    for ((invoice, rows), kind) in issued.iter().zip(kinds) {
        let number = invoice["number"].as_str().unwrap();
        assert_eq!(sum(rows, "BilledCost"), amount(invoice["total"].as_str().unwrap()), "{number}");
        for row in rows {
            assert_eq!((&*row["InvoiceId"], &*row["x_InvoiceKind"]), (number, kind), "{row:?}");
            let detail = row["InvoiceDetailId"].starts_with(&format!("{number}-"));
            let by_line = ["Usage", "Purchase"].contains(&row["ChargeCategory"].as_str());
            assert_eq!(detail, by_line, "{row:?}");
        }
    }
    assert_eq!(sum(&rows(&again.text()), "BilledCost"), sum(&issued[0].1, "BilledCost"));
    let all: Vec<&Row> = issued.iter().flat_map(|(_, rows)| rows).collect();
    let of = |category: &'static str| {
        all.iter().copied().filter(move |row| row["ChargeCategory"] == category)
    };
    let told = |field: &str| {
        let amounts = issued.iter().map(|(invoice, _)| amount(invoice[field].as_str().unwrap()));
        amounts.sum::<Decimal>()
    };
    assert_eq!(sum(all.iter().copied(), "BilledCost"), told("total"));
    assert_eq!(sum(of("Usage").chain(of("Purchase")), "BilledCost"), told("subtotal"));
    assert_eq!(sum(of("Credit"), "BilledCost"), amount("-0.5"));
    // Each token is on one row.
    let tokens = 3 * (12_345 + 6_789 + 1_001 + 3 * 37);
    assert_eq!(sum(of("Usage"), "ConsumedQuantity"), Decimal::from(tokens));
    assert_eq!(sum(of("Purchase"), "BilledCost"), amount("31"));
}
