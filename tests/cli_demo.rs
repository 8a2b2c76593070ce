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
