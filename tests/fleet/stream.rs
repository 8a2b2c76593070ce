//! Usage that goes to billing through a stream in Redis: it arrives once, whoever dies or forgets.

use std::time::Duration;

use permille_types::{
    ANSWER_REPLY, ENTRY_ATTEMPT, ENTRY_BATCH, USAGE_GROUP, USAGE_STREAM, answer_key,
};
use redis::{Value, cmd, streams::StreamRangeReply};

use crate::{
    support::{Folder, Server, Web, eventually, postgres::DATABASE, redis::ask, relay::Line},
    topology::{CUSTOMER, Fleet},
    traffic::{Seen, Traffic},
    truth::agree,
};

/// How long something is away under load.
const AWAY: Duration = Duration::from_millis(700);

/// How many of them are in the hands of billing.
async fn in_hands(fleet: &Fleet) -> usize {
    let pending: (usize, Value, Value, Value) =
        ask(&fleet.redis, cmd("XPENDING").arg(USAGE_STREAM).arg(USAGE_GROUP)).await;
    pending.0
}

/// Entries of a result that the processes of billing have counted since they started.
async fn counted(fleet: &Fleet, result: &str) -> f64 {
    let name = format!("permille_usage_stream_batches_total{{result=\"{result}\"}}");
    let mut sum = 0.0;
    for server in fleet.readers() {
        sum += server.metric(&name).await.unwrap();
    }
    sum
}

