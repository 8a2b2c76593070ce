//! A full journal takes no new request, settles what it has taken, and heals by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Noon, config, event, intent, open, progress, shippable};
use permille_journal::{
    FullReason, Health, Journal, JournalConfig, JournalError, SyncMode,
    testing::{Loss, MemFs},
};
use permille_types::{Ended, UsageEvent};

/// Admits until the journal says for good that it is full; what was admitted, and why it is full.
fn fill(journal: &Journal) -> (Vec<UsageEvent>, FullReason) {
    let mut admitted = Vec::new();
    for number in 0..100_000 {
        let event = event(number, 3);
        match common::admit(journal, &event) {
            Ok(()) => admitted.push(event),
            Err(JournalError::Full { reason: FullReason::Preparing }) => {}
            // A segment that is ready only now may make room once more.
            Err(JournalError::Full { reason }) => {
                if matches!(journal.health(), Health::Full { reason: told } if told == reason) {
                    return (admitted, reason);
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the journal is never full")
}

async fn healthy(journal: &Journal) {
    for _ in 0..1_000_000 {
        if matches!(journal.health(), Health::Ok) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the journal does not heal: {:?}", journal.health());
}

#[tokio::test]
async fn at_its_bound_it_settles_what_it_admitted_and_heals_when_billing_has_it() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let (admitted, reason) = fill(&journal);
    assert_eq!(reason, FullReason::BytesMax);
    assert!(journal.stats().refused_total > 0);

    for event in &admitted {
        journal.settle(event).expect("room was kept for it").await.unwrap();
    }
    let stats = journal.stats();
    assert!(stats.segment_bytes <= config().bytes_max, "{stats:?}");
    assert_eq!(shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await, admitted);

    let batch = journal.next_batch(100_000, 1 << 30).await.unwrap();
    assert_eq!(batch.events.len(), admitted.len());
    journal.acknowledge(batch.events.last().unwrap().sequence).unwrap();
    healthy(&journal).await;
    common::admit(&journal, &event(200_000, 1)).unwrap();
}

#[tokio::test]
async fn a_disk_without_room_stops_admission_by_name_and_heals() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let used = fs.files().values().map(Vec::len).sum();
    fs.set_room(Some(used));
    let (admitted, reason) = fill(&journal);
    assert_eq!(reason, FullReason::Disk);

    for event in &admitted {
        journal.settle(event).expect("room was kept for it").await.unwrap();
    }

    fs.set_room(None);
    healthy(&journal).await;
    let rows = shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await;
    assert_eq!(rows, admitted);
}

#[tokio::test]
async fn an_old_open_request_does_not_keep_the_segments_that_billing_has() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let old = event(900_000, 1);
    common::admit(&journal, &old).unwrap();
    journal.progress(&progress(&old, 4)).unwrap();

    let mut number = 0;
    while journal.stats().carried_total == 0 {
        number += 1;
        assert!(number < 20_000, "the open request was never carried forward");
        let event = event(number, 3);
        if common::admit(&journal, &event).is_err() {
            tokio::task::yield_now().await;
            continue;
        }
        let durable = journal.settle(&event).unwrap();
        durable.await.unwrap();
        let batch = journal.next_batch(100, 1 << 30).await.unwrap();
        journal.acknowledge(batch.events.last().unwrap().sequence).unwrap();
    }

    for loss in [Loss::Nothing, Loss::Everything] {
        let again = open(&fs.crash(loss)).unwrap();
        let rows = shippable(&again.journal).await;
        let of_old: Vec<_> = rows.iter().filter(|row| row.request_id == old.request_id).collect();
        assert_eq!(of_old.len(), 1, "{loss:?}: once, whatever was carried");
        assert_eq!((of_old[0].ended, of_old[0].output_total), (Ended::Orphaned, Some(4)));
    }
    journal.settle(&old).unwrap().await.unwrap();
    assert_eq!(journal.stats().open_requests, 0);
}

fn in_mode(fs: &MemFs, sync: SyncMode) -> Journal {
    let config = JournalConfig { sync, ..config() };
    Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal
}

/// Requests and settled records that survive a power cut right after they were promised.
async fn surviving(sync: SyncMode, settle: bool) -> usize {
    let fs = MemFs::new();
    let journal = in_mode(&fs, sync);
    let request = event(1, 5);
    journal.admit_durable(&intent(&request).event, 100).unwrap().await.unwrap();
    if settle {
        journal.settle(&request).unwrap().await.unwrap();
    }
    shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await.len()
}

#[tokio::test]
async fn each_mode_keeps_through_a_power_cut_what_it_says() {
    let long = SyncMode::Interval(Duration::from_mins(1));
    for (mode, intent, settled) in [
        (SyncMode::IntentAndSettle, 1, 1),
        (SyncMode::Settle, 0, 1),
        (long, 0, 0),
        (SyncMode::None, 0, 0),
    ] {
        assert_eq!(surviving(mode, false).await, intent, "{mode}: an intent");
        assert_eq!(surviving(mode, true).await, settled, "{mode}: a settled record");
    }
}

#[tokio::test]
async fn no_mode_loses_anything_to_the_death_of_the_process() {
    for mode in ["intent+settle", "settle", "interval:60s", "none"] {
        let fs = MemFs::new();
        let journal = in_mode(&fs, mode.parse().unwrap());
        let (open_one, done) = (event(1, 5), event(2, 6));
        for event in [&open_one, &done] {
            journal.admit(&intent(event)).unwrap();
        }
        journal.settle(&done).unwrap().await.unwrap();

        let again = open(&fs.crash(Loss::Nothing)).unwrap();

        let rows = shippable(&again.journal).await;
        assert_eq!((rows.len(), again.recovered.orphans), (2, 1), "{mode}");
        assert!(rows.contains(&done), "{mode}");
    }
}

#[tokio::test]
async fn every_mode_hands_over_only_what_is_synced() {
    for mode in ["settle", "interval:1ms", "none"] {
        let fs = MemFs::new();
        let journal = in_mode(&fs, mode.parse().unwrap());
        let request = event(1, 5);
        journal.settle(&request).unwrap().await.unwrap();

        journal.sync().await.unwrap();
        let batch = journal.next_batch(10, 1 << 20).await.unwrap();

        let kept = shippable(&open(&fs.crash(Loss::Everything)).unwrap().journal).await;
        assert_eq!((batch.events.len(), kept), (1, vec![request]), "{mode}");
    }
}

#[tokio::test]
async fn another_process_and_another_node_are_refused_by_name() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let second = open(&fs).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(second.contains("in use by another process"), "{second}");
    common::admit(&journal, &event(1, 1)).unwrap();
    journal.close().await.unwrap();
    drop(journal);

    let theirs = JournalConfig { node: "node-2".parse().unwrap(), ..config() };
    let refused = Journal::open(Arc::new(fs.clone()), &theirs, Arc::new(Noon)).err().unwrap();
    let text = refused.to_string();
    assert!(text.contains("node-1") && text.contains("node-2"), "{text}");
}

#[tokio::test]
async fn an_acknowledgement_beyond_what_was_handed_out_removes_nothing() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    for number in 0..3 {
        journal.settle(&event(number, 1)).unwrap().await.unwrap();
    }
    let batch = journal.next_batch(1, 1 << 20).await.unwrap();
    let handed_out = batch.events[0].sequence;

    assert!(journal.acknowledge(handed_out + 1).is_err());

    assert_eq!(journal.stats().lag_records, 3);
}
