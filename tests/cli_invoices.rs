//! The life of an invoice as finance leads it from a terminal.

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

/// The id of a new draft of a month that has ended, in which nothing was used.
fn draft(folder: &Folder, customer: &str) -> String {
    let args = ["invoice", "draft", "--customer", customer, "--period", "2026-10"];
    folder.json(&args)["id"].as_str().unwrap().to_owned()
}

#[test]
fn finance_takes_invoices_from_draft_to_paid_and_sees_who_did_what() {
    let folder = Folder::new();
    for customer in ["acme", "globex"] {
        folder.key(customer, "CNY");
    }
    let (acme, globex) = (draft(&folder, "acme"), draft(&folder, "globex"));

    let early = folder.run(&["invoice", "finalize", &acme]).refused(1);
    let approved = folder.lines(&["invoice", "approve", &acme, &globex]);
    let issued = folder.lines(&["invoice", "finalize", &globex, &acme]);
    let shown = folder.text(&["invoice", "show", "INV-2026-000002"]);
    let document = folder.text(&["invoice", "document", &acme]);
    folder.text(&["invoice", "pay", "INV-2026-000002", "--reference", "SEPA 42"]);
    folder.text(&["invoice", "void", "INV-2026-000001", "--reason", "wrong customer"]);

    assert!(early.contains("accepted: an approved invoice"), "{early}");
    assert!(approved.iter().all(|invoice| invoice["state"] == "approved"), "{approved:?}");
    let numbers: Vec<_> = issued.iter().map(|invoice| invoice["number"].clone()).collect();
    assert_eq!(numbers, ["INV-2026-000001", "INV-2026-000002"]);
    assert!(shown.contains("INV-2026-000002 (final)"), "{shown}");
    assert_eq!(folder.text(&["invoice", "document", "INV-2026-000002"]), document);
    assert!(document.contains(r#""state":"final""#), "{document}");
    let history = folder.text(&["invoice", "history", &acme]);
    for word in ["draft", "approve", "finalize", "pay", "local commands", "SEPA 42"] {
        assert!(history.contains(word), "{word}: {history}");
    }
    let states: Vec<_> =
        folder.lines(&["invoice", "list"]).iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["paid", "void"]);
}
