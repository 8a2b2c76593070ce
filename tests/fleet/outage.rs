//! Billing is away under load, then Redis with all that it held: everything arrives once.
//! `tests/outage SECONDS CLIENTS` lets each of them be away as long, and as many ask, as one likes.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::{
    campaign::chosen,
    support::eventually,
    topology::{Fleet, Gateway},
    traffic::{Seen, Traffic},
    truth::agree,
};

/// How long each is away in every run of the tests. The variable of this name says otherwise.
const AWAY_SECONDS: (&str, u64) = ("PERMILLE_OUTAGE_SECONDS", 1);
/// Clients that ask without a pause. The variable of this name says otherwise.
const CLIENTS: (&str, usize) = ("PERMILLE_OUTAGE_CLIENTS", 4);
/// Replies before and after.
const REPLIES: usize = 100;

/// Waits out an outage and tells what was served and what waits: all of it, at `holding`.
async fn away(what: &str, traffic: &Traffic, holding: &[Gateway]) {
    let (served, waited) = (traffic.served(), settled(holding).await);
    let seconds = chosen(AWAY_SECONDS);
    sleep_until((Instant::now() + Duration::from_secs(seconds)).into()).await;
    let (served, settled) = (traffic.served() - served, settled(holding).await - waited);
    let rate = served as f64 / seconds as f64;
    println!("{what} away: {served} replies served meanwhile, {rate:.1} a second");
    assert!(served > 0 && settled > 0.0, "{served} replies, {settled} while {what} was away");
    let waiting = eventually("all of it waits", async || {
        let waiting = sum(holding, "permille_journal_lag_events").await;
        (waiting >= settled).then_some(waiting)
    })
    .await;
    println!("{settled} events settled where {what} is missed, {waiting} wait");
}

/// Requests that gateways have settled since they were started.
async fn settled(gateways: &[Gateway]) -> f64 {
    sum(gateways, "permille_requests_ended_total").await
}

async fn sum(gateways: &[Gateway], metric: &str) -> f64 {
    let mut sum = 0.0;
    for gateway in gateways {
        sum += gateway.server.as_ref().unwrap().metric(metric).await.unwrap_or_default();
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_while_billing_or_redis_is_away_arrives_once() {
    // One gateway hands its usage over through Redis, the other one over HTTP.
    let mut fleet = Fleet::built("", &[true, false]).await;
    let key = fleet.key();
    let (mut seen, clients) = (Seen::default(), chosen(CLIENTS));

    let traffic = Traffic::start(&fleet, &key, clients, 7);
    traffic.more(REPLIES).await;
    fleet.kill_billing().await;
    fleet.kill_second_billing().await;
    away("billing", &traffic, &fleet.gateways).await;
    fleet.start_billing().await;
    fleet.start_second_billing().await;
    let began = Instant::now();
    traffic.more(REPLIES).await;
    seen.add(traffic.end().await);
    fleet.handed_over().await;
    println!("billing has all after {:?}", began.elapsed());

    let traffic = Traffic::start(&fleet, &key, clients, 8);
    traffic.more(REPLIES).await;
    fleet.redis.kill();
    // The other gateway hands over past it.
    away("Redis", &traffic, &fleet.gateways[..1]).await;
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
