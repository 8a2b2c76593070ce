//! Batches of several nodes at once, overlapping and repeated: each request once, and checkpoints
//! that only grow.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use permille_ledger::{Ledger, Page, UsageFilter};
use permille_types::{Batch, UsageEvent};
use tokio::task::JoinSet;

use crate::support::{Books, batch};

/// Windows of 40 over `events`, each 10 on: every event is in several of them.
fn overlapping(node: &str, events: &[UsageEvent]) -> Vec<Batch> {
    let starts = (0..events.len()).step_by(10);
    starts
        .map(|start| {
            let end = events.len().min(start + 40);
            batch(node, u64::try_from(start).unwrap() + 1, &events[start..end])
        })
        .collect()
}

/// Sends all of `batches` at once and says how many events were booked.
async fn send(ledgers: &[Ledger], batches: Vec<Batch>) -> (u64, u64) {
    let mut running = JoinSet::new();
    for (ledger, batch) in ledgers.iter().cloned().cycle().zip(batches) {
        running.spawn(async move { ledger.accept(&batch).await.unwrap() });
    }
    let all = running.join_all().await;
    let sum = |of: fn(&permille_ledger::Accepted) -> u64| all.iter().map(of).sum();
    assert_eq!(sum(|one| one.conflicts + one.quarantined), 0);
    (sum(|one| one.booked), sum(|one| one.duplicates))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_batches_of_several_nodes_at_once_book_each_request_once() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=120).map(|number| books.event(number)).collect();
    let alone = Books::open().await;
    let twins: Vec<_> = (1..=120).map(|number| alone.event(number)).collect();
    alone.accept(&twins).await;
    let batches: Vec<_> =
        ["n1", "n2", "n3"].iter().flat_map(|node| overlapping(node, &events)).collect();
    let sent: usize = batches.iter().map(|batch| batch.events.len()).sum();

    let (booked, duplicates) = send(std::slice::from_ref(&books.ledger), batches).await;

    assert_eq!(booked, 120);
    assert_eq!(booked + duplicates, u64::try_from(sent).unwrap());
    assert_eq!(sums(&books).await, sums(&alone).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_ledgers_on_one_file_at_once_book_each_request_once() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=120).map(|number| books.event(number)).collect();
    let ledgers = [books.ledger.clone(), books.reopened().await];
    let batches: Vec<_> = ["n1", "n2"].iter().flat_map(|node| overlapping(node, &events)).collect();

    let (booked, _) = send(&ledgers, batches).await;

    assert_eq!(booked, 120);
    assert_eq!(books.value("select count(*) from usage").await, 120);
    assert_eq!(books.value("select sum(requests) from request_hour").await, 120);
    assert_eq!(books.value("select sum(quantity) from usage_hour").await, 120 * 1_500);
    let balances = books.ledger.balances().await.unwrap();
    assert_eq!(balances.iter().map(|balance| balance.amount_nano).sum::<i64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_checkpoint_never_moves_back_while_batches_arrive_in_any_order() {
    let books = Arc::new(Books::open().await);
    let events: Vec<_> = (1..=60).map(|number| books.event(number)).collect();
    let mut batches = overlapping("n1", &events);
    batches.extend(overlapping("n2", &events));
    batches.reverse();
    let mut running = JoinSet::new();
    for sent in batches {
        let ledger = books.ledger.clone();
        running.spawn(async move { ledger.accept(&sent).await.unwrap() });
    }
    let watcher = Arc::clone(&books);
    let watching = tokio::spawn(async move {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut reads = 0_u32;
        loop {
            reads += 1;
            for checkpoint in watcher.ledger.checkpoints().await.unwrap() {
                let before = seen.insert(checkpoint.node.to_string(), checkpoint.sequence);
                assert!(before.is_none_or(|before| before <= checkpoint.sequence));
            }
            let rows = watcher.value("select count(*) from intake_checkpoint").await;
            if rows == 2 && seen.values().all(|sequence| *sequence == 60) {
                return reads;
            }
        }
    });

    running.join_all().await;
    let deadline = Duration::from_mins(1);
    let reads = tokio::time::timeout(deadline, watching).await.unwrap().unwrap();

    assert!(reads > 0);
}

/// Rows and their acknowledgement are one commit: whoever sees a checkpoint sees its rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_sees_an_acknowledgement_sees_the_rows() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=50).map(|number| books.event(number)).collect();
    let mut running = JoinSet::new();
    for (place, event) in (1_u64..).zip(events) {
        let ledger = books.ledger.clone();
        running.spawn(async move {
            let sent = [event];
            let accepted = ledger.accept(&batch("n1", place, &sent)).await.unwrap();
            let filter =
                UsageFilter { request: Some(sent[0].request_id), ..UsageFilter::default() };
            let rows = ledger.usage(&filter, &Page::default()).await.unwrap();
            (accepted.ack.sequence, rows.items.len(), place)
        });
    }

    for (acknowledged, rows, place) in running.join_all().await {
        assert_eq!((acknowledged, rows), (place, 1));
    }
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for() {
    let books = Books::open().await;
    let other = books.database.lock().await;
    let (ledger, sent) = (books.ledger.clone(), batch("n1", 1, &[books.event(1)]));
    let mut waiting = tokio::spawn(async move { ledger.accept(&sent).await });

    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    // A read does not wait for a writer.
    assert_eq!(books.ledger.checkpoints().await.unwrap(), []);
    other.release().await;

    assert!(early.is_err(), "{early:?}");
    assert_eq!(waiting.await.unwrap().unwrap().booked, 1);
}

/// Money and counts of the whole file, without ids that each installation makes anew.
async fn sums(books: &Books) -> Vec<String> {
    let rows = books.dump().await;
    rows.into_iter().filter(|line| !line.starts_with(r#"["usage""#)).collect()
}
