//! kill -9 of a server in the midst of issuing and of signing, on either engine: asked the same
//! again, it comes to what a server comes to that nobody kills.

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
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use hyper::Method;
use permille_ledger::{
    Actor, Instruction, InvoiceState, Ledger, Page, PostgresAddress, Role, StoreAddress,
};
use permille_types::InvoiceId;
use serde_json::{Value, json};
use support::{
    Folder, Server, books, eventually,
    postgres::{DATABASE, Held, Postgres},
    sdk,
};
use tokio::task::JoinSet;

const CUSTOMERS: usize = 40;
/// Invoices after which each server is killed, counted from where the one before ended.
const KILLED_AFTER: [usize; 4] = [1, 7, 3, 12];

/// What is left of a month, without the ids and instants that each installation makes anew.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Lines and total of each customer.
    invoices: BTreeMap<String, (Value, String)>,
    numbers: Vec<String>,
    balances: Vec<(String, String)>,
    signed: Vec<String>,
    closed: bool,
}

/// A month of forty customers whose drafts are approved, and who may do what.
struct Month<'p> {
    folder: Folder,
    ledger: Ledger,
    postgres: Option<&'p Postgres>,
    tokens: BTreeMap<&'static str, String>,
    /// Customers with their invoices.
    approved: Vec<(String, InvoiceId)>,
}

impl<'p> Month<'p> {
    async fn new(postgres: Option<&'p Postgres>) -> Self {
        let folder = Folder::new();
        if let Some(postgres) = postgres {
            folder.config(&format!("[store]\nurl = \"{}\"\n", postgres.url(DATABASE)));
        }
        folder.text(&["customer", "list"]);
        let ledger = match postgres {
            Some(postgres) => {
                let address = PostgresAddress::new(&postgres.url(DATABASE), None).unwrap();
                books::open_at(&folder, StoreAddress::Postgres(address)).await
            }
            None => books::open(&folder).await,
        };
        books::customers(&ledger, CUSTOMERS).await;
        let token = ledger.create_token(Role::Finance, None).await.unwrap().token;
        let finance = Instruction::new(Actor::of(&token), None).unwrap();
        ledger.prepare_close("2026-10", &finance).await.unwrap();
        let mut approved = Vec::new();
        for draft in invoices(&ledger).await {
            ledger.approve_invoice(&draft.id, &finance).await.unwrap();
            approved.push((draft.customer.to_string(), draft.id));
        }
        let secret = |role: &'static str| {
            let made = folder.json(&["token", "create", "--role", role]);
            (role, made["secret"].as_str().unwrap().to_owned())
        };
        let tokens = ["operator", "finance"].into_iter().map(secret).collect();
        Self { folder, ledger, postgres, tokens, approved }
    }

    /// Issues all invoices at once and gives the answers that came.
    async fn issue(&self, server: &Server, killed_after: Option<usize>) -> (Vec<Value>, bool) {
        let before = issued(&self.ledger).await;
        let mut calls = JoinSet::new();
        for (customer, id) in &self.approved {
            let path = format!("/api/v1/invoices/{id}/finalize");
            let key = format!("issue-{customer}");
            calls.spawn(call(server, &self.tokens["finance"], path, key, "{}"));
        }
        let Some(more) = killed_after else {
            return (calls.join_all().await.into_iter().flatten().collect(), false);
        };
        eventually("some are issued", async || {
            (issued(&self.ledger).await >= (before + more).min(CUSTOMERS)).then_some(())
        })
        .await;
        server.signal("KILL");
        let answers: Vec<Value> = calls.join_all().await.into_iter().flatten().collect();
        (answers, issued(&self.ledger).await < CUSTOMERS)
    }

    /// Signs as a role; the same call is the same signature.
    fn sign(
        &self,
        server: &Server,
        role: &'static str,
    ) -> impl Future<Output = Option<Value>> + Send + use<> {
        let path = "/api/v1/close/2026-10/sign".to_owned();
        let body = r#"{"accept": "no gateway is left"}"#;
        call(server, &self.tokens[role], path, format!("sign-{role}"), body)
    }

    async fn signatures(&self) -> Vec<String> {
        let report = self.ledger.close_report("2026-10").await.unwrap();
        report.signatures.iter().map(|signature| signature.role.clone()).collect()
    }

    /// As long as it is there, nobody writes.
    fn hold_writes(&self) -> HeldWrites {
        match self.postgres {
            Some(postgres) => HeldWrites::Postgres { _held: postgres.hold_writes() },
            None => HeldWrites::sqlite(&self.folder),
        }
    }

    /// Nothing is half done, whatever was killed.
    async fn assert_whole(&self) {
        assert_eq!(self.ledger.check_books().await.unwrap(), Vec::<String>::new());
        for row in invoices(&self.ledger).await {
            let is_final = row.state == InvoiceState::Final;
            assert!(is_final || row.state == InvoiceState::Approved, "{row:?}");
            assert_eq!(row.number.is_some(), is_final, "{row:?}");
        }
        let numbers = self.numbers().await;
        let wanted: Vec<String> = (1..=numbers.len()).map(|n| format!("{n:06}")).collect();
        assert_eq!(numbers, wanted);
    }

    /// What numbers are given out, without the year of the machine's clock.
    async fn numbers(&self) -> Vec<String> {
        let rows = invoices(&self.ledger).await;
        let numbers = rows.iter().filter_map(|row| row.number.as_ref());
        let mut numbers: Vec<String> =
            numbers.map(|number| number.as_str().rsplit('-').next().unwrap().to_owned()).collect();
        numbers.sort();
        numbers
    }

    async fn outcome(&self) -> Outcome {
        let mut invoices = BTreeMap::new();
        for (customer, id) in &self.approved {
            let invoice = self.ledger.invoice(id).await.unwrap();
            let lines = serde_json::to_value(&invoice.lines).unwrap();
            invoices.insert(customer.clone(), (lines, invoice.total.to_string()));
        }
        let balances = self.ledger.balances().await.unwrap();
        let report = self.ledger.close_report("2026-10").await.unwrap();
        Outcome {
            invoices,
            numbers: self.numbers().await,
            balances: balances
                .iter()
                .map(|balance| (balance.account.clone(), balance.amount().to_string()))
                .collect(),
            signed: self.signatures().await,
            closed: report.state == permille_ledger::CloseState::Closed,
        }
    }
}