async fn add(fleet: &Fleet, fields: &[(&str, &[u8])]) {
    let mut command = cmd("XADD");
    command.arg(USAGE_STREAM).arg("*").arg(fields);
    ask::<String>(&fleet.redis, &command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_through_the_stream_arrives_once_whoever_dies_or_forgets() {
    let mut fleet = Fleet::built("", &[true, true]).await;
    let key = fleet.key();
    let mut seen = Seen::default();

    let traffic = Traffic::start(&fleet, &key, 12, 4);
    traffic.more(200).await;
    for reader in fleet.readers() {
        eventually("both processes of billing take usage", async || {
            let name = "permille_usage_stream_batches_total{result=\"committed\"}";
            (reader.metric(name).await? > 0.0).then_some(())
        })
        .await;
    }

    // Billing away under load: each gateway has one batch in the stream, the rest in its journal.
    fleet.kill_billing().await;
    fleet.kill_second_billing().await;
    traffic.more(100).await;
    let waiting = eventually("a batch of each gateway waits", async || {
        Some(fleet.streamed().await).filter(|batches| *batches >= 2)
    })
    .await;
    assert_eq!(waiting, 2, "one batch of each gateway");
    fleet.start_billing().await;
    fleet.start_second_billing().await;
    traffic.more(50).await;

    // Redis away under load, then with its data lost while it holds usage.
    fleet.redis.freeze();
    traffic.more_within(50, AWAY).await;
    fleet.redis.thaw();
    traffic.more(50).await;
    // A process that only stood still would go on with what it has read, and nothing would be lost.
    fleet.kill_billing().await;
    fleet.kill_second_billing().await;
    eventually("usage waits", async || (fleet.streamed().await == 2).then_some(())).await;
    fleet.redis.kill();
    fleet.redis.start_again().await;
    fleet.start_billing().await;
    fleet.start_second_billing().await;
    traffic.more(50).await;
    seen.add(traffic.end().await);
    fleet.handed_over().await;
    let mut lost = 0.0;
    for gateway in 0..2 {
        lost += fleet.gateway(gateway).metric("permille_usage_stream_lost_total").await.unwrap();
    }
    assert!(lost >= 2.0, "Redis has lost {lost} of two batches");

    committed_and_not_answered(&mut fleet, &key, &mut seen).await;
    what_cannot_be_committed(&fleet, &key).await;
    left_behind(&mut fleet, &key, &mut seen).await;

    fleet.drain().await;
    assert_eq!(fleet.streamed().await, 0);
    let agreed = agree(&fleet, &seen).await;
    assert!(agreed.booked >= seen.whole.len(), "{agreed:?}");
    what_is_no_usage(&fleet).await;
}

/// Both processes of billing die after the commit and before Redis has heard of it.
async fn committed_and_not_answered(fleet: &mut Fleet, key: &str, seen: &mut Seen) {
    let held = fleet.postgres.hold_writes();
    let traffic = Traffic::start(fleet, key, 12, 5);
    traffic.more(60).await;
    eventually("each process of billing has a batch", async || {
        (in_hands(fleet).await == 2).then_some(())
    })
    .await;
    seen.add(traffic.end().await);
    let before = fleet.rows().len();
    fleet.redis_line.set(Line::Cut);
    drop(held);
    eventually("both batches are committed", async || {
        let mut batches = 0.0;
        for reader in fleet.readers() {
            batches += reader.metric("permille_intake_batch_seconds_count").await?;
        }
        (batches >= 2.0 && fleet.rows().len() > before).then_some(())
    })
    .await;
    fleet.kill_billing().await;
    fleet.kill_second_billing().await;
    fleet.redis_line.set(Line::Up);
    assert_eq!((fleet.streamed().await, in_hands(fleet).await), (2, 2), "nobody was answered");

    // One of them takes its own batch at once, and that of the other one a second later.
    fleet.start_billing().await;
    fleet.handed_over().await;
    let duplicates = "permille_intake_events_total{result=\"duplicate\"}";
    assert!(fleet.billing.as_ref().unwrap().metric(duplicates).await.unwrap() > 0.0);
    assert!(counted(fleet, "reclaimed").await > 0.0);
    fleet.start_second_billing().await;
}

/// A gateway dies while billing is away: a command hands over what it owes, through the stream.
async fn left_behind(fleet: &mut Fleet, key: &str, seen: &mut Seen) {
    let traffic = Traffic::start(fleet, key, 12, 6);
    let readers: Vec<&Server> = fleet.readers().collect();
    for reader in &readers {
        reader.signal("STOP");
    }
    traffic.more(60).await;
    for reader in &readers {
        reader.signal("CONT");
    }
    fleet.kill_gateway(0).await;
    traffic.more(30).await;
    seen.add(traffic.end().await);

    let operator = Folder::new();
    let redis = fleet.redis.url();
    operator.config(&format!("[redis]\nurl = \"{redis}\"\n[usage_stream]\nenabled = true\n"));
    let left = fleet.gateways[0].folder.data();
    let shipped = operator.json(&["journal", "ship", left.to_str().unwrap()]);
    assert!(shipped["shipped"].as_u64().unwrap() > 0, "{shipped}");
    assert_eq!(shipped["damaged"], 0);
}

/// A batch that fails each time holds up the gateway that it is from, and no other one.
async fn what_cannot_be_committed(fleet: &Fleet, key: &str) {
    let web = Web::new();
    let bearer = format!("Bearer {key}");
    let ask = async |gateway: usize, session: &str| {
        let headers = [("authorization", bearer.as_str()), ("permille-session", session)];
        let (to, path) = (fleet.gateway(gateway).gateway(), "/v1/chat/completions");
        assert_eq!(web.post(to, path, &headers, &crate::hello("gpt-4o-mini")).await.status, 200);
    };
    let booked = async |session: &str, rows: usize| {
        let what = format!("{rows} rows of {session}");
        eventually(&what, async || {
            let usage = fleet.office.usage(&["--customer", CUSTOMER, "--session", session]);
            (usage.len() == rows).then_some(())
        })
        .await;
    };
    ask(0, "spoilt").await;
    booked("spoilt", 1).await;
    let spoil = "update session set tokens = 'x' || tokens where id = 'spoilt'";
    fleet.postgres.run(DATABASE, &[spoil]);

    ask(0, "spoilt").await;
    eventually("it is in somebody's hands", async || (in_hands(fleet).await > 0).then_some(()))
        .await;
    ask(1, "sound").await;
    booked("sound", 1).await;

    let mend = "update session set tokens = substr(tokens, 2) where id = 'spoilt'";
    fleet.postgres.run(DATABASE, &[mend]);
    booked("spoilt", 2).await;
}

/// What gateways do not send: refused where somebody asks, else in quarantine; it holds up nothing.
async fn what_is_no_usage(fleet: &Fleet) {
    add(fleet, &[("what", b"is this")]).await;
    add(fleet, &[(ENTRY_ATTEMPT, b"a-1"), (ENTRY_BATCH, b"\x09\x00")]).await;
    eventually("both are taken away", async || (fleet.streamed().await == 0).then_some(())).await;

    let answers: StreamRangeReply =
        ask(&fleet.redis, cmd("XRANGE").arg(answer_key("a-1")).arg("-").arg("+")).await;
    let reply: String = answers.ids[0].get(ANSWER_REPLY).unwrap();
    assert!(reply.contains("intake body has version 9"), "{reply}");
    let quarantine = fleet.quarantine().await;
    assert_eq!(quarantine.len(), 1, "{quarantine:?}");
    assert_eq!(quarantine[0]["reason"], "unreadable");
    assert!(quarantine[0]["payload"].as_str().unwrap().contains("is this"), "{quarantine:?}");
    let taken = (counted(fleet, "unreadable").await, counted(fleet, "refused").await);
    assert_eq!(taken, (1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_reads_fills_the_journals_and_then_requests_are_refused() {
    // Of two gateways one has its batch in the stream, and the other has no room there.
    let bounds = "batches_max = 1\n[journal]\nsegment_bytes = 32768\nbytes_max = 131072\n";
    let mut fleet = Fleet::built(bounds, &[true, true]).await;
    let key = fleet.key();
    let traffic = Traffic::start(&fleet, &key, 8, 5);
    traffic.more(50).await;

    fleet.readers().for_each(|reader| reader.signal("STOP"));
    for gateway in 0..2 {
        let server = fleet.gateway(gateway);
        eventually("a journal is full", async || {
            (server.metric("permille_journal_admitting").await? == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(fleet.streamed().await, 1);
    fleet.readers().for_each(|reader| reader.signal("CONT"));
    traffic.more(100).await;
    let seen = traffic.end().await;

    fleet.drain().await;
    assert_eq!(fleet.streamed().await, 0);
    let agreed = agree(&fleet, &seen).await;
    assert!(seen.refused[&503] > 0, "{:?}", seen.refused);
    assert_eq!((agreed.interrupted, agreed.booked), (0, agreed.rows));
    assert_eq!(agreed.booked, seen.whole.len() + seen.left.len());
}
