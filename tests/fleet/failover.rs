//! PostgreSQL fails over to a standby under load. What was acknowledged is on a synchronous one;
//! what another one lacks, gateways hand over again when they are started again, as far as their
//! journals have it. `docs/operations.md` says what an operator sets.

use std::time::Duration;

use tokio::time::{interval, timeout};

use crate::{
    support::{
        eventually,
        postgres::{DATABASE, Postgres},
        relay::{End, Line, Relay},
    },
    topology::Fleet,
    traffic::{Seen, Traffic},
    truth::agree,
};

/// Clients that ask without a pause.
const CLIENTS: usize = 12;
/// How long billing may wait for a server that is gone: two minutes for its turn to write, and for
/// an answer, and as long for whoever asks again.
const GIVEN_UP: Duration = Duration::from_mins(4);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Replies before, while the standby gets nothing, while there is no store, and after.
const REPLIES: usize = 100;

/// A fleet whose PostgreSQL was killed and has a standby in its place. The server must be there as
/// long as the fleet.
async fn failed_over(
    standbys: &str,
    state: &str,
    loses: impl FnOnce(&Relay),
) -> (Fleet, Postgres, Seen) {
    let fleet = Fleet::breakable("", &[true, false]).await;
    let key = fleet.key();
    let primary = &fleet.postgres;
    let replication = Relay::start(End::Unix(primary.socket())).await;
    let standby = Postgres::standby_of(replication.address());
    let set = format!("alter system set synchronous_standby_names = '{standbys}'");
    primary.run(DATABASE, &[&set, "select pg_reload_conf()"]);
    eventually("the standby takes part", async || {
        let is = primary.run(DATABASE, &["select sync_state from pg_stat_replication"]);
        (is.trim() == state).then_some(())
    })
    .await;

    let traffic = Traffic::start(&fleet, &key, CLIENTS, 9);
    traffic.more(REPLIES).await;
    // What the primary writes from now on dies with it.
    replication.set(Line::Silent);
    traffic.more(REPLIES).await;
    loses(&fleet.store_line);
    primary.kill();
    replication.set(Line::Cut);
    traffic.more(REPLIES).await;
    standby.promote();
    fleet.store_line.lead_to(End::Unix(standby.socket()));
    traffic.more(REPLIES).await;
    let seen = traffic.end().await;
    let mut looks = interval(LOOK_EVERY);
    let all = async {
        while fleet.waiting().await > 0.0 {
            looks.tick().await;
        }
    };
    timeout(GIVEN_UP, all).await.expect("billing takes usage from the standby");
    (fleet, standby, seen)
}

async fn has_all(fleet: &mut Fleet, seen: &Seen) {
    fleet.drain().await;
    assert_eq!(fleet.streamed().await, 0);
    let agreed = agree(fleet, seen).await;
    println!("{agreed:?}, refused {:?}, unanswered {}", seen.refused, seen.unanswered);
    assert_eq!((agreed.interrupted, seen.broken.len()), (0, 0), "{:?}", seen.broken);
    assert_eq!(agreed.booked, agreed.rows);
    assert_eq!(agreed.booked, seen.whole.len() + seen.left.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_and_doubles_nothing() {
    let (mut fleet, _standby, seen) = failed_over("*", "sync", |_| ()).await;

    has_all(&mut fleet, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_standby_lacked_is_handed_over_by_gateways_that_are_started_again() {
    let (mut fleet, _standby, seen) = failed_over("", "async", |_| ()).await;
    let (rows, served) = (fleet.rows().len(), seen.whole.len() + seen.left.len());
    println!("{rows} rows of {served}");
    assert!(rows < served, "the standby lacked nothing: {rows} rows of {served}");

    for gateway in 0..fleet.gateways.len() {
        fleet.stop_gateway(gateway).await;
        fleet.start_gateway(gateway).await;
    }

    has_all(&mut fleet, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_gone_without_a_word_is_given_up() {
    // Nobody ends the connections to it: as when its machine has lost its power.
    let (mut fleet, _standby, seen) = failed_over("*", "sync", Relay::leave).await;

    has_all(&mut fleet, &seen).await;
}
