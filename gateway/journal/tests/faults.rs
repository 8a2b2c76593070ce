//! Disks that refuse, lie or rot: a named error, nothing acknowledged is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use common::{Noon, PATIENCE, admit, config, event, intent, open, prepared, shippable};
use permille_journal::{
    Health, Journal, JournalConfig, JournalError, RealFs, SyncMode, Write,
    testing::{Loss, MemFs},
};
use permille_types::UsageEvent;
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

const REQUESTS: u32 = 25;

/// Admits and settles until something fails; gives what was promised and the first error.
async fn play(journal: &Journal) -> (Vec<UsageEvent>, Option<JournalError>) {
    let mut promised = Vec::new();
    for number in 0..REQUESTS {
        let event = event(number, 1);
        if let Err(error) = admit(journal, &event) {
            return (promised, Some(error));
        }
        let settled = match journal.settle(&event) {
            Ok(durable) => durable.await,
            Err(error) => Err(error),
        };
        match settled {
            Ok(()) => promised.push(event),
            Err(error) => return (promised, Some(error)),
        }
    }
    (promised, None)
}

async fn assert_kept(disk: &MemFs, promised: &[UsageEvent], fault: &str) {
    let rows = shippable(&open(disk).unwrap().journal).await;
    for event in promised {
        let copies = rows.iter().filter(|row| *row == event).count();
        assert_eq!(copies, 1, "{fault}: {} was promised", event.request_id);
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_journal_and_is_never_retried() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let (_, error) = play(&journal).await;
    assert!(error.is_none());
    let (before, after) = (open_syncs(), fs.syncs());

    for nth in before + 1..=after {
        let fs = MemFs::new();
        let journal = open(&fs).unwrap().journal;
        fs.fail_sync(nth, io::ErrorKind::Other);
        let (promised, error) = play(&journal).await;
        // A sync of a segment prepared ahead may be the one that fails: then admission may go on.
        if let Some(error) = error {
            assert!(matches!(error, JournalError::Failed { .. }), "sync {nth}: {error}");
            assert!(matches!(journal.health(), Health::Failed { .. }));
            assert!(journal.admit(&intent(&event(900, 1))).is_err());
        }
        assert_kept(&fs.crash(Loss::Everything), &promised, &format!("sync {nth}")).await;
    }
}

/// Syncs that opening a new journal takes.
fn open_syncs() -> u64 {
    let fs = MemFs::new();
    drop(open(&fs).unwrap());
    fs.syncs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_loses_nothing_that_was_promised() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let opened = fs.writes();
    play(&journal).await;

    // Side by side: the disk is tried again after a second.
    let mut rounds = JoinSet::new();
    for nth in opened + 1..=fs.writes() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            rounds.spawn(async move {
                let fs = MemFs::new();
                let journal = open(&fs).unwrap().journal;
                fs.fail_write(nth, kind);
                let (promised, error) = play(&journal).await;
                if let Some(error) = error {
                    let named =
                        matches!(error, JournalError::Failed { .. } | JournalError::Full { .. });
                    assert!(named, "write {nth}: {error}");
                }
                for loss in [Loss::Everything, Loss::Torn { seed: nth }] {
                    assert_kept(&fs.crash(loss), &promised, &format!("write {nth}")).await;
                }
            });
        }
    }
    while let Some(round) = rounds.join_next().await {
        round.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_found_no_room_is_made_up_for_and_the_journal_goes_on() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let opened = fs.writes();
    play(&journal).await;

    // Side by side: the disk is tried again after a second.
    let mut rounds = JoinSet::new();
    for nth in opened + 1..=fs.writes() {
        rounds.spawn(async move {
            let fs = MemFs::new();
            let journal = open(&fs).unwrap().journal;
            fs.fail_write(nth, io::ErrorKind::StorageFull);
            let mut admitted = Vec::new();
            for number in 0..REQUESTS {
                let event = event(number, 1);
                if admit(&journal, &event).is_ok() {
                    admitted.push(event.request_id);
                    if let Ok(settled) = journal.settle(&event) {
                        settled.await.unwrap();
                    }
                }
            }

            let mut looks = interval(Duration::from_millis(20));
            let healed = async {
                // Fewer batches, fewer writes: the one that fails may be that of the last intent.
                while journal.stats().open_requests > 0 || admit(&journal, &event(900, 1)).is_err()
                {
                    looks.tick().await;
                }
                journal.sync().await.unwrap();
                let rows = shippable(&journal).await;
                rows.iter().map(|row| row.request_id).collect::<Vec<_>>()
            };
            let settled = timeout(PATIENCE, healed).await;
            let mut settled =
                settled.unwrap_or_else(|_| panic!("write {nth}: {:?}", journal.health()));
            settled.sort();
            assert_eq!(settled, admitted, "write {nth}: each has one settled record");
        });
    }
    while let Some(round) = rounds.join_next().await {
        round.unwrap();
    }
}

