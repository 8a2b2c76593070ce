//! Records that share a sync: who waits for others, and who never does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Noon, config, event, prepared};
use permille_journal::{Journal, JournalConfig, testing::MemFs};

const GATHER: Duration = Duration::from_millis(20);

fn journal(fs: &MemFs) -> Journal {
    let config = JournalConfig { gather: GATHER, ..config() };
    Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal
}

/// How long a record takes from being written to being durable.
async fn durable(journal: &Journal, number: u32) -> Duration {
    let written = Instant::now();
    journal.settle(&event(number, 1)).unwrap().await.unwrap();
    written.elapsed()
}

#[tokio::test]
async fn a_record_that_follows_a_group_waits_for_more_to_share_its_sync() {
    let fs = MemFs::new();
    let journal = journal(&fs);
    // Of the syncs that are held, the first is the record's.
    prepared(&journal).await;
    let gate = fs.hold_syncs();
    let first = journal.settle(&event(1, 1)).unwrap();
    gate.wait_for_sync();
    let group = [2, 3].map(|number| journal.settle(&event(number, 1)).unwrap());
    drop(gate);
    first.await.unwrap();
    for record in group {
        record.await.unwrap();
    }

    let took = durable(&journal, 4).await;

    assert!(took >= GATHER, "{took:?}");
}

#[tokio::test]
async fn lone_records_wait_for_nobody() {
    const RECORDS: u32 = 200;
    let journal = journal(&MemFs::new());

    let mut waited = 0;
    for number in 0..RECORDS {
        waited += u32::from(durable(&journal, number).await >= GATHER);
    }

    // Some do for the processor, where it is busy.
    assert!(waited < RECORDS / 2, "{waited} of {RECORDS} waited");
}
