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
use support::{Folder, eventually};

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

/// The only request, once billing has it.
async fn booked(folder: &Folder) -> serde_json::Value {
    eventually("the request is booked", async || folder.usage(&[]).first().cloned()).await
}

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
    assert!(slip.contains("or --accept-jumps"), "{slip}");
    let day = |day, rate| folder.run(&[&set[..], &["--day", day, "--rate", rate]].concat());
    let other = day("2026-11-20", "7.2").refused(1);
    assert!(other.contains("or --replace"), "{other}");
    assert!(day("2999-01-01", "7.1").refused(1).contains("--day `2999-01-01`"));
    assert!(day("2026-11-20", "many").refused(2).contains("--rate"));
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
    let today = booked(&folder).await["at"].as_str().unwrap()[..10].to_owned();
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

/// A page of the costs and one of the usage of one day, as OpenAI would answer them for a row.
fn bill(row: &serde_json::Value, factor: u64) -> (String, String) {
    let at = row["at"].as_str().unwrap();
    let midnight = format!("{}T00:00:00Z", &at[..10]);
    let midnight = chrono::DateTime::parse_from_rfc3339(&midnight).unwrap().timestamp();
    let count = |class: &str| row["tokens"][class].as_u64().unwrap_or_default();
    let (input, cached) = (count("input_uncached"), count("cache_read"));
    let output = count("output_text") + count("reasoning");
    let model = row["model_served"].as_str().unwrap();
    // In 10⁻⁸ dollars of a token.
    let cost = |item: &str, tokens: u64, price: u64| {
        let value = tokens * price * factor;
        let value = format!("{}.{:08}", value / 100_000_000, value % 100_000_000);
        format!(
            "{{\"object\": \"organization.costs.result\", \"line_item\": \"{model}, {item}\", \
             \"amount\": {{\"value\": {value}, \"currency\": \"usd\"}}}}"
        )
    };
    let results =
        [cost("input", input, 10), cost("cached input", cached, 5), cost("output", output, 40)];
    let page = |results: String| {
        format!(
            "{{\"object\": \"page\", \"data\": [{{\"object\": \"bucket\", \"start_time\": {midnight}, \
             \"results\": [{results}]}}], \"has_more\": false}}\n"
        )
    };
    let usage = json!({
        "object": "organization.usage.completions.result",
        "model": model,
        "input_tokens": input + cached,
        "input_cached_tokens": cached,
        "output_tokens": output,
    });
    (page(results.join(", ")), page(usage.to_string()))
}

#[tokio::test]
async fn a_bill_is_compared_kept_once_shown_signed_and_watched() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    let fonts = format!("{}/tests/.fonts/usr/share/fonts", env!("CARGO_MANIFEST_DIR"));
    let issuer = format!("[issuer]\nfonts = [\"{fonts}\"]\n");
    folder.config(&format!("{issuer}{}{COSTS}", simulator.upstreams()));
    let server = folder.serve().await;
    let key = folder.key("acme", "CNY");
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(server.chat(&key, body).await.status, 200);
    let row = booked(&folder).await;
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (costs, usage) = bill(&row, 1);
    let (costs, usage) = (write("costs.json", costs), write("usage.json", usage));
    let (double, _) = bill(&row, 2);
    let double = write("double.json", double);
    let run = |files: &[&str]| {
        let asked = ["reconcile", "--provider", "openai", "--upstream", "simulated-openai"];
        let exactly = ["--tolerance", "0", "--tolerance-permille", "0"];
        folder.json(&[&asked[..], &exactly, files].concat())
    };

    let fine = run(&[&costs, &usage]);
    let same = run(&[&costs, &usage]);
    let wrong = run(&[&double, &usage]);

    let (report, summary) = (&fine["report"], &fine["summary"]);
    assert_eq!(report["differences"], json!([]), "{report}");
    assert_eq!((&summary["drift_permille"], &same["summary"]["id"]), (&json!("0"), &summary["id"]));
    assert_eq!(report["total"]["billed"], report["total"]["ours"]);
    assert_eq!(report["files"][0]["name"], "costs.json");
    assert_eq!(wrong["summary"]["drift_permille"], "500");
    let reasons = &wrong["report"]["differences"][0]["reasons"];
    assert_eq!(reasons[0]["code"], "price_difference", "{wrong}");
    assert_eq!(server.metric("permille_reconciliation_drift_ratio").await, Some(0.5));

    let id = wrong["summary"]["id"].as_str().unwrap();
    let signed = folder.text(&["reconcile", "sign", id, "--note", "we were billed twice"]);
    assert!(signed.contains("we were billed twice"), "{signed}");
    let twice = folder.run(&["reconcile", "sign", id, "--note", "again"]).refused(1);
    assert!(twice.contains("is signed already"), "{twice}");
    let listed = folder.lines(&["reconcile", "list", "--provider", "openai"]);
    assert_eq!(listed.len(), 2);
    let page = folder.path().join("report.html");
    folder.text(&["reconcile", "show", id, "--format", "html", "--out", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("price_difference") && page.contains("double.json"), "{page}");
    let table = folder.text(&["reconcile", "show", id, "--format", "csv"]);
    assert!(table.starts_with("day,model,class"), "{table}");
    let pdf = folder.path().join("report.pdf");
    folder.text(&["reconcile", "show", id, "--format", "pdf", "--out", pdf.to_str().unwrap()]);
    assert!(std::fs::read(pdf).unwrap().starts_with(b"%PDF-1.7"));
    let out = folder.path().join("report.json");
    let out = out.to_str().unwrap();
    let told = folder.json(&["reconcile", "show", id, "--out", out]);
    assert_eq!(told["file"], out);
    let written = std::fs::read_to_string(out).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["summary"]["id"], id);
    let both = folder.run(&["reconcile", "show", id, "--format", "csv", "--json"]).refused(2);
    assert!(both.contains("--json and another --format"), "{both}");
}

#[test]
fn a_bill_that_does_not_read_is_refused_by_line_and_leaves_nothing() {
    let folder = Folder::new();
    let file = folder.path().join("bill.csv");
    let path = file.to_str().unwrap().to_owned();
    let reconcile = ["reconcile", "--provider", "openai", path.as_str()];
    std::fs::write(
        &file,
        "start_time_iso,line_item,amount_value,amount_currency\n\
         2026-11-05,\"m, input\",0.5,usd\n2026-11-05,\"m, output\",half,usd\n",
    )
    .unwrap();

    let bad = folder.run(&reconcile).refused(1);
    let unknown = folder.run(&["reconcile", "--provider", "acme", &path]).refused(2);
    let nothing = folder.run(&["reconcile"]).refused(2);

    assert!(
        bad.contains("bill.csv") && bad.contains("line 3, column 3 `amount_value`: `half`"),
        "{bad}"
    );
    assert!(unknown.contains("--mapping FILE") && unknown.contains("aws-cur"), "{unknown}");
    assert!(nothing.contains("--provider"), "{nothing}");
    assert_eq!(folder.lines(&["reconcile", "list"]), Vec::<serde_json::Value>::new());
    let mapping = folder.path().join("map.toml");
    std::fs::write(&mapping, "name = \"x\"\ncurrency = \"USD\"\n[columns]\nday = \"start_time_iso\"\namount = \"line_item\"\n").unwrap();
    let mapping = mapping.to_str().unwrap();
    let mapped = ["reconcile", "--provider", "acme", "--mapping", mapping, &path];
    let mapped = folder.run(&mapped).refused(1);
    assert!(mapped.contains("line 2, column 2 `line_item`: `m, input`"), "{mapped}");
}
