//! Long work that is stopped in the middle, by Ctrl-C or kill -9: run again, it ends as if it had
//! never been stopped, and no file is there that is not whole.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use permille_ledger::Page;
use permille_types::UsageEvent;
use serde_json::Value;
use support::{Folder, books, eventually, terminal::Terminal};

const CUSTOMERS: usize = 40;
const CLOSE: [&str; 3] = ["close", "--period", "2026-10"];
/// Signals and the exit code of each.
const STOPS: [(Stop, i32); 2] = [(Stop::CtrlC, 130), (Stop::Kill, 137)];

#[derive(Debug, Clone, Copy)]
enum Stop {
    CtrlC,
    Kill,
}

impl Stop {
    /// Stops a command and gives its exit code.
    async fn stop(self, terminal: &mut Terminal) -> i32 {
        match self {
            Self::CtrlC => terminal.interrupt(),
            Self::Kill => terminal.kill(),
        }
        terminal.ended().await
    }
}

/// Customers with usage in October.
async fn folder() -> Folder {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    books::customers(&ledger, CUSTOMERS).await;
    ledger.close().await;
    folder
}

/// What each draft says, and how often it was drafted.
async fn drafts(folder: &Folder) -> Vec<(String, String, String, usize)> {
    let ledger = books::open(folder).await;
    let page = Page::new(None, Some(1_000)).unwrap();
    let mut drafts = Vec::new();
    for row in ledger.invoices(None, &page).await.unwrap().items {
        let draft = ledger.invoice(&row.id).await.unwrap();
        let lines = serde_json::to_string(&draft.lines).unwrap();
        let times = ledger.invoice_history(&row.id).await.unwrap().len();
        drafts.push((row.customer.to_string(), lines, draft.total.to_string(), times));
    }
    ledger.close().await;
    drafts.sort();
    drafts
}

/// When each invoice was last written.
async fn written(folder: &Folder) -> BTreeMap<String, String> {
    let ledger = books::open(folder).await;
    let page = Page::new(None, Some(1_000)).unwrap();
    let rows = ledger.invoices(None, &page).await.unwrap().items;
    ledger.close().await;
    rows.into_iter().map(|row| (row.id.to_string(), row.updated_at.to_rfc3339())).collect()
}

/// The checks of a close and what was noted, without instants and tokens.
fn told(close: &Value) -> (Value, Vec<Value>) {
    let noted = close["history"].as_array().unwrap().iter().map(|entry| entry["detail"].clone());
    (close["checks"].clone(), noted.collect())
}

/// Gives what was written before the last close was stopped.
async fn close_is_stopped(folder: &Folder) -> BTreeMap<String, String> {
    let mut stopped = 0;
    for (stop, code) in STOPS {
        let mut terminal = Terminal::run(folder, &CLOSE);
        terminal.shows("8 of 40").await;
        stopped += usize::from(stop.stop(&mut terminal).await == code);
    }
    assert!(stopped > 0, "every close was faster than its end");
    written(folder).await
}

#[tokio::test]
async fn a_close_that_is_stopped_goes_on_where_it_was() {
    let (never, local, remote) = (folder().await, folder().await, folder().await);
    let expected = never.json(&CLOSE);

    let before = close_is_stopped(&local).await;
    let close = local.json(&CLOSE);
    let mut server = remote.serve().await;
    close_is_stopped(&remote).await;
    let over_http = remote.json(&CLOSE);
    server.stop().await;

    let after = written(&local).await;
    assert!(before.len() >= 8, "{before:?}");
    for (id, at) in before {
        assert_eq!(after[&id], at, "what is drafted is not drafted again");
    }
    let drafted = drafts(&never).await;
    assert_eq!(drafted.len(), CUSTOMERS);
    assert!(drafted.iter().all(|(.., times)| *times == 1));
    for (folder, close) in [(&local, close), (&remote, over_http)] {
        assert_eq!(told(&close), told(&expected));
        assert_eq!(drafts(folder).await, drafted);
    }
}

