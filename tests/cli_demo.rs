//! `permille demo --exit`: the main job in one command.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use support::Folder;

#[test]
fn the_demo_prints_sessions_and_draft_invoices_in_both_currencies() {
    let folder = Folder::new();

    let text = folder.text(&["demo", "--exit"]);

    for part in [
        "上海文心科技有限公司",
        "session acme-ticket-4711 of customer acme",
        "left after 20 chunks",
        "ERNIE-Bot",
        "claude-sonnet-4-5",
        "cache_read",
        "price per thousand",
        "tokens sent before",
        "a session costs",
        "cost per accepted result",
        "total CNY",
        "total USD",
        "simulated",
    ] {
        let found = text.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "`{part}` is not in:\n{text}");
    }
    assert!(!folder.data().exists(), "the demo has a folder of its own");
}

#[test]
fn the_demo_as_json_is_one_document_per_line() {
    let folder = Folder::new();

    let documents = folder.lines(&["demo", "--exit"]);

    let invoices: Vec<_> = documents.iter().filter(|d| d["lines"].is_array()).collect();
    let currencies: Vec<_> = invoices.iter().map(|i| i["currency"].as_str().unwrap()).collect();
    assert_eq!(currencies, ["CNY", "USD", "USD"]);
    let sessions = documents.iter().filter(|d| d["turns"].is_array()).count();
    assert_eq!(sessions, 4);
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap_or_else(|| panic!("{value} is no decimal")).parse().unwrap()
}

/// Sums of sessions, of their turns, of the summary and of the invoices (B2, B11).
#[test]
fn the_sessions_of_the_demo_add_up_to_its_requests_and_to_its_draft_invoices() {
    let folder = Folder::new();

    let documents = folder.lines(&["demo", "--exit"]);

    let (mut costs, mut requests) = (BTreeMap::new(), BTreeMap::new());
    for detail in documents.iter().filter(|document| document["turns"].is_array()) {
        let session = &detail["session"];
        let customer = session["customer"].as_str().unwrap();
        let turns = detail["turns"].as_array().unwrap();
        let of_turns = turns.iter().map(|turn| decimal(&turn["cost"])).sum::<Decimal>();
        assert_eq!(of_turns, decimal(&session["cost"]), "{session}");
        *costs.entry(customer).or_insert(Decimal::ZERO) += of_turns;
        *requests.entry(customer).or_insert(0) += session["requests"].as_u64().unwrap();
    }
    let invoices: Vec<_> = documents.iter().filter(|d| d["lines"].is_array()).collect();
    assert_eq!((costs.len(), invoices.len()), (3, 3));
    for invoice in invoices {
        let customer = invoice["customer"]["id"].as_str().unwrap();
        let lines = invoice["lines"].as_array().unwrap();
        let exact = lines.iter().map(|line| decimal(&line["exact"])).sum::<Decimal>();
        assert_eq!(exact, costs[customer], "{invoice}");
        assert_eq!(invoice["requests"].as_u64(), Some(requests[customer]));
        let mut amounts = Decimal::ZERO;
        for line in lines {
            let rounded = decimal(&line["exact"])
                .round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
            assert_eq!(decimal(&line["amount"]), rounded, "{line}");
            amounts += rounded;
        }
        assert_eq!(decimal(&invoice["subtotal"]), amounts, "{invoice}");
    }
    let summary = documents.iter().find(|document| document["currencies"].is_array()).unwrap();
    let currencies = summary["currencies"].as_array().unwrap();
    let cost = currencies.iter().map(|of| decimal(&of["cost"])).sum::<Decimal>();
    assert_eq!(cost, costs.values().sum::<Decimal>());
    let counted = currencies.iter().map(|of| of["requests"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(counted, requests.values().sum::<u64>());
}
