//! Charges, plans and prepaid credit as finance sets them from a terminal.

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

const PLAN: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "31"
[plan.allowance]
tokens = 1000000
"#;

const CHARGE: &str = r#"
[[charge]]
name = "least"
customer = "acme"
currency = "CNY"
kind = "unit"
unit = "0.01"
minimum = "5"
from = 2026-10-01T00:00:00Z
"#;

#[test]
fn a_customer_gets_a_plan_a_charge_and_credit_and_its_invoice_says_so() {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plan, charge) = (file("plan.toml", PLAN), file("charge.toml", CHARGE));

    let added = folder.lines(&["plan", "add", &plan]);
    let charges = folder.lines(&["charge", "add", &charge]);
    let from = ["--plan-from", "2026-10-01T00:00:00Z"];
    folder.text(&[&["customer", "set", "acme", "--plan", "team"][..], &from].concat());
    let grant = ["grant", "add", "--customer", "acme", "--amount", "6", "--paid", "6"];
    let pays = ["--from", "2026-10-01T00:00:00Z", "--reason", "top-up"];
    folder.text(&[&grant[..], &pays].concat());
    let draft = folder.text(&["invoice", "draft", "--customer", "acme", "--period", "2026-10"]);

    assert!(added[0]["version"].as_str().unwrap().starts_with("team@"), "{added:?}");
    let version = charges[0]["version"].as_str().unwrap();
    assert!(folder.text(&["charge", "show", version]).contains("minimum = \"5\""));
    assert!(folder.text(&["plan", "show", "team"]).contains("fee = \"31\""));
    assert!(folder.text(&["customer", "plans", "acme"]).contains("team"));
    for words in ["fee", "31.00", "charge", "5.00", "-6.00", "total CNY", "30.00"] {
        assert!(draft.contains(words), "{words}: {draft}");
    }
    assert!(folder.text(&["grant", "list"]).contains("top-up"));
    let month = ["--customer", "acme", "--period", "2026-10"];
    let simulated = folder.text(&[&["simulate", "--plan", &plan][..], &month].concat());
    assert!(
        simulated.contains("plan team on 2026-10") && simulated.contains("36.00"),
        "{simulated}"
    );
    let refused = folder.run(&["customer", "set", "acme", "--plan", "nothing"]).refused(1);
    assert!(refused.contains("plan `nothing` is unknown"), "{refused}");
    let ended = ["charge", "end", version, "--until", "2026-12-01T00:00:00Z"];
    assert!(folder.text(&ended).contains("until 2026-12-01"));
}
