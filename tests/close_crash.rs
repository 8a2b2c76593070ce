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

use std::process::Stdio;

use permille_ledger::{Ledger, Page};
use support::{Folder, books, eventually};

const CUSTOMERS: usize = 40;
/// Drafts after which each close is killed, counted from where the one before ended.
const KILLED_AFTER: [usize; 4] = [1, 7, 3, 12];

async fn drafts(ledger: &Ledger) -> usize {
    let page = Page::new(None, Some(1_000)).unwrap();
    ledger.invoices(None, &page).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_killed_and_run_again_drafts_every_customer_once() {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);
    let ledger = books::open(&folder).await;
    books::customers(&ledger, CUSTOMERS).await;

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