enum HeldWrites {
    Postgres { _held: Held },
    Sqlite(Child),
}

impl HeldWrites {
    fn sqlite(folder: &Folder) -> Self {
        const HOLD: &str = "import sqlite3, sys
books = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
books.execute('begin immediate')
print('held', flush=True)
sys.stdin.read()";
        let mut child = Command::new(sdk::python())
            .args(["-c", HOLD])
            .arg(folder.data().join("permille.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Self::Sqlite(child)
    }
}

impl Drop for HeldWrites {
    fn drop(&mut self) {
        if let Self::Sqlite(child) = self {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

/// A call under a token and an idempotency key: its answer, if it came and was a success.
fn call(
    server: &Server,
    token: &str,
    path: String,
    key: String,
    body: &'static str,
) -> impl Future<Output = Option<Value>> + Send + use<> {
    let (web, console) = (server.web.clone(), server.console());
    let bearer = format!("Bearer {token}");
    async move {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        let body = Bytes::from_static(body.as_bytes());
        let reply = web.send(Method::POST, console, &path, &headers, body).await.ok()?;
        let status = reply.status;
        let (text, is_whole) = { reply }.rest().await;
        // Who is cut off has no answer; who is answered is not refused.
        if !is_whole {
            return None;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(status, 200, "{path}: {text}");
        Some(serde_json::from_str(&text).unwrap())
    }
}

async fn invoices(ledger: &Ledger) -> Vec<permille_ledger::InvoiceSummary> {
    let page = Page::new(None, Some(1_000)).unwrap();
    ledger.invoices(None, &page).await.unwrap().items
}

async fn issued(ledger: &Ledger) -> usize {
    invoices(ledger).await.iter().filter(|row| row.state == InvoiceState::Final).count()
}

/// Nobody is killed.
async fn undisturbed() -> Outcome {
    let month = Month::new(None).await;
    let server = month.folder.serve().await;
    let (answers, _) = month.issue(&server, None).await;
    assert_eq!(answers.len(), CUSTOMERS);
    for role in ["operator", "finance"] {
        month.sign(&server, role).await.unwrap();
    }
    month.outcome().await
}

/// Servers are killed while they issue; then two times for each signature: while it waits for its
/// turn to write, and as soon as it is written.
async fn disturbed(postgres: Option<&Postgres>) -> Outcome {
    let month = Month::new(postgres).await;
    let (mut in_the_midst, mut told) = (0, Vec::new());
    for more in KILLED_AFTER {
        let mut server = month.folder.serve().await;
        let (answers, some_left) = month.issue(&server, Some(more)).await;
        server.ended().await;
        in_the_midst += usize::from(some_left);
        told.extend(answers);
        month.assert_whole().await;
    }
    assert!(in_the_midst > 1, "{in_the_midst} of the servers were killed before the last invoice");
    let server = month.folder.serve().await;
    told.extend(month.issue(&server, None).await.0);
    assert_eq!(issued(&month.ledger).await, CUSTOMERS);
    for answer in told {
        let id = answer["id"].as_str().unwrap().parse().unwrap();
        let now = month.ledger.invoice(&id).await.unwrap();
        assert_eq!(answer["number"], json!(now.number), "what was told is what is");
    }
    month.assert_whole().await;
    drop(server);
    for (before, role) in ["operator", "finance"].into_iter().enumerate() {
        // A server that starts writes.
        let mut server = month.folder.serve().await;
        let held = month.hold_writes();
        let waiting = tokio::spawn(month.sign(&server, role));
        let bearer = format!("Bearer {}", month.tokens[role]);
        let headers = [("authorization", bearer.as_str())];
        let report = server.web.get_with(server.console(), "/api/v1/close/2026-10", &headers).await;
        assert_eq!(report.status, 200, "{}", report.text());
        server.kill().await;
        drop(held);
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(month.signatures().await.len(), before);

        let mut server = month.folder.serve().await;
        let signing = tokio::spawn(month.sign(&server, role));
        eventually("it is signed", async || {
            (month.signatures().await.len() > before).then_some(())
        })
        .await;
        server.kill().await;
        drop(signing.await.unwrap());

        let server = month.folder.serve().await;
        let again = month.sign(&server, role).await.unwrap();
        assert_eq!(again["signatures"].as_array().unwrap().len(), before + 1);
    }
    assert_eq!(month.ledger.check_books().await.unwrap(), Vec::<String>::new());
    month.outcome().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_kills_a_server_while_it_issues_and_signs_the_same_calls_give_the_same() {
    let postgres = Postgres::start();
    let wanted = undisturbed().await;
    assert!(wanted.closed, "{wanted:?}");
    assert_eq!(wanted.numbers.len(), CUSTOMERS);

    assert_eq!(disturbed(None).await, wanted);
    assert_eq!(disturbed(Some(&postgres)).await, wanted);
}
