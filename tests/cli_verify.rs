//! An invoice computed again from its files, and one request proven to be on it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::{Path, PathBuf};

use support::{Folder, books};

/// A folder with an issued invoice over October, and the files that it can be verified with.
async fn issued() -> (Folder, PathBuf) {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    books::customers(&ledger, 3).await;
    ledger.close().await;
    let draft = folder.json(&["invoice", "draft", "--customer", "c3", "--period", "2026-10"]);
    let id = draft["id"].as_str().unwrap();
    folder.text(&["invoice", "approve", id]);
    folder.text(&["invoice", "finalize", id]);
    let files = folder.data().join("evidence");
    let said = folder.text(&["invoice", "evidence", "INV-2026-000001", "--dir", text(&files)]);
    assert!(said.contains("1 records and 1 prices"), "{said}");
    (folder, files)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Arguments of `verify` over the files, read anew.
fn arguments(files: &Path) -> Vec<String> {
    let file = |name| files.join(name).to_str().unwrap().to_owned();
    let (invoice, events, prices) =
        (file("invoice.json"), file("events.jsonl"), file("prices.json"));
    ["verify", &invoice, "--events", &events, "--prices", &prices].map(ToOwned::to_owned).to_vec()
}

fn change(file: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(file).unwrap();
    assert!(before.contains(from), "{from} in {before}");
    std::fs::write(file, before.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn an_invoice_is_verified_without_its_store_and_every_change_shows() {
    let (folder, files) = issued().await;
    let arguments = arguments(&files);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Whoever verifies has nothing but the files.
    let elsewhere = Folder::new();

    let right = elsewhere.text(&arguments);
    assert!(right.contains("INV-2026-000001 is right: 1 records give its 1 lines and 0.04 CNY"));
    let shown = folder.json(&["invoice", "show", "INV-2026-000001"]);
    assert!(right.contains(shown["records"][0]["root"].as_str().unwrap()), "{right}");

    let nothing = elsewhere.run(&arguments[..2]).refused(2);
    assert!(nothing.contains("--events") && nothing.contains("--proof"), "{nothing}");
    let both = elsewhere.run(&[&arguments[..], &["--proof", "x.json"]].concat()).refused(2);
    assert!(both.contains("cannot be used with"), "{both}");

    change(&files.join("events.jsonl"), "3000", "3001");
    let wrong = elsewhere.run(&arguments).refused(1);
    assert!(wrong.contains("root of 2026-10"), "{wrong}");
    change(&files.join("events.jsonl"), "3001", "3000");
    change(&files.join("prices.json"), "0.012", "0.011");
    let wrong = elsewhere.run(&arguments).refused(1);
    assert!(wrong.contains("3000 and 0.04 printed, 3000 and 0.03"), "{wrong}");
}

const TERMS: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "31"
[plan.allowance]
tokens = 1000

[[plan]]
name = "large"
kind = "commitment"
currency = "CNY"
commitment = "62"
"#;

const CHARGE: &str = r#"
[[charge]]
name = "seat"
customer = "c3"
currency = "CNY"
models = "nobody-uses-it"
kind = "unit"
unit = "0.01"
minimum = "5"
from = 2026-10-01T00:00:00Z
"#;

/// What plans, charges, grants and the issuer become later is nothing to an invoice that is out.
#[tokio::test]
async fn an_invoice_over_terms_is_verified_offline_after_all_of_them_have_changed() {
    let folder = Folder::new();
    folder.config("[issuer]\nname = \"Permille GmbH\"\ntax_id = \"DE987654321\"\n");
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    books::customers(&ledger, 3).await;
    ledger.close().await;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plans, charge) = (file("plans.toml", TERMS), file("charge.toml", CHARGE));
    folder.text(&["plan", "add", &plans]);
    let charges = folder.lines(&["charge", "add", &charge]);
    let version = charges[0]["version"].as_str().unwrap();
    let assign = |plan: &str, from: &str| {
        folder.text(&["customer", "set", "c3", "--plan", plan, "--plan-from", from]);
    };
    assign("team", "2026-10-01T00:00:00Z");
    assign("large", "2026-10-17T00:00:00Z");
    folder.text(&["customer", "set", "c3", "--tax", "VAT=19"]);
    let grant = ["grant", "add", "--customer", "c3", "--amount", "12.50", "--paid", "10"];
    let pays = ["--from", "2026-10-01T00:00:00Z", "--reason", "top-up"];
    folder.text(&[&grant[..], &pays].concat());
    let draft = folder.json(&["invoice", "draft", "--customer", "c3", "--period", "2026-10"]);
    let id = draft["id"].as_str().unwrap();
    let other = folder.run(&["invoice", "approve", id, "--total", "1.00"]).refused(1);
    assert!(other.contains("in all, not 1.00"), "{other}");
    let total = draft["total"].as_str().unwrap();
    folder.text(&["invoice", "approve", id, "--total", total]);
    folder.text(&["invoice", "finalize", id]);

    folder.config("[issuer]\nname = \"Permille SE\"\n");
    folder.text(&["charge", "end", version, "--until", "2026-11-15T00:00:00Z"]);
    assign("none", "2026-11-01T00:00:00Z");
    let files = folder.data().join("evidence");
    folder.text(&["invoice", "evidence", "INV-2026-000001", "--dir", text(&files)]);
    let page = folder.text(&["invoice", "export", "INV-2026-000001", "--format", "html"]);
    let next = folder.json(&["invoice", "preview", "--customer", "c3", "--period", "2026-11"]);
    let elsewhere = Folder::new();
    let arguments = arguments(&files);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let right = elsewhere.text(&arguments);
    assert!(right.contains(&format!("1 records give its 4 lines and {total} CNY")), "{right}");
    assert!(page.contains("Permille GmbH") && !page.contains("Permille SE"), "{page}");
    assert_eq!(next["issuer"]["name"], "Permille SE");
    for (printed, instead, fault) in [
        ("fee = \\\"31\\\"", "fee = \\\"30\\\"", "charges 1 terms: [[plan]]"),
        ("\"class\":\"fee\",\"quantity\":1", "\"class\":\"fee\",\"quantity\":2", "line 3 `"),
        ("DE987654321", "DE987654322", "seal: it is not that of the content"),
        ("\"left\":\"12.5\"", "\"left\":\"11.5\"", "credits 1 amount: 12.50 printed, 11.50"),
    ] {
        change(&files.join("invoice.json"), printed, instead);
        let wrong = elsewhere.run(&arguments).refused(1);
        assert!(wrong.contains(fault), "{instead}: {wrong}");
        change(&files.join("invoice.json"), instead, printed);
    }
}

#[tokio::test]
async fn one_request_is_proven_to_be_on_the_invoice_and_another_is_not() {
    let (folder, files) = issued().await;
    let request = folder.lines(&["usage", "list", "--customer", "c3"])[0]["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut arguments = arguments(&files);
    arguments.extend(["--prove".to_owned(), request.clone()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let proof = files.join("proof.json");
    std::fs::write(&proof, folder.text(&arguments)).unwrap();

    let invoice = files.join("invoice.json");
    let check = ["verify", text(&invoice), "--proof", text(&proof)];
    let said = folder.text(&check);
    assert!(said.contains(&format!("request {request} is record 1 of 1 of 2026-10")), "{said}");

    change(&proof, "3000", "3001");
    let wrong = folder.run(&check).refused(1);
    assert!(wrong.contains("is not proven to be among the 1 records of 2026-10"), "{wrong}");
    let nothing = folder.run(&["verify", text(&invoice)]).refused(2);
    assert!(nothing.contains("--proof"), "{nothing}");
}
