//! Redis away, slow, back, and back without anything it knew.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use permille_limits::{Extended, Kind, Limits, Loaded, Place, Refused, SharedBooks, Use, WhenAway};
use permille_test_redis::Redis;
use permille_types::{Clock as _, SystemClock};

use crate::{
    gateways::{Gateway, fleet, read},
    server::{WAIT, books, forget_log, roll},
    support::{Ledger, base, customer, eventually, eventually_some, id, line, money, node, spent},
};

pub(crate) async fn noticed(gateways: &[Gateway], whose: &permille_types::CustomerId) {
    for gateway in gateways {
        // Whoever asks first finds out.
        drop(gateway.limits.reserve(whose, id(), &[line(Kind::Requests, "r", 1_000, 1)]).await);
        assert!(gateway.limits.health().away);
    }
}

pub(crate) async fn back(gateways: &[Gateway]) {
    eventually("redis is back", async || {
        gateways.iter().all(|gateway| !gateway.limits.health().away)
    })
    .await;
}

/// Waits until every gateway has answered the roll and counts in Redis.
pub(crate) async fn all_there(redis: &Redis, gateways: &[Gateway]) {
    let are_back = || gateways.iter().all(|gateway| !gateway.limits.health().away);
    let first = eventually_some("all are there", async || {
        let roll = roll(redis).await;
        (roll.len() == gateways.len() && are_back()).then_some(roll)
    })
    .await;
    // Each learns of the others when it answers again.
    eventually("all know of each other", async || {
        let roll = roll(redis).await;
        first.iter().all(|(node, at)| roll.get(node) > Some(at)) && are_back()
    })
    .await;
}