/// A server that is killed while it drafts, and started again.
#[tokio::test]
async fn a_close_whose_server_is_killed_goes_on_where_it_was() {
    let (never, folder) = (folder().await, folder().await);
    never.json(&CLOSE);
    let mut server = folder.serve().await;
    let mut terminal = Terminal::run(&folder, &CLOSE);
    terminal.shows("8 of 40").await;
    server.kill().await;
    let code = terminal.ended().await;
    let said = terminal.screen();

    let _server = folder.serve().await;
    folder.json(&CLOSE);

    assert_eq!(drafts(&folder).await, drafts(&never).await);
    assert!(code == 0 || said.contains("the change may be made"), "{code}: {said}");
}

#[tokio::test]
async fn a_simulation_that_is_stopped_has_changed_nothing_and_is_made_again() {
    let folder = folder().await;
    let plan = "[[plan]]\nname = \"flat\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                fee = \"30\"\n";
    std::fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let simulate = ["simulate", "--plan", "plan.toml", "--period", "2026-10"];
    let expected = folder.json(&simulate);
    assert_eq!(expected["customers"].as_array().unwrap().len(), CUSTOMERS);

    let mut stopped = 0;
    for (stop, code) in STOPS {
        let mut terminal = Terminal::run(&folder, &simulate);
        terminal.shows("8 of 40").await;
        stopped += usize::from(stop.stop(&mut terminal).await == code);
    }

    assert!(stopped > 0, "every simulation was faster than its end");
    assert_eq!(folder.json(&simulate), expected);
    assert!(folder.lines(&["invoice", "list"]).is_empty());
}

/// A pipe by that name: whoever writes it waits for the test to read.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// An issued invoice over a thousand requests: its files are longer than a pipe.
async fn thousand() -> (Folder, String) {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    let (customer, key) = books::customer(&ledger, 1).await;
    let used: Vec<UsageEvent> =
        (1..=1_000).map(|number| books::october(number, customer.as_str(), key.as_str())).collect();
    books::accept(&ledger, &used).await;
    ledger.close().await;
    let draft = folder.json(&["invoice", "draft", "--customer", "c1", "--period", "2026-10"]);
    let id = draft["id"].as_str().unwrap().to_owned();
    folder.text(&["invoice", "approve", &id]);
    folder.text(&["invoice", "finalize", &id]);
    (folder, id)
}

/// Stops a command once it has written the beginning of `file`, of which nothing is there then.
async fn stopped_while_writing(folder: &Folder, args: &[&str], file: &Path) {
    for (stop, code) in STOPS {
        let part = PathBuf::from(format!("{}.part", file.display()));
        pipe(&part);
        // It is open from before the writer to after it: at no time is it told that nobody reads.
        let mut open = OpenOptions::new().read(true).write(true).open(&part).unwrap();
        let mut terminal = Terminal::run(folder, args);
        open.read_exact(&mut [0]).unwrap();
        let ended = stop.stop(&mut terminal).await;
        assert_eq!(ended, code, "{stop:?}: {}", terminal.screen());
        assert!(!file.exists(), "{}", file.display());
        std::fs::remove_file(&part).unwrap();
    }
}

#[tokio::test]
async fn an_export_that_is_stopped_leaves_no_file_and_is_made_again() {
    let (folder, id) = thousand().await;
    let export = |out: &str| {
        ["invoice", "export", &id, "--format", "csv", "--detail", "requests", "--out", out]
            .map(ToOwned::to_owned)
    };
    let whole = export("whole.csv");
    folder.text(&whole.each_ref().map(String::as_str));
    let args = export("rows.csv");
    let args = args.each_ref().map(String::as_str);
    let file = folder.path().join("rows.csv");

    stopped_while_writing(&folder, &args, &file).await;
    // As a command that was killed leaves it.
    std::fs::write(folder.path().join("rows.csv.part"), "half of a file, and long").unwrap();
    folder.text(&args);

    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, std::fs::read_to_string(folder.path().join("whole.csv")).unwrap());
    assert!(text.lines().count() > 1_000);
    assert!(!folder.path().join("rows.csv.part").exists());
}

