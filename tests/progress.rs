//! Long work tells on a terminal how far it is, and elsewhere nothing.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::{Folder, books, terminal::Terminal};

const CUSTOMERS: usize = 20;
const PLAN: &str = "[[plan]]\nname = \"flat\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                    fee = \"30\"\n";
const PRICES: &str = "[[price]]\nmodel = \"new\"\ncurrency = \"CNY\"\n\
                      from = 2026-12-01T00:00:00Z\nsource = \"a test\"\ninput = \"0.01\"\n";
const RATES: &str = "day,base,quote,rate\n2026-10-01,USD,CNY,7.1\n2026-10-02,USD,CNY,7.2\n";

/// Customers with usage in October, an issued invoice of one of them, and files of each kind.
async fn folder() -> (Folder, String) {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    books::customers(&ledger, CUSTOMERS).await;
    ledger.close().await;
    let draft = folder.json(&["invoice", "draft", "--customer", "c3", "--period", "2026-10"]);
    let id = draft["id"].as_str().unwrap().to_owned();
    folder.text(&["invoice", "approve", &id]);
    folder.text(&["invoice", "finalize", &id]);
    folder.text(&["invoice", "evidence", &id, "--dir", "evidence"]);
    for (file, text) in [("plan.toml", PLAN), ("prices.toml", PRICES), ("rates.csv", RATES)] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    (folder, id)
}

/// The commands whose work may be long, and what each shows of how far it is.
fn commands(id: &str) -> Vec<(Vec<String>, String)> {
    let all = CUSTOMERS;
    let row = |line: &str, shown: &str| {
        (line.split(' ').map(ToOwned::to_owned).collect(), shown.to_owned())
    };
    vec![
        row("close --period 2026-10", &format!("8 of {all}")),
        row("simulate --plan plan.toml --period 2026-10", &format!("8 of {all}")),
        row(&format!("invoice export {id} --format csv --out lines.csv"), "KiB written"),
        row(&format!("invoice evidence {id} --dir evidence"), "0 of 1"),
        row(
            "verify evidence/invoice.json --events evidence/events.jsonl --prices \
             evidence/prices.json",
            "0 of 1",
        ),
        row("price import prices.toml", "1 prices are compared"),
        row("price import prices.toml --apply", "1 prices are compared"),
        row("fx import rates.csv --source test", &format!("0 of {}", RATES.len())),
    ]
}

#[tokio::test]
async fn on_a_terminal_long_work_shows_how_much_of_how_much_is_done() {
    let (folder, id) = folder().await;

    for (command, shown) in commands(&id) {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut terminal = Terminal::run(&folder, &args);
        let code = terminal.ended().await;
        let screen = terminal.screen();
        assert_eq!(code, 0, "{args:?}: {screen}");
        assert!(screen.contains(&shown), "{args:?}: no `{shown}` in {screen:?}");
    }
}

#[tokio::test]
async fn without_a_terminal_it_says_nothing_beside_its_answer() {
    let (folder, id) = folder().await;

    for (command, shown) in commands(&id) {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let done = folder.run(&args).succeeded();
        assert_eq!(done.stderr, "", "{args:?}");
        assert!(!done.stdout.contains(&shown), "{args:?}: {}", done.stdout);
    }
}
