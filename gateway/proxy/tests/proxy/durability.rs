//! What a client has received in full is on disk (D1): the end of a reply waits for the journal.

use std::{io, sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use permille_journal::{
    Journal, JournalConfig, SyncMode,
    testing::{Loss, MemFs},
};
use permille_types::{Ended, Level, Limit, Measure, SystemClock, UsageEvent};

use crate::support::{self, World, chat, eventually, message, read_all};

const CHAT: &str = "/v1/chat/completions";

async fn world_on(fs: &MemFs, hold_max: Duration) -> World {
    let fs = Arc::new(fs.clone());
    World::with(|setup| {
        setup.fs = fs;
        setup.config.hold_max = hold_max;
    })
    .await
}

/// What of the body comes before a wait.
async fn until_it_waits(body: &mut Incoming) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), body.frame()).await {
            Err(_) => return (read, true),
            Ok(None) => return (read, false),
            Ok(Some(frame)) => {
                read.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_end_of_a_stream_waits_for_the_disk() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(20)).await;

    for (path, body, end) in [
        (CHAT, chat("tokens=8", true), "data: [DONE]\n\n"),
        ("/anthropic/v1/messages", message("tokens=8", true), "message_stop\"}\n\n"),
    ] {
        let gate = fs.hold_syncs();
        let mut reply = world.post(path, &body).await.into_body();
        let (before, waits) = until_it_waits(&mut reply).await;
        assert!(waits, "the reply ended before its record was on disk");
        assert!(!String::from_utf8_lossy(&before).ends_with(end), "the end was not held");

        drop(gate);
        let (rest, waits) = until_it_waits(&mut reply).await;
        assert!(!waits);
        let whole = [before, rest].concat();
        assert!(String::from_utf8_lossy(&whole).ends_with(end));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_there_at_once_waits_for_the_disk_as_a_whole() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(20)).await;
    let gate = fs.hold_syncs();
    let body = chat("tokens=8", false);
    let reply = world.post(CHAT, &body);
    tokio::pin!(reply);

    let early = tokio::time::timeout(Duration::from_millis(300), &mut reply).await;
    assert!(early.is_err(), "the reply began before its record was on disk");

    drop(gate);
    let reply = reply.await;
    assert_eq!(reply.status(), 200);
    assert!(read_all(reply.into_body()).await.unwrap().ends_with(b"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_reply_that_cannot_be_recorded_is_answered_as_an_error() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(20)).await;
    fs.fail_sync(fs.syncs() + 1, io::ErrorKind::Other);

    let reply = world.post(CHAT, &chat("tokens=8", false)).await;

    assert_eq!(reply.status(), 503);
    let body = read_all(reply.into_body()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("permille_journal_unavailable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_disk_delays_the_end_no_longer_than_the_bound() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_millis(20)).await;
    let gate = fs.hold_syncs();

    let response = world.post(CHAT, &chat("tokens=8", true)).await;
    let bytes = read_all(response.into_body()).await.unwrap();

    assert!(bytes.ends_with(b"data: [DONE]\n\n"));
    let exceeded = world
        .registry
        .gather()
        .into_iter()
        .find(|family| family.name() == "permille_hold_exceeded_total")
        .unwrap();
    assert!((exceeded.get_metric()[0].get_counter().get_value() - 1.0).abs() < f64::EPSILON);
    drop(gate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_no_reply_ends_and_no_request_is_taken() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(20)).await;
    let mut reply = world.post(CHAT, &chat("tokens=20,chunk_ms=10", true)).await.into_body();
    support::read_events(&mut reply, 2).await;
    fs.fail_sync(fs.syncs() + 1, io::ErrorKind::Other);

    assert!(read_all(reply).await.is_none(), "an unrecorded reply ended as if it were whole");
    eventually("the journal has stopped", || (!world.journal.is_admitting()).then_some(())).await;
    let refused = world.post(CHAT, &chat("tokens=2", false)).await;
    assert_eq!(refused.status(), 503);
    let body = read_all(refused.into_body()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("permille_journal_unavailable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_without_room_cost_leaves_no_budget_before_it_is_written_or_after() {
    let fs = MemFs::new();
    let disk = Arc::new(fs.clone());
    // A request reserves 600,000 for its output, and costs 180,000.
    let (level, measure) = (Level::Key, Measure::Spend);
    let budget = Limit { level, measure, max: 700_000, warn_percent: 80 };
    let world = World::with(|setup| {
        setup.fs = disk;
        setup.limits = vec![budget];
    })
    .await;
    let mut body = chat("tokens=300,chunk_ms=2", true);
    body["max_tokens"] = 1_000.into();

    let (head, mut reply) = world.post(CHAT, &body).await.into_parts();
    support::read_events(&mut reply, 2).await;
    fs.fail_write(fs.writes() + 1, io::ErrorKind::StorageFull);

    assert!(read_all(reply).await.is_none(), "an unrecorded reply ended as if it were whole");
    assert_eq!(world.post(CHAT, &body).await.status(), 402, "it holds what it reserved");
    assert_eq!(world.row_of(&head.headers).await.output_total, Some(300));
    let ended = || world.counted("permille_requests_ended_total", "complete");
    eventually("it is counted", || (ended() >= 1.0).then_some(())).await;
    assert_eq!(world.post(CHAT, &body).await.status(), 402, "it has cost what its row says");
    world.rows(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_right_after_the_last_byte_loses_no_reply() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(20)).await;

    for round in 0..12 {
        let response = world.post(CHAT, &chat("tokens=4", round % 2 == 0)).await;
        let id = response.headers()["permille-request-id"].to_str().unwrap().to_owned();
        read_all(response.into_body()).await.unwrap();

        for loss in [Loss::Everything, Loss::Torn { seed: round }] {
            let rows = recovered(&world, fs.crash(loss)).await;
            let found: Vec<_> =
                rows.iter().filter(|row| row.request_id.to_string() == id).collect();
            assert_eq!(found.len(), 1, "{loss:?} in round {round}");
            assert_eq!(found[0].output_total, Some(4));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_intent_is_synced_leaves_one_free_row() {
    let fs = MemFs::new();
    let disk = Arc::new(fs.clone());
    let world = World::with(|setup| {
        setup.fs = disk;
        setup.sync = SyncMode::IntentAndSettle;
    })
    .await;
    let gate = fs.hold_syncs();
    let body = chat("tokens=8", true);

    let asking = tokio::time::timeout(Duration::from_millis(300), world.post(CHAT, &body));
    assert!(asking.await.is_err(), "the upstream was called before the intent was on disk");
    eventually("the request is closed", || {
        (world.journal.stats().open_requests == 0).then_some(())
    })
    .await;

    drop(gate);
    let rows = world.rows(1).await;
    assert_eq!(rows[0].ended, Ended::ClientGone);
    assert!(rows[0].tokens.is_empty(), "nothing was sent upstream: {:?}", rows[0]);
    assert!(world.books(0).await.is_empty());
}

#[test]
fn a_runtime_that_ends_while_replies_are_open_settles_them() {
    const OPEN: usize = 8;
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let fs = MemFs::new();
    let ending = runtime();
    let (world, replies) = ending.block_on(async {
        let world = world_on(&fs, Duration::from_secs(20)).await;
        let mut replies = Vec::new();
        for _ in 0..OPEN {
            let ask = chat("tokens=9,stall_after=3", true);
            let mut reply = world.post(CHAT, &ask).await.into_body();
            support::read_events(&mut reply, 2).await;
            replies.push(reply);
        }
        (world, replies)
    });

    drop(ending);

    let rows = runtime().block_on(recovered(&world, fs.crash(Loss::Nothing)));
    assert_eq!(rows.len(), OPEN);
    for row in rows {
        assert_eq!(row.ended, Ended::ClientGone, "the row of a dropped reply, not of an orphan");
    }
    drop(replies);
}

/// The settled records on a disk, as a restarted gateway would ship them.
async fn recovered(world: &World, disk: MemFs) -> Vec<UsageEvent> {
    let config = JournalConfig::new(&world.journal_folder, "node-1".parse().unwrap());
    let opened = Journal::open(Arc::new(disk), &config, Arc::new(SystemClock)).unwrap();
    let batch = opened.journal.next_batch(10_000, 1 << 24).await.unwrap();
    batch.events.iter().map(|event| UsageEvent::from_payload(&event.payload).unwrap()).collect()
}
