//! kill -9 in the middle of a month's close, again and again: run once more, every customer has one
//! draft, and it says what it would have said.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{process::Stdio, sync::Arc};

use bytes::Bytes;
use permille_ledger::{Ledger, LedgerConfig, NewCustomer, NewKey, Page, Pepper};
use permille_types::{
    Batch, Currency, Ended, Endpoint, Family, RequestId, Sequenced, Source, SystemClock,
    TokenClass, UsageEvent,
};
use support::{Folder, eventually};

const CUSTOMERS: usize = 40;
/// Drafts after which each close is killed, counted from where the one before ended.
const KILLED_AFTER: [usize; 4] = [1, 7, 3, 12];

async fn open(folder: &Folder) -> Ledger {
    let pepper = Pepper::load_or_create(&folder.data().join("pepper")).unwrap();
    let store = folder.data().join("permille.db").into();
    Ledger::open(LedgerConfig { store, pepper, clock: Arc::new(SystemClock) }).await.unwrap()
}

/// A request of October at the default book's first model.
fn event(number: usize, customer: &str, key: &str) -> UsageEvent {
    let tokens = 1_000 * u64::try_from(number).unwrap();
    UsageEvent {
        version: 1,
        request_id: RequestId::new("2026-10-10T10:00:00Z".parse().unwrap()),
        at: "2026-10-10T10:00:00Z".parse().unwrap(),
        customer: customer.parse().unwrap(),
        project: "default".parse().unwrap(),
        key: key.parse().unwrap(),
        session: "chat-1".parse().unwrap(),
        session_explicit: true,
        turn: 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: "ERNIE-Bot".parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: None,
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        tokens: [(TokenClass::INPUT_UNCACHED, tokens)].into(),
        input_total: Some(tokens),
        output_total: None,
        estimate_error_permille: None,
        units: permille_types::UnitCounts::new(),
        attempts: Vec::new(),
        latency_ms: 1,
        first_token_ms: None,
        flags: Vec::new(),
    }
}

/// Customers who each have used something in October.
async fn customers(ledger: &Ledger) {
    let mut events = Vec::new();
    for number in 1..=CUSTOMERS {
        let new = NewCustomer {
            id: Some(format!("c{number}")),
            name: format!("Customer {number}"),
            currency: Currency::CNY,
            time_zone: chrono_tz::UTC,
        };
        let customer = ledger.create_customer(new).await.unwrap().id;
        let project = "default".parse().unwrap();
        let new = NewKey { customer: customer.clone(), project, name: None, rpm: None };
        let key = ledger.create_key(new).await.unwrap().key;
        let event = event(number, customer.as_str(), key.id.as_str());
        let payload = Bytes::from(event.to_json().unwrap());
        events.push(Sequenced { sequence: u64::try_from(number).unwrap(), payload });
    }
    let accepted = ledger.accept(&Batch { node: "n1".parse().unwrap(), events }).await.unwrap();
    assert_eq!((accepted.booked, accepted.unpriced), (CUSTOMERS as u64, 0));
}

async fn drafts(ledger: &Ledger) -> usize {
    let page = Page::new(None, Some(1_000)).unwrap();
    ledger.invoices(None, &page).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_killed_and_run_again_drafts_every_customer_once() {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = open(&folder).await;
    customers(&ledger).await;

    let mut killed = 0;
    for more in KILLED_AFTER {
        let before = drafts(&ledger).await;
        let mut close = folder
            .command(&["close", "--period", "2026-10", "--json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("drafts are made, or the close ends", async || {
            let ended = close.try_wait().unwrap().is_some();
            (ended || drafts(&ledger).await >= before + more).then_some(())
        })
        .await;
        killed += usize::from(close.try_wait().unwrap().is_none());
        close.kill().unwrap();
        close.wait().unwrap();
    }
    assert!(killed > 0, "every close was faster than its kill");
    let close = folder.json(&["close", "--period", "2026-10"]);

    let open: Vec<_> = close["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| check["name"].clone())
        .collect();
    assert_eq!(open, ["issued"]);
    assert_eq!(drafts(&ledger).await, CUSTOMERS);
    let page = Page::new(None, Some(1_000)).unwrap();
    for row in ledger.invoices(None, &page).await.unwrap().items {
        let draft = ledger.invoice(&row.id).await.unwrap();
        let preview = ledger.preview_invoice(&row.customer, "2026-10").await.unwrap();
        assert_eq!((draft.lines, draft.total), (preview.lines, preview.total));
    }
    assert_eq!(ledger.check_books().await.unwrap(), Vec::<String>::new());
}