/// Asks on a thread with a runtime of its own, which is gone when this returns.
async fn asked_elsewhere(books: SharedBooks) -> bool {
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(books.ping()).is_ok()
    });
    tokio::task::spawn_blocking(|| asked.join().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_connection_does_not_end_with_the_thread_that_found_it_broken() {
    let mut redis = Redis::start().await;
    let books = books(&redis);
    assert!(asked_elsewhere(books.clone()).await);
    books.ping().await.unwrap();

    redis.kill();
    assert!(!asked_elsewhere(books.clone()).await);
    redis.start_again().await;
    eventually("redis is back", async || asked_elsewhere(books.clone()).await).await;

    books.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_limited_request_is_refused_where_that_is_the_policy() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let open = gateways[0].limits.reserve(&whose, id(), &[money(100, 30)]).await.unwrap();

    redis.kill();
    noticed(&gateways, &whose).await;
    let asked = Instant::now();
    let refused = gateways[0].limits.reserve(&whose, id(), &[money(100, 10)]).await;
    assert!(matches!(refused, Err(Refused::Unavailable)));
    assert!(asked.elapsed() < WAIT / 4, "nobody waits for what is away");
    gateways[0].settle(open, 20);
    assert!(gateways[0].limits.health().waiting > 0);

    redis.start_again().await;
    back(&gateways).await;
    let open = gateways[1].limits.reserve(&whose, id(), &[money(100, 80)]).await.unwrap();
    let is = Use { used: 20, held: 80 };
    eventually("what was settled meanwhile counts once", async || {
        gateways[0].limits.health().waiting == 0 && read(&redis, &whose, "m").await == is
    })
    .await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_serve_on_and_together_spend_no_more_than_was_left_in_the_ledger() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Share(3), &ledger);
    let whose = customer("acme");
    // A Redis without data is one that may have lost them.
    all_there(&redis, &gateways).await;
    for gateway in &gateways {
        let open = gateway.limits.reserve(&whose, id(), &[money(1_000, 100)]).await.unwrap();
        gateway.settle(open, 100);
    }
    redis.kill();
    noticed(&gateways, &whose).await;

    let mut served = 0;
    for gateway in &gateways {
        while let Ok(open) = gateway.limits.reserve(&whose, id(), &[money(1_000, 10)]).await {
            gateway.settle(open, 10);
            served += 1;
        }
    }
    // 300 were spent. The first may spend a third of the 700 left; what it booked by then the next
    // finds in the ledger.
    assert_eq!(served, 23 + 15 + 10);
    assert!(ledger.sum("m") <= 1_000);

    redis.start_again().await;
    back(&gateways).await;
    let left = 1_000 - ledger.sum("m");
    let open = gateways[2].limits.reserve(&whose, id(), &[money(1_000, left)]).await.unwrap();
    assert!(gateways[0].limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_err());
    eventually("everything is told", async || {
        gateways.iter().all(|gateway| gateway.limits.health().waiting == 0)
    })
    .await;
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 1_000 - left, held: left });
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_delays_one_request_by_the_bound_and_no_other() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let wait = Duration::from_millis(200);
    let books = SharedBooks::open(&redis.url().into(), wait).unwrap();
    let gateway = Gateway::start("gw-1", books, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    eventually("it serves", async || {
        gateway.limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_ok()
    })
    .await;

    redis.freeze();
    let asked = Instant::now();
    assert!(gateway.limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_err());
    assert!(asked.elapsed() >= wait, "{:?}", asked.elapsed());
    let asked = Instant::now();
    for _ in 0..1_000 {
        assert!(gateway.limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_err());
    }
    // A tenth of what they would take if each waited.
    assert!(asked.elapsed() < wait * 100, "{:?}", asked.elapsed());

    redis.thaw();
    eventually("it serves again", async || {
        gateway.limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_ok()
    })
    .await;
    eventually("what the lost answers held is given back", async || {
        read(&redis, &whose, "m").await.held == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_known_is_refused_and_known_again_later() {
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    ledger.away.store(true, Ordering::Relaxed);

    let refused = gateways[0].limits.reserve(&whose, id(), &[money(100, 10)]).await;
    assert!(matches!(refused, Err(Refused::Unavailable)));
    let rates = [line(Kind::Requests, "r", 10, 1)];
    assert!(gateways[0].limits.reserve(&whose, id(), &rates).await.is_ok(), "no money is asked");

    ledger.away.store(false, Ordering::Relaxed);
    // As soon as the answer said.
    eventually("it is served", async || {
        gateways[0].limits.reserve(&whose, id(), &[money(100, 10)]).await.is_ok()
    })
    .await;
    assert_eq!(ledger.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_back_first_keeps_to_its_share_until_the_others_have_told_what_they_served() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let mut gateways = fleet(&redis, WhenAway::Share(3), &ledger);
    let whose = customer("acme");
    all_there(&redis, &gateways).await;
    redis.kill();
    noticed(&gateways, &whose).await;
    // This one does not find back for a while, and billing has nothing of what it serves.
    gateways[2].tending.abort();
    let mut sequence = 1_000;
    let mut serve = async |gateways: &[Gateway], place: usize| {
        let mut served = 0;
        let limits = &gateways[place].limits;
        while let Ok(open) = limits.reserve(&whose, id(), &[money(900, 10)]).await {
            sequence += 1;
            open.settle(sequence, vec![spent(10)]);
            served += 1;
        }
        served
    };
    assert_eq!(serve(&gateways, 2).await, 30, "its third");
    assert_eq!(serve(&gateways, 0).await, 30);

    redis.start_again().await;
    eventually("two have told", async || {
        gateways[..2].iter().all(|gateway| gateway.limits.health().waiting == 0)
    })
    .await;
    let mut served = 0;
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        served += serve(&gateways, 0).await + serve(&gateways, 1).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(served, 30, "the third of the one that had served nothing");
    assert!(gateways[0].limits.health().away, "one has not told yet");

    gateways[2].tend_again();
    back(&gateways).await;
    for gateway in &gateways {
        assert!(gateway.limits.reserve(&whose, id(), &[money(900, 1)]).await.is_err());
    }
    assert_eq!(read(&redis, &whose, "m").await, Use { used: 900, held: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_when_redis_loses_its_data_is_held_again_before_anybody_else_is_served() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    let lines = [money(100, 60), line(Kind::Open, "o", 1, 1)];
    all_there(&redis, &gateways).await;
    let open = gateways[0].limits.reserve(&whose, id(), &lines).await.unwrap();

    for _ in 0..2 {
        redis.kill();
        redis.start_again().await;
        let refused = eventually_some("somebody is answered", async || {
            match gateways[1].limits.reserve(&whose, id(), &lines).await {
                Err(Refused::Unavailable) => None,
                other => Some(other),
            }
        })
        .await;
        let Err(Refused::Blocked(blocked)) = refused else { panic!("served twice") };
        assert_eq!(blocked.is, Use { used: 0, held: 60 });
    }
    gateways[0].settle(open, 20);

    let is = Use { used: 20, held: 0 };
    eventually("it has settled", async || read(&redis, &whose, "m").await == is).await;
    assert!(gateways[1].limits.reserve(&whose, id(), &lines).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_goes_on_gets_more_where_redis_lost_what_was_spent() {
    let (mut redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    all_there(&redis, &gateways).await;
    ledger.book(&node("earlier"), "m", 20);
    let open = gateways[0].limits.reserve(&whose, id(), &[money(100, 30)]).await.unwrap();

    redis.kill();
    redis.start_again().await;
    // Nobody else asks for anything that would have the counter loaded.
    eventually("there is more", async || {
        open.extend(vec![money(100, 40)]).await == Extended::Granted
    })
    .await;

    assert_eq!(read(&redis, &whose, "m").await, Use { used: 20, held: 70 });
    let Extended::Blocked(blocked) = open.extend(vec![money(100, 11)]).await else {
        panic!("beyond the limit")
    };
    assert_eq!(blocked.is, Use { used: 20, held: 70 });
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_a_ledger_that_is_silent_do_not_wait_one_after_the_other() {
    let ledger = Arc::new(Ledger::default());
    let place = Place::Local(Duration::from_hours(1));
    let limits = Limits::new(place, node("only"), Arc::clone(&ledger) as _);
    let (whose, asked) = (customer("acme"), tokio::time::Instant::now());
    let lines = [money(1_000, 10)];
    ledger.silent.store(true, Ordering::Relaxed);

    let all = join_all((0..50).map(|_| limits.reserve(&whose, id(), &lines))).await;

    assert!(all.iter().all(|one| matches!(one, Err(Refused::Unavailable))));
    assert_eq!(ledger.asked(), 1, "what failed a moment ago is not asked again at once");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    // A load of another customer is none of its.
    ledger.silent.store(false, Ordering::Relaxed);
    assert!(limits.reserve(&customer("other"), id(), &lines).await.is_ok());
    assert!(limits.reserve(&whose, id(), &lines).await.is_err(), "the answer said a second");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(limits.reserve(&whose, id(), &lines).await.is_ok());
}

#[tokio::test]
async fn a_restored_ledger_that_redis_is_ahead_of_is_told_of_once_and_has_a_way_back() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    let lines = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _lines = tracing::subscriber::set_default(lines);
    let told = |what: &str| std::fs::read_to_string(log.path()).unwrap().matches(what).count();
    let (redis, ledger) = (Redis::start().await, Arc::new(Ledger::default()));
    let gateways = fleet(&redis, WhenAway::Refuse, &ledger);
    let whose = customer("acme");
    for amount in [10, 20] {
        let open = gateways[0].limits.reserve(&whose, id(), &[money(1_000, 50)]).await.unwrap();
        gateways[0].settle(open, amount);
    }
    let all = Use { used: 30, held: 0 };
    eventually("all is settled", async || read(&redis, &whose, "m").await == all).await;
    // The ledger has both, and has had them for so long that they are struck out.
    let now = u64::try_from(SystemClock.now().timestamp_millis()).unwrap();
    for later in [0, 20_000] {
        let (at, seen) = (Some(now + later), [(node("gw-1"), 2)]);
        let loaded = books(&redis).load(&whose, at, &seen, &[base("m", 30)]).await.unwrap();
        assert_eq!(loaded, Loaded::Now);
    }

    ledger.restore(1);
    let new = [line(Kind::Money, "new", 1_000, 10)];
    for gateway in [0, 0, 0] {
        let refused = gateways[gateway].limits.reserve(&whose, id(), &new).await;
        assert!(matches!(refused, Err(Refused::Unavailable)), "{refused:?}");
    }
    assert_eq!(told("redis has struck out what the ledger had"), 1);
    assert!(gateways[0].limits.reserve(&whose, id(), &[money(1_000, 1)]).await.is_ok());

    forget_log(&redis, "acme").await;
    eventually("what was spent is known", async || {
        gateways[0].limits.reserve(&whose, id(), &new).await.is_ok()
    })
    .await;
    assert_eq!(told("what was spent is known again"), 1);
}