#[tokio::test]
async fn a_flipped_byte_never_changes_a_record_unnoticed() {
    let fs = MemFs::new();
    let journal = open(&fs).unwrap().journal;
    let mut sent = Vec::new();
    for number in 0..4 {
        let event = event(number, 3);
        journal.settle(&event).unwrap().await.unwrap();
        sent.push(event);
    }
    journal.close().await.unwrap();
    let files = fs.files();
    let (path, bytes) = files
        .iter()
        .find(|(path, bytes)| is_segment(path) && bytes.starts_with(b"PERMILLE"))
        .unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();

    for offset in 0..=end {
        let opened = match open(&fs.with_flipped(path, offset, 0x10)) {
            Ok(opened) => opened,
            // A header that names another node or version is refused by name.
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let rows = shippable(&opened.journal).await;
        let report = &opened.recovered;
        assert!(rows.iter().all(|row| sent.contains(row)), "byte {offset}: a record has changed");
        let told = !report.damage.is_empty() || report.torn_bytes > 0;
        assert!(rows == sent || told, "byte {offset}: a record vanished and nothing was said");
    }
}

fn is_segment(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|ending| ending == "segment")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_share_a_sync() {
    let fs = MemFs::new();
    let mut config = config();
    // Large enough that no segment must be prepared while the syncs are held.
    config.segment_bytes = 1 << 20;
    config.bytes_max = 1 << 24;
    let journal = Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal;
    let gate = fs.hold_syncs();
    let first = journal.settle(&event(0, 1)).unwrap();
    gate.wait_for_sync();
    let before = fs.syncs();

    let waiting: Vec<_> =
        (1..=64).map(|number| journal.settle(&event(number, 1)).unwrap()).collect();
    drop(gate);
    first.await.unwrap();
    for settled in waiting {
        settled.await.unwrap();
    }

    let syncs = fs.syncs() - before;
    assert!(syncs <= 12, "{syncs} syncs for 64 settled records");
}

#[tokio::test]
async fn a_request_is_settled_once_only() {
    let journal = open(&MemFs::new()).unwrap().journal;
    let event = event(1, 1);
    journal.admit(&intent(&event)).unwrap();
    journal.settle(&event).unwrap().await.unwrap();

    assert!(matches!(journal.settle(&event), Err(JournalError::AlreadySettled { .. })));
}

#[tokio::test]
async fn a_real_folder_is_reopened_with_all_it_held() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = config();
    config.directory = PathBuf::from(folder.path()).join("journal");
    let open = || Journal::open(Arc::new(RealFs), &config, Arc::new(Noon)).unwrap();
    let opened = open();
    let (promised, error) = play(&opened.journal).await;
    assert!(error.is_none());
    let held = Journal::open(Arc::new(RealFs), &config, Arc::new(Noon));
    assert!(matches!(held, Err(JournalError::Locked { .. })), "two writers on one folder");
    drop(opened);

    let rows = shippable(&open().journal).await;

    assert_eq!(rows, promised);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_room_tells_when_it_is_written_or_that_it_is_not() {
    let fs = MemFs::new();
    // Nobody waits for a sync, so that a record is written before its call returns.
    let config = JournalConfig { sync: SyncMode::Interval(Duration::from_millis(1)), ..config() };
    let journal = Journal::open(Arc::new(fs.clone()), &config, Arc::new(Noon)).unwrap().journal;
    prepared(&journal).await;
    let events = [event(1, 1), event(2, 1)];
    let mut waiting = Vec::new();
    for (event, is_waited_for) in events.iter().zip([true, false]) {
        admit(&journal, event).unwrap();
        fs.fail_write(fs.writes() + 1, io::ErrorKind::StorageFull);
        let unsettled = journal.settle_or_owe(event, Write::Later).unwrap_err();
        assert!(matches!(unsettled.cause, JournalError::Full { .. }), "{unsettled:?}");
        waiting.push(unsettled.written.unwrap());
        if is_waited_for {
            let written = waiting.remove(0).await;
            assert_eq!(written, Some(journal.stats().appended_sequence));
        }
    }

    journal.close().await.unwrap();

    // There may have been room before the end: it is told what became of it.
    let told = waiting.remove(0).await;
    drop(journal);
    let rows = shippable(&open(&fs).unwrap().journal).await;
    let ids: Vec<_> = rows.iter().map(|row| row.request_id).collect();
    assert_eq!(ids, events.each_ref().map(|event| event.request_id));
    assert_eq!(rows[0], events[0]);
    // What was not written reads as a request that nobody ended.
    assert_eq!(rows[1] == events[1], told.is_some(), "{told:?}: {:?}", rows[1]);
}
