//! Reservations per second, each with its settlement: `cargo bench -p permille-limits`.
//! In Redis with the address in `PERMILLE_BENCH_REDIS`, such as `unix:///tmp/redis.sock`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::future::{BoxFuture, join_all};
use permille_limits::{
    Base, Kind, Limits, Line, LoadError, Place, Post, SharedBooks, Spendings, WhenAway,
};
use permille_types::{CustomerId, Level, RequestId, SpendAccount};

const ROUND: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_secs(5);

/// Nothing was spent before.
struct Nothing;

impl Spendings for Nothing {
    fn bases<'a>(
        &'a self,
        _: &'a CustomerId,
        counters: Vec<(Arc<str>, Arc<SpendAccount>)>,
    ) -> BoxFuture<'a, Result<Vec<Base>, LoadError>> {
        let bases =
            counters.into_iter().map(|(counter, _)| Base { counter, spent: 0, seen: Vec::new() });
        Box::pin(std::future::ready(Ok(bases.collect())))
    }
}

/// The lines of a request with limits on every level.
fn lines() -> Vec<Line> {
    let line = |kind, counter: &str| {
        let id = counter.to_owned();
        let account = SpendAccount { level: Level::Key, id, from: None, until: None };
        let account = (kind == Kind::Money).then(|| Arc::new(account));
        Line { kind, counter: counter.into(), limit: 1 << 50, take: 1_000, account, fresh: false }
    };
    vec![
        line(Kind::Money, "m/2026-11/c"),
        line(Kind::Money, "m/2026-11/p:default"),
        line(Kind::Requests, "r/k:key_1"),
        line(Kind::Tokens, "t/k:key_1"),
        line(Kind::Open, "o/k:key_1"),
        line(Kind::Money, "m/2026-11/k:key_1"),
    ]
}

fn posts() -> Vec<Post> {
    let posts = lines().into_iter().filter(|line| matches!(line.kind, Kind::Tokens | Kind::Money));
    posts
        .map(|line| Post { kind: line.kind, counter: line.counter, limit: line.limit, amount: 500 })
        .collect()
}

/// Requests a second of `workers` that each wait for their own reservation.
async fn round(limits: &Arc<Limits>, workers: usize, customers: usize, round: Duration) -> f64 {
    let started = Instant::now();
    let tasks = (0..workers).map(|worker| {
        let limits = Arc::clone(limits);
        tokio::spawn(async move {
            let customer: CustomerId = format!("c{}", worker % customers).parse().unwrap();
            let (lines, mut requests) = (lines(), 0_u32);
            while started.elapsed() < round {
                let id = RequestId::new(DateTime::UNIX_EPOCH);
                let open = limits.reserve(&customer, id, &lines).await.unwrap();
                open.settle(1, posts());
                requests += 1;
            }
            requests
        })
    });
    let requests: u32 = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    f64::from(requests) / started.elapsed().as_secs_f64()
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let long = std::env::args().any(|arg| arg == "--bench");
    let time = if long { ROUND } else { Duration::from_millis(20) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| books | workers | customers | requests/s, six limits each |");
    println!("|---|---:|---:|---:|");
    runtime.block_on(async {
        let node = || "bench".parse().unwrap();
        let local = || Place::Local(Duration::from_hours(1));
        for (workers, customers) in [(1, 1), (8, 1), (8, 8)] {
            let limits = Limits::new(local(), node(), Arc::new(Nothing));
            let rate = round(&limits, workers, customers, time).await;
            println!("| in process | {workers} | {customers} | {rate:.0} |");
        }
        let Ok(url) = std::env::var("PERMILLE_BENCH_REDIS") else { return };
        for (workers, customers) in [(1, 1), (64, 1), (64, 64)] {
            let books = SharedBooks::open(&url.clone().into(), WAIT).unwrap();
            let place = Place::Shared(books, WhenAway::Refuse);
            let limits = Limits::new(place, node(), Arc::new(Nothing));
            let stop = tokio_util::sync::CancellationToken::new();
            let (tended, until) = (Arc::clone(&limits), stop.clone());
            let tending = tokio::spawn(async move { tended.tend(until).await });
            let rate = round(&limits, workers, customers, time).await;
            println!("| Redis | {workers} | {customers} | {rate:.0} |");
            stop.cancel();
            tending.await.unwrap();
        }
    });
}
