//! Exchange rates, margins and reconciliation with providers' bills as finance runs them from a
//! terminal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::json;
use support::Folder;

const COSTS: &str = r#"
[[price]]
model = "gpt-4o-mini"
side = "cost"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0001"
cache_read = "0.00005"
output = "0.0004"

[[price]]
model = "gpt-4o-mini"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.01"
cache_read = "0.005"
output = "0.04"
"#;

#[test]
fn exchange_rates_of_a_file_are_kept_once_and_what_does_not_read_is_named() {
    let folder = Folder::new();
    let file = folder.path().join("ecb.csv");
    std::fs::write(
        &file,
        "Date,USD,JPY,SIT,CNY,\n2026-11-20,1.15,179.5,N/A,8.19,\n2026-11-19,1.16,180.1,1,8.26,\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let import = ["fx", "import", file, "--source", "ECB", "--only", "USD", "--only", "CNY"];

    let first = folder.json(&import);
    let again = folder.json(&import);
    let set = ["fx", "set", "--base", "USD", "--quote", "CNY", "--source", "a bank"];
    let said = folder.text(&[&set[..], &["--day", "2026-11-20", "--rate", "7.1"]].concat());
    let slip = [&set[..], &["--day", "2026-11-21", "--rate", "71"]].concat();
    let slip = folder.run(&slip).refused(1);
    std::fs::write(file, "Date,USD\n2026-11-20,1.15\n2026-11-19,1,16\n").unwrap();
    let bad = folder.run(&import).refused(1);

    assert_eq!((&first["added"], &first["skipped"]), (&json!(4), &json!(["SIT"])));
    assert_eq!((&again["added"], &again["unchanged"]), (&json!(0), &json!(4)));
    assert!(said.contains("1 rates added"), "{said}");
    assert!(slip.contains("is 71, but 7.1 on 2026-11-20"), "{slip}");
    assert!(bad.contains("line 3") && bad.contains("has 3 fields"), "{bad}");
    let listed = folder.text(&["fx", "list", "--base", "EUR", "--quote", "CNY"]);
    assert!(listed.contains("8.19") && listed.contains("ECB") && !listed.contains("1.15"));
    let none = folder.run(&["fx", "set", "--base", "Euro", "--quote", "CNY"]).refused(2);
    assert!(none.contains("ISO 4217"), "{none}");
}

#[tokio::test]
async fn what_providers_take_in_dollars_is_a_margin_in_yuan() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&format!("{}{COSTS}", simulator.upstreams()));
    let server = folder.serve().await;
    let key = folder.key("acme", "CNY");
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]});
    let reply = server.chat(&key, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let today = folder.usage(&[])[0]["at"].as_str().unwrap()[..10].to_owned();
    let set = ["fx", "set", "--base", "USD", "--quote", "CNY", "--source", "a bank", "--rate", "7"];

    let without = folder.text(&["margin", "--currency", "CNY"]);
    folder.text(&[&set[..], &["--day", &today]].concat());
    let with = folder.json(&["margin", "--currency", "CNY", "--by", "session"]);
    let nonsense = folder.run(&["margin", "--currency", "shells"]).refused(1);

    assert!(without.contains("no rate") && without.contains("USD/CNY"), "{without}");
    assert_eq!((&with["total"]["requests"], &with["left_out"]), (&json!(1), &json!([])));
    assert_eq!(with["rates"][0]["rate"], "7");
    // Prices are in the same ratio in every class: 100 to 7.
    assert_eq!(with["total"]["share_permille"], 930);
    assert_eq!(with["groups"][0]["sums"], with["total"]);
    assert!(nonsense.contains("ISO 4217"), "{nonsense}");
}
