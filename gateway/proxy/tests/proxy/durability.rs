//! What a client has received in full is on disk (D1): the end of a reply waits for the journal.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use permille_journal::{
    Journal, JournalConfig, SyncMode,
    testing::{Loss, MemFs},
};
use permille_test_redis::Redis;
use permille_types::{Ended, Family, Level, Limit, Measure, SystemClock, UsageEvent};
use tokio::runtime::Runtime;

use crate::support::{self, World, chat, eventually, message, read_all, upstream};

const CHAT: &str = "/v1/chat/completions";

async fn world_on(fs: &MemFs, hold_max: Duration) -> World {
    let fs = Arc::new(fs.clone());
    World::with(|setup| {
        setup.fs = fs;
        setup.config.hold_max = hold_max;
    })
    .await
}

/// What of the body comes before a wait; absent where it ends without one.
async fn until_it_waits(body: &mut Incoming) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), body.frame()).await {
            Err(_) => return Some(read),
            Ok(None) => return None,
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
        let before = until_it_waits(&mut reply).await;
        let before = before.expect("the reply waits until its record is on disk");
        assert!(!String::from_utf8_lossy(&before).ends_with(end), "the end was not held");

        drop(gate);
        let rest = read_all(reply).await.expect("it ends as it should");
        let whole = [before, rest.to_vec()].concat();
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
async fn a_stalled_disk_delays_the_end_no_longer_than_the_bound_and_has_it_written_then() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_millis(20)).await;
    let gate = fs.hold_syncs();

    // The record of the first is in the sync that is held, that of the second behind it.
    for _ in 0..2 {
        let response = world.post(CHAT, &chat("tokens=8", true)).await;
        let bytes = read_all(response.into_body()).await.unwrap();
        assert!(bytes.ends_with(b"data: [DONE]\n\n"));
    }

    let rows = recovered(&world, fs.crash(Loss::Nothing)).await;
    let counted: Vec<_> = rows.iter().map(|row| (row.ended, row.output_total)).collect();
    assert_eq!(counted, [(Ended::Complete, Some(8)); 2]);
    let exceeded = world
        .registry
        .gather()
        .into_iter()
        .find(|family| family.name() == "permille_hold_exceeded_total")
        .unwrap();
    assert!((exceeded.get_metric()[0].get_counter().get_value() - 2.0).abs() < f64::EPSILON);
    drop(gate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_whose_record_is_written_ends_though_that_of_another_finds_no_room() {
    let fs = MemFs::new();
    let world = world_on(&fs, Duration::from_secs(3)).await;
    eventually("a segment is ready", || (world.journal.stats().segments >= 2).then_some(())).await;
    let gate = fs.hold_syncs();

    // Its record is in the file, and its sync is held.
    let first = world.post(CHAT, &chat("tokens=4", true)).await.into_body();
    let first = tokio::spawn(read_all(first));
    gate.wait_for_sync();
    // Its record waits, and finds no room.
    let mut second = world.post(CHAT, &chat("tokens=50,chunk_ms=4", true)).await.into_body();
    support::read_events(&mut second, 2).await;
    fs.set_full(true);
    let second = tokio::spawn(read_all(second));

    let first = first.await.unwrap().expect("the record of the first is written");
    assert!(first.ends_with(b"data: [DONE]\n\n"));
    assert!(second.await.unwrap().is_none());
    fs.set_full(false);
    drop(gate);
}

/// Other gateways count a record by its number. Were it not in the file when this process dies, the
/// next process would give its number to another one, which nobody would count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gateways_that_share_limits_are_told_is_in_the_file() {
    let (redis, fs) = (Redis::start().await, MemFs::new());
    let world = World::with(|setup| {
        setup.fs = Arc::new(fs.clone());
        setup.config.hold_max = Duration::from_secs(20);
        setup.config.limits.redis_url = Some(redis.url().into());
    })
    .await;
    eventually("a segment is ready", || (world.journal.stats().segments >= 2).then_some(())).await;
    let gate = fs.hold_syncs();

    let first = world.post(CHAT, &chat("tokens=4", true)).await.into_body();
    let first = tokio::spawn(read_all(first));
    gate.wait_for_sync();
    // Behind the sync that is held, nothing but the record itself has it written.
    let second = world.post(CHAT, &chat("tokens=4", true)).await.into_body();
    let second = tokio::spawn(read_all(second));
    let settled = || (world.counted_plain("permille_requests_ended_total") == 2.0).then_some(());
    eventually("both are settled and told", settled).await;

    let rows = recovered(&world, fs.crash(Loss::Nothing)).await;
    let ended: Vec<_> = rows.iter().map(|row| row.ended).collect();
    assert_eq!(ended, [Ended::Complete; 2]);
    drop(gate);
    assert!(first.await.unwrap().is_some() && second.await.unwrap().is_some());
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
    // Ends well after two events, and well within the second in which the disk is not asked again.
    let mut body = chat("tokens=300,chunk_ms=1", true);
    body["max_tokens"] = 1_000.into();
    let mut short = chat("tokens=4", false);
    short["max_tokens"] = 50.into();

    let (head, mut reply) = world.post(CHAT, &body).await.into_parts();
    support::read_events(&mut reply, 2).await;
    fs.set_full(true);
    assert_eq!(world.post(CHAT, &short).await.status(), 503, "nothing is admitted");

    assert!(read_all(reply).await.is_none(), "an unrecorded reply ended as if it were whole");
    assert_eq!(world.post(CHAT, &body).await.status(), 402, "it holds what it reserved");
    fs.set_full(false);
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
    let going_on = Runtime::new().unwrap();
    // The upstream goes on: it is not what breaks a reply off.
    let beyond = going_on.block_on(World::start());
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Of several threads one may drop the connection to the upstream, as another one reads from it.
    let either = [Ended::ClientGone, Ended::UpstreamError];
    for (ending, rows_say) in [(alone, &either[..1]), (Runtime::new().unwrap(), &either[..])] {
        let rows = going_on.block_on(recovered_after(ending, beyond.provider));

        for row in rows {
            assert!(rows_say.contains(&row.ended), "the row of an orphan: {row:?}");
        }
    }
}

/// What is on the disk once a runtime has ended in which some replies are open: a row of each.
async fn recovered_after(ending: Runtime, provider: SocketAddr) -> Vec<UsageEvent> {
    const OPEN: usize = 8;
    let fs = MemFs::new();
    let disk = Arc::new(fs.clone());
    let begun = move || {
        let world_and_replies = ending.block_on(async {
            let base_url = format!("http://{provider}/v1");
            let world = World::with(|setup| {
                setup.fs = disk;
                setup.config.upstreams = vec![upstream("beyond", Family::OpenAi, base_url)];
            })
            .await;
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
        world_and_replies
    };
    let (world, replies) = tokio::task::spawn_blocking(begun).await.unwrap();
    let rows = recovered(&world, fs.crash(Loss::Nothing)).await;
    assert_eq!(rows.len(), OPEN);
    drop(replies);
    rows
}

/// The settled records on a disk, as a restarted gateway would ship them.
async fn recovered(world: &World, disk: MemFs) -> Vec<UsageEvent> {
    let config = JournalConfig::new(&world.journal_folder, "node-1".parse().unwrap());
    let opened = Journal::open(Arc::new(disk), &config, Arc::new(SystemClock)).unwrap();
    let batch = opened.journal.next_batch(10_000, 1 << 24).await.unwrap();
    batch.events.iter().map(|event| UsageEvent::from_payload(&event.payload).unwrap()).collect()
}
