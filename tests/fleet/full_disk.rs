//! A disk that is really full, unlike that of the campaign, on which files only may not grow.

use crate::{
    support::{eventually, relay::Line},
    topology::Fleet,
    traffic::{Seen, Traffic},
    truth::agree,
};

/// Segments that fill the disk several times over while billing takes nothing.
const JOURNAL: &str = "[journal]\nsegment_bytes = 32768\n";
/// How often the disk is filled.
const ROUNDS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_admission_until_there_is_room_and_no_reply_is_lost() {
    let mut fleet = Fleet::with_small_disks(2, JOURNAL).await;
    let key = fleet.key();
    let admitting = "permille_journal_admitting";
    let mut seen = Seen::default();

    for round in 0..ROUNDS {
        let traffic = Traffic::start(&fleet, &key, 8, round);
        traffic.more(50).await;
        // Nothing is acknowledged meanwhile, so that no segment makes room.
        fleet.line.set(Line::Cut);
        let (gateway, disk) = (fleet.gateway(0), fleet.gateways[0].disk.as_ref().unwrap());
        disk.fill(gateway);
        eventually("the disk is full", async || {
            (gateway.metric(admitting).await? == 0.0).then_some(())
        })
        .await;
        assert!(gateway.metric("permille_journal_segment_bytes").await.unwrap() > 0.0);
        // The other gateway has room.
        traffic.more(50).await;
        disk.make_room(gateway);
        eventually("there is room again", async || {
            (gateway.metric(admitting).await? > 0.0).then_some(())
        })
        .await;
        fleet.line.set(Line::Up);
        traffic.more(50).await;
        seen.add(traffic.end().await);
    }

    fleet.drain().await;
    let agreed = agree(&fleet, &seen).await;
    println!("{agreed:?}, refused {:?}", seen.refused);
    assert_eq!((agreed.interrupted, seen.broken.len()), (0, 0), "{:?}", seen.broken);
    assert_eq!(agreed.booked, agreed.rows);
    assert_eq!(agreed.booked, seen.whole.len() + seen.left.len());
    assert!(seen.refused[&503] > 0, "{:?}", seen.refused);
}
