//! Settled records that are not written yet: who writes them, and what a crash or a full disk
//! makes of them. While a sync is held, only another record writes what waits.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod common;

use std::{io, sync::Arc};

use common::{Noon, admit, config, event, intent, open, prepared, shippable};
use permille_journal::{
    FullReason, Health, Journal, JournalConfig, JournalError, Settled, Write,
    testing::{Loss, MemFs, SyncGate},
};
use permille_types::{Ended, UsageEvent};

/// A journal whose sync is held, and a record that waits behind it.
struct Held {
    /// Goes first: the journal's end waits for the sync that it holds.
    gate: SyncGate,
    fs: MemFs,
    journal: Journal,
    /// In the file; its sync is held.
    first: (UsageEvent, Settled),
    /// Not in the file.
    second: (UsageEvent, Settled),
}

impl Held {
    async fn new() -> Self {
        let fs = MemFs::new();
        let mut config = config();
        // Large enough that no segment must be prepared while the syncs are held.
        (config.segment_bytes, config.bytes_max) = (1 << 20, 1 << 24);
        let journal = Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal;
        prepared(&journal).await;
        let gate = fs.hold_syncs();
        let first = appended(&journal, 1);
        gate.wait_for_sync();
        let second = appended(&journal, 2);
        Self { gate, fs, journal, first, second }
    }

    /// What a start after the death of the process finds: how many open requests, and all rows.
    async fn found(&self) -> (u64, Vec<UsageEvent>) {
        let opened = open(&self.fs.crash(Loss::Nothing)).unwrap();
        assert!(opened.recovered.damage.is_empty(), "{:?}", opened.recovered);
        (opened.recovered.orphans, shippable(&opened.journal).await)
    }
}

