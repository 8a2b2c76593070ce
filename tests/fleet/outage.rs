//! Billing is away under load, then Redis with all that it held: everything arrives once.
//! `tests/outage SECONDS` lets each of them be away as long as one likes.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::{
    campaign::chosen,
    topology::Fleet,
    traffic::{Seen, Traffic},
    truth::agree,
};

/// How long each is away in every run of the tests. The variable of this name says otherwise.
const AWAY_SECONDS: (&str, u64) = ("PERMILLE_OUTAGE_SECONDS", 1);
/// Clients that ask without a pause.
const CLIENTS: usize = 4;
/// Replies before and after.
const REPLIES: usize = 100;

/// Waits out an outage and tells what was served and what waits; there must be both.
async fn away(what: &str, fleet: &Fleet, traffic: &Traffic, least_waiting: f64) {
    let served = traffic.served();
    let ends = Instant::now() + Duration::from_secs(chosen(AWAY_SECONDS));
    sleep_until(ends.into()).await;
    let served = traffic.served() - served;
    let waiting = fleet.waiting().await;
    println!("{what} away: {served} replies served meanwhile, {waiting} events wait");
    assert!(served > 0, "nothing was served while {what} was away");
    assert!(waiting >= least_waiting, "{waiting} events wait while {what} is away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_while_billing_or_redis_is_away_arrives_once() {
    // One gateway hands its usage over through Redis, the other one over HTTP.
    let mut fleet = Fleet::built("", &[true, false]).await;
    let key = fleet.key();
    let mut seen = Seen::default();

    let traffic = Traffic::start(&fleet, &key, CLIENTS, 7);
    traffic.more(REPLIES).await;
    fleet.kill_billing().await;
    fleet.kill_second_billing().await;
    away("billing", &fleet, &traffic, 1.0).await;
    fleet.start_billing().await;
    fleet.start_second_billing().await;
    let began = Instant::now();
    traffic.more(REPLIES).await;
    seen.add(traffic.end().await);
    fleet.handed_over().await;
    println!("billing has all after {:?}", began.elapsed());

    let traffic = Traffic::start(&fleet, &key, CLIENTS, 8);
    traffic.more(REPLIES).await;
    fleet.redis.kill();
    away("Redis", &fleet, &traffic, 0.0).await;
    fleet.redis.start_again().await;
    let began = Instant::now();
    traffic.more(REPLIES).await;
    seen.add(traffic.end().await);
    fleet.drain().await;
    println!("billing has all after {:?}", began.elapsed());

    assert_eq!(fleet.streamed().await, 0);
    let agreed = agree(&fleet, &seen).await;
    println!("{agreed:?}, refused {:?}, unanswered {}", seen.refused, seen.unanswered);
    assert_eq!((agreed.interrupted, seen.broken.len()), (0, 0), "{:?}", seen.broken);
    assert_eq!(agreed.booked, agreed.rows);
    assert_eq!(agreed.booked, seen.whole.len() + seen.left.len());
}