#[tokio::test]
async fn evidence_and_its_verification_that_are_stopped_are_made_again() {
    let (folder, id) = thousand().await;
    let evidence = ["invoice", "evidence", &id, "--dir", "evidence"];
    let dir = folder.path().join("evidence");
    std::fs::create_dir(&dir).unwrap();
    stopped_while_writing(&folder, &evidence, &dir.join("events.jsonl")).await;
    folder.text(&evidence);
    let verify = |events: &str| {
        let (invoice, prices) = ("evidence/invoice.json", "evidence/prices.json");
        ["verify", invoice, "--events", events, "--prices", prices].map(ToOwned::to_owned)
    };
    let whole = verify("evidence/events.jsonl");
    let whole = whole.each_ref().map(String::as_str);

    let lines = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let half: String = lines.split_inclusive('\n').take(500).collect();
    for (stop, code) in STOPS {
        let slow = folder.path().join("slow.jsonl");
        pipe(&slow);
        let args = verify("slow.jsonl");
        let mut terminal = Terminal::run(&folder, &args.each_ref().map(String::as_str));
        let mut events = OpenOptions::new().write(true).open(&slow).unwrap();
        events.write_all(half.as_bytes()).unwrap();
        terminal.shows(" of 1,000").await;
        assert_eq!(stop.stop(&mut terminal).await, code, "{}", terminal.screen());
        std::fs::remove_file(&slow).unwrap();
    }

    let right = folder.text(&whole);
    assert!(right.contains("is right: 1000 records"), "{right}");
}

/// Rates go in pieces: those that were sent stay, and the whole file again adds the rest.
#[tokio::test]
async fn an_import_of_rates_that_is_stopped_is_taken_up_again() {
    let folder = Folder::new();
    let _server = folder.serve().await;
    let first: chrono::NaiveDate = "2019-01-01".parse().unwrap();
    let days = first.iter_days().take(2_500);
    let lines: Vec<String> = days.map(|day| format!("{day},USD,CNY,7.1\n")).collect();
    let whole = format!("day,base,quote,rate\n{}", lines.concat());
    std::fs::write(folder.path().join("rates.csv"), &whole).unwrap();
    let slow = folder.path().join("slow.csv");
    pipe(&slow);

    let mut terminal = Terminal::run(&folder, &["fx", "import", "slow.csv", "--source", "test"]);
    let mut file = OpenOptions::new().write(true).open(&slow).unwrap();
    let most = whole.len() - 100 * lines[0].len();
    file.write_all(&whole.as_bytes()[..most]).unwrap();
    let sent = eventually("a piece is sent", async || {
        let sent = folder.lines(&["fx", "list"]).len();
        (sent > 0).then_some(sent)
    })
    .await;
    assert_eq!(Stop::CtrlC.stop(&mut terminal).await, 130, "{}", terminal.screen());
    let again = folder.json(&["fx", "import", "rates.csv", "--source", "test"]);

    assert_eq!(sent, 2_000);
    assert_eq!((&again["added"], &again["unchanged"]), (&500.into(), &2_000.into()));
    assert_eq!(folder.lines(&["fx", "list"]).len(), 2_500);
}

/// A price list is one change: it is in the book or it is not.
#[tokio::test]
async fn an_import_of_prices_that_is_killed_is_whole_or_not_there() {
    let folder = Folder::new();
    let count = || folder.lines(&["price", "list"]).len();
    let before = count();
    let list: Vec<String> = (0..500)
        .map(|number| {
            format!(
                "[[price]]\nmodel = \"new-{number}\"\ncurrency = \"CNY\"\n\
                 from = 2026-12-01T00:00:00Z\nsource = \"a test\"\ninput = \"0.01\"\n"
            )
        })
        .collect();
    std::fs::write(folder.path().join("prices.toml"), list.concat()).unwrap();
    let import = ["price", "import", "prices.toml", "--apply"];

    for (stop, _) in STOPS {
        let mut terminal = Terminal::run(&folder, &import);
        terminal.shows("500 prices are compared").await;
        stop.stop(&mut terminal).await;
        let after = count();
        assert!([before, before + 500].contains(&after), "{before}, then {after}");
    }
    folder.text(&import);

    assert_eq!(count(), before + 500);
}