fn appended(journal: &Journal, number: u32) -> (UsageEvent, Settled) {
    let event = event(number, 1);
    admit(journal, &event).unwrap();
    let settled = journal.settle(&event).unwrap();
    (event, settled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_goes_with_the_next_write_and_is_written_before_its_future_resolves() {
    let Held { fs, journal, gate, first, second } = Held::new().await;
    let before = fs.writes();
    let third = appended(&journal, 3);
    assert_eq!(fs.writes() - before, 1, "one write for a settled record and the next intent");

    drop(gate);
    let mut events = Vec::new();
    for (event, settled) in [first, second, third] {
        settled.await.unwrap();
        events.push(event);
    }

    assert_eq!(fs.writes() - before, 2, "what nothing followed was written for its sync");
    assert_eq!(shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await, events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_process_makes_an_orphan_of_what_was_waited_for() {
    let held = Held::new().await;

    let (orphans, rows) = held.found().await;

    assert_eq!((orphans, rows.len(), &rows[0]), (1, 2, &held.first.0));
    assert_eq!((rows[1].request_id, rows[1].ended), (held.second.0.request_id, Ended::Orphaned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_nobody_waits_for_any_more_is_written() {
    let mut held = Held::new().await;
    let (third, unawaited) = appended(&held.journal, 3);

    drop(unawaited);

    let events = vec![held.first.0.clone(), held.second.0.clone(), third];
    assert_eq!(held.found().await, (0, events));
    held.second = appended(&held.journal, 4);
    held.second.1.write().unwrap();
    assert_eq!(held.found().await.1.last(), Some(&held.second.0));
    let (fifth, _waited_for) = appended(&held.journal, 5);
    let mut uncommitted = Vec::new();
    held.journal.uncommitted(|written| uncommitted.push(written.payload)).unwrap();
    assert_eq!(UsageEvent::from_payload(uncommitted.last().unwrap()).unwrap(), fifth);
}

#[tokio::test]
async fn where_nobody_waits_for_a_sync_a_record_is_written_at_once() {
    for mode in ["interval:60s", "none"] {
        let fs = MemFs::new();
        let config = JournalConfig { sync: mode.parse().unwrap(), ..config() };
        let journal = Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal;
        let (event, _settled) = appended(&journal, 1);

        let again = open(&fs.crash(Loss::Nothing)).unwrap();

        assert_eq!(shippable(&again.journal).await, [event], "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_without_room_leaves_what_waits_and_the_chain_as_they_were() {
    let held = Held::new().await;
    let third = event(3, 1);
    held.fs.fail_write(held.fs.writes() + 1, io::ErrorKind::StorageFull);

    let refused = held.journal.admit(&intent(&third));

    assert!(matches!(refused, Err(JournalError::Full { reason: FullReason::Disk })), "{refused:?}");
    assert!(matches!(held.journal.health(), Health::Full { reason: FullReason::Disk }));
    assert_eq!(held.journal.stats().open_requests, 0);
    let (_, rows) = held.found().await;
    assert_eq!((rows.len(), rows[1].request_id), (2, held.second.0.request_id));

    let Held { fs, journal, gate, first, second } = held;
    drop(gate);
    first.1.await.unwrap();
    second.1.await.expect("it is written once there is room");
    assert!(journal.is_admitting());
    let fourth = appended(&journal, 4);
    fourth.1.await.unwrap();
    let opened = open(&fs.crash(Loss::Everything)).unwrap();
    let report = &opened.recovered;
    assert!(report.damage.is_empty() && report.orphans == 0, "{report:?}");
    assert_eq!(shippable(&opened.journal).await, [first.0, second.0, fourth.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_delays_a_record_and_the_next_is_told_at_once() {
    let Held { fs, journal, gate, first, second } = Held::new().await;
    let third = event(3, 1);
    admit(&journal, &third).unwrap();
    let fourth = appended(&journal, 4);
    fs.fail_write(fs.writes() + 1, io::ErrorKind::StorageFull);
    let refused = fourth.1.write();
    assert!(matches!(refused, Err(JournalError::Full { .. })), "{refused:?}");

    fs.fail_write(fs.writes() + 1, io::ErrorKind::StorageFull);
    let unsettled = journal.settle_or_owe(&third, Write::Later).unwrap_err();
    drop(gate);

    let written = unsettled.written.unwrap().await.unwrap();
    for settled in [first.1, second.1, fourth.1] {
        assert!(settled.sequence() < written);
        settled.await.unwrap();
    }
    let rows = shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await;
    assert_eq!(rows, [first.0, second.0, fourth.0, third]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_written_is_not_handed_over() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let events = [event(1, 1), event(2, 1)];
    for event in &events {
        admit(&journal, event).unwrap();
    }
    prepared(&journal).await;
    journal.settle(&events[0]).unwrap().await.unwrap();
    fs.set_full(true);
    let second = journal.settle(&events[1]).unwrap();
    assert!(matches!(second.write(), Err(JournalError::Full { .. })));

    assert_eq!(journal.next_batch(10, 1 << 20).await.unwrap().events.len(), 1);
    let uncommitted = journal.uncommitted(|_| {});
    assert!(matches!(uncommitted, Err(JournalError::Full { .. })), "{uncommitted:?}");

    fs.set_full(false);
    second.await.unwrap();
    assert_eq!(shippable(&journal).await, events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_stays_in_its_segment_when_the_next_begins() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    prepared(&journal).await;
    let mut events: Vec<_> = (0..8).map(|number| event(number, 1)).collect();
    for event in &events {
        admit(&journal, event).unwrap();
    }
    // Room for some of them, not for all.
    let most = config().segment_bytes - 2_000;
    let mut filling = Vec::new();
    while journal.stats().bytes_total < most {
        let event = event(100 + u32::try_from(filling.len()).unwrap(), 1);
        journal.settle(&event).unwrap().await.unwrap();
        filling.push(event);
    }
    let gate = fs.hold_syncs();
    let settled: Vec<_> = events.iter().map(|event| journal.settle(event).unwrap()).collect();

    assert!(settled[7].sequence() > settled[0].sequence() + 7, "they are in two segments");
    drop(gate);
    for record in settled {
        record.await.unwrap();
    }
    filling.append(&mut events);
    let opened = open(&fs.crash(Loss::Everything)).unwrap();
    assert!(opened.recovered.damage.is_empty(), "{:?}", opened.recovered);
    assert_eq!(shippable(&opened.journal).await, filling);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_all_and_ends_on_a_disk_without_room() {
    let Held { fs, journal, gate, first, second } = Held::new().await;
    drop(gate);
    journal.close().await.unwrap();
    second.1.await.unwrap();
    let rows = shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await;
    assert_eq!(rows, [first.0, second.0]);

    let Held { fs, journal, gate, first, second } = Held::new().await;
    fs.set_full(true);
    let closing = tokio::spawn({
        let journal = journal.clone();
        async move { journal.close().await }
    });
    while !matches!(journal.health(), Health::Failed { .. }) {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let closed = closing.await.unwrap();
    assert!(matches!(closed, Err(JournalError::Full { .. })), "{closed:?}");
    assert!(first.1.await.is_ok());
    assert!(matches!(second.1.await, Err(JournalError::Full { .. })));
    assert_eq!(open(&fs.crash(Loss::Nothing)).unwrap().recovered.orphans, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_let_go_leaves_nothing_unwritten() {
    let Held { fs, journal, gate, first, second } = Held::new().await;
    drop(gate);
    drop(journal);

    let rows = shippable(&open(&fs.crash(Loss::Nothing)).unwrap().journal).await;

    assert_eq!(rows, [first.0, second.0]);
    // Whoever comes late writes into a folder that is somebody else's by now: not so.
    let writes = fs.writes();
    drop((first.1, second.1));
    assert_eq!(fs.writes(), writes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_a_write_that_fails_is_promised_to_nobody() {
    let Held { fs, journal, gate, first, second } = Held::new().await;
    fs.fail_write(fs.writes() + 1, io::ErrorKind::Other);

    assert!(matches!(admit(&journal, &event(3, 1)), Err(JournalError::Failed { .. })));

    assert!(matches!(second.1.await, Err(JournalError::Failed { .. })));
    drop(gate);
    drop(first.1);
    let rows = shippable(&open(&fs.crash(Loss::Nothing)).unwrap().journal).await;
    assert_eq!((rows.len(), &rows[0]), (2, &first.0));
}
