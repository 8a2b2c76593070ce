//! Three gateways, one budget: together they serve what it has room for, whatever becomes of them.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use permille_limits::{
    Extended, Kind, Lease, Limits, Line, Loaded, Place, Posted, Refused, Reservation, Reserved,
    SharedBooks, Use, WhenAway,
};
use permille_test_redis::Redis;
use permille_types::{Clock as _, CustomerId, NodeId, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::{
    server::{age, books},
    support::{Ledger, base, customer, eventually, id, line, money, node, spent},
};

/// One gateway over the shared books, with its task.
pub(crate) struct Gateway {
    pub(crate) limits: Arc<Limits>,
    pub(crate) node: NodeId,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tending: tokio::task::JoinHandle<()>,
}

impl Gateway {
    pub(crate) fn start(
        name: &str,
        books: SharedBooks,
        away: WhenAway,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let place = Place::Shared(books, away);
        let limits = Limits::new(place, node(name), Arc::clone(ledger) as _);
        let tending = tend(&limits);
        Self { limits, node: node(name), ledger: Arc::clone(ledger), tending }
    }

    /// Looks after the books again, after `tending` was aborted.
    pub(crate) fn tend_again(&mut self) {
        self.tending = tend(&self.limits);
    }

    /// Books what a request used and puts it in the place of what it held.
    pub(crate) fn settle(&self, open: Reservation, amount: u64) {
        let sequence = self.ledger.book(&self.node, "m", amount);
        open.settle(sequence, vec![spent(amount)]);
    }
}

fn tend(limits: &Arc<Limits>) -> tokio::task::JoinHandle<()> {
    let tended = Arc::clone(limits);
    tokio::spawn(async move { tended.tend(CancellationToken::new()).await })
}

pub(crate) fn fleet(redis: &Redis, away: WhenAway, ledger: &Arc<Ledger>) -> Vec<Gateway> {
    let names = ["gw-1", "gw-2", "gw-3"];
    names.map(|name| Gateway::start(name, books(redis), away, ledger)).into()
}

pub(crate) async fn read(redis: &Redis, whose: &CustomerId, counter: &str) -> Use {
    let read = books(redis).read(whose, None, &[(Kind::Money, counter)]).await.unwrap();
    read[0].unwrap_or_default()
}

/// 1,000 requests at once, spread over the gateways.
async fn storm(
    gateways: &[Gateway],
    whose: &CustomerId,
    lines: &[Line],
) -> Vec<(usize, Reservation)> {
    let asked = (0..1_000).map(|request| {
        let place = request % gateways.len();
        async move {
            let reserved = gateways[place].limits.reserve(whose, id(), lines).await;
            match reserved {
                Ok(open) => Some((place, open)),
                Err(Refused::Blocked(_)) => None,
                Err(Refused::Unavailable) => panic!("redis did not answer"),
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_for_a_hundred_requests_serves_a_hundred_of_a_thousand() {
    serves_a_hundred_of_a_thousand(Redis::start().await).await;
}

/// A node of a cluster refuses what names keys of several slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_a_customer_lie_in_one_slot_of_a_cluster() {
    let redis = Redis::start_cluster_node().await;
    let across_slots = redis.command("MGET one other");
    assert!(across_slots.unwrap().starts_with("-CROSSSLOT"));
    serves_a_hundred_of_a_thousand(redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_names_the_keys_that_it_uses_in_one_slot_of_a_cluster() {
    let redis = Redis::start_cluster_node().await;
    let books = books(&redis);
    let (whose, one, other, lines) = (customer("acme"), id(), id(), [money(100, 10)]);
    let at = Lease { now: None, lease_ms: 60_000 };
    let seen = [(node("gw-1"), 7)];
    // Of a gateway of which the ledger knows nothing.
    let unknown = (&node("gw-2"), 1);

    let settled = books.settle(&whose, id(), None, unknown, &[spent(5)]).await.unwrap();
    let loaded = books.load(&whose, None, &seen, &[base("m", 20)]).await.unwrap();
    let reserved = books.reserve(&whose, one, at, &lines).await.unwrap();
    let extended = books.extend(&whose, one, at, &lines).await.unwrap();
    let missing = books.renew(&whose, at, &[one, other]).await.unwrap();
    books.hold(&whose, other, at, &lines).await.unwrap();
    let held = read(&redis, &whose, "m").await;
    books.release(&whose, other, None).await.unwrap();
    books.settle(&whose, one, None, (&node("gw-1"), 8), &[spent(3)]).await.unwrap();

    assert_eq!((settled, loaded, extended), (Posted::Now, Loaded::Now, Extended::Granted));
    assert!(matches!(reserved, Reserved::Granted { .. }), "{reserved:?}");
    assert_eq!((missing, held), (vec![1], Use { used: 25, held: 30 }));
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 28, held: 0 });
}

async fn serves_a_hundred_of_a_thousand(redis: Redis) {
    let ledger = Arc::new(Ledger::default());
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");

    let open = storm(&gateways, &whose, &[money(1_000, 10)]).await;

    assert_eq!(open.len(), 100);
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 0, held: 1_000 });
    for (place, open) in open {
        gateways[place].settle(open, 10);
    }
    let all = Use { used: 1_000, held: 0 };
    eventually("all is settled", async || read(&redis, &whose, "m").await == all).await;
    assert!(storm(&gateways, &whose, &[money(1_000, 10)]).await.is_empty());
    assert_eq!(ledger.sum("m"), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reserved_and_not_used_serves_others_within_the_budget() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    // The worst case is five times what is used.
    let lines = [money(1_000, 50)];

    let mut served = 0_u64;
    loop {
        let open = storm(&gateways, &whose, &lines).await;
        if open.is_empty() {
            break;
        }
        served += u64::try_from(open.len()).unwrap();
        let is = read(&redis, &whose, "m").await;
        assert!(is.total() <= 1_000, "{is:?}");
        for (place, open) in open {
            gateways[place].settle(open, 10);
        }
        eventually("all is settled", async || read(&redis, &whose, "m").await.held == 0).await;
    }

    // Each round ends with less than one worst case left.
    assert_eq!(served, 96);
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 960, held: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_and_session_caps_hold_beside_the_customers() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let mut session = line(Kind::Money, "m/s:x", 200, 10);
    session.fresh = true;
    let lines = [
        money(1_000, 10),
        line(Kind::Money, "m/k:1", 500, 10),
        line(Kind::Open, "o/k:1", 15, 1),
        session,
    ];

    let open = storm(&gateways, &whose, &lines).await;
    assert_eq!(open.len(), 15, "as many as may be open");
    drop(open);
    eventually("all is given back", async || read(&redis, &whose, "m").await.held == 0).await;

    let without_cap: Vec<Line> =
        lines.iter().filter(|line| line.kind != Kind::Open).cloned().collect();
    let open = storm(&gateways, &whose, &without_cap).await;
    assert_eq!(open.len(), 20, "what the session may spend");
    assert_eq!(read(&redis, &whose, "m/k:1").await.held, 200);
    let others = storm(&gateways, &whose, &without_cap[..2]).await;
    assert_eq!(others.len(), 30, "what is left of the key");
    drop((open, others));
    for counter in ["m", "m/k:1", "m/s:x"] {
        eventually("all is given back", async || {
            read(&redis, &whose, counter).await == Use::default()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_gateway_held_comes_back_with_its_leases_and_not_before() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let mut gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let mut open = storm(&gateways, &whose, &[money(1_000, 10)]).await;
    // One that was granted something.
    let (killed, _) = open[0];
    let (of_killed, others): (Vec<_>, Vec<_>) =
        open.drain(..).partition(|(place, _)| *place == killed);
    let lost = of_killed.len();

    // Killed: nothing of it runs any more, nothing is told.
    gateways[killed].tending.abort();
    std::mem::forget(of_killed);
    for (place, open) in others {
        gateways[place].settle(open, 10);
    }
    drop(gateways.remove(killed));

    let held = u64::try_from(lost).unwrap() * 10;
    let rest = Use { used: 1_000 - held, held };
    eventually("the others settle", async || read(&redis, &whose, "m").await == rest).await;
    assert!(storm(&gateways, &whose, &[money(1_000, 10)]).await.is_empty());
    // As it will be in two minutes. A step clears away some of the leases that ended, not all.
    let later =
        u64::try_from((SystemClock.now() + Duration::from_mins(2)).timestamp_millis()).unwrap();
    eventually("its leases end", async || {
        let read = books(&redis).read(&whose, Some(later), &[(Kind::Money, "m")]).await.unwrap();
        read[0] == Some(Use { used: 1_000 - held, held: 0 })
    })
    .await;
    let open = storm(&gateways, &whose, &[money(1_000, 10)]).await;
    assert_eq!(open.len(), lost, "as many as were lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_gateway_handed_over_and_did_not_tell_is_counted_when_it_is_loaded_again() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let open = gateways[0].limits.reserve(&whose, id(), &[money(1_000, 10)]).await.unwrap();
    gateways[0].settle(open, 10);
    eventually("it is told", async || read(&redis, &whose, "m").await.used == 10).await;

    // Billing has these, of a gateway that was killed before it told them.
    for amount in [100, 200] {
        ledger.book(&node("gw-killed"), "m", amount);
    }
    age(&redis, "acme", "m").await;
    drop(gateways[1].limits.reserve(&whose, id(), &[money(1_000, 10)]).await.unwrap());

    eventually("all is counted, once", async || {
        read(&redis, &whose, "m").await == Use { used: 310, held: 0 }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_the_reservation_is_made_holds_nothing() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    drop(gateways[0].limits.reserve(&whose, id(), &[money(1_000, 10)]).await);

    redis.freeze();
    for gateway in &gateways {
        let lines = [money(1_000, 300)];
        let asked = gateway.limits.reserve(&whose, id(), &lines);
        assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    }
    redis.thaw();

    eventually("all is given back", async || {
        gateways.iter().all(|gateway| gateway.limits.health().waiting == 0)
            && read(&redis, &whose, "m").await == Use::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_process_the_same_holds_without_redis() {
    let ledger = Arc::new(Ledger::default());
    ledger.book(&node("earlier"), "m", 500);
    let place = Place::Local(Duration::from_hours(1));
    let limits = Limits::new(place, node("only"), Arc::clone(&ledger) as _);
    let whose = customer("acme");

    let asked = (0..1_000).map(|_| {
        let (limits, whose) = (Arc::clone(&limits), whose.clone());
        tokio::spawn(async move { limits.reserve(&whose, id(), &[money(1_500, 10)]).await.ok() })
    });
    let open: Vec<Reservation> =
        join_all(asked).await.into_iter().filter_map(Result::unwrap).collect();

    assert_eq!(open.len(), 100, "500 of 1,500 was spent before this process");
    drop(open);
    let is = limits.read(&whose, Kind::Money, "m").await.unwrap();
    assert_eq!(is, Use { used: 500, held: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_handed_over_once_redis_has_it_or_is_away() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateway = Gateway::start("gw-1", books(&redis), WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let open = gateway.limits.reserve(&whose, id(), &[money(1_000, 10)]).await.unwrap();
    gateway.limits.told_up_to(u64::MAX).await;

    redis.freeze();
    open.settle(7, vec![spent(10)]);
    gateway.limits.told_up_to(6).await;
    let told = gateway.limits.told_up_to(7);
    tokio::pin!(told);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut told).await.is_err());
    redis.thaw();
    told.await;

    assert_eq!(read(&redis, &whose, "m").await, Use { used: 10, held: 0 });
}
