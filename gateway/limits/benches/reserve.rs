//! Reservations per second, each with its settlement: `cargo bench -p permille-limits`.
//! In Redis with the address in `PERMILLE_BENCH_REDIS`, such as `unix:///tmp/redis.sock`.
//!
//! Beside the rate stands the processor time of this process, and of Redis, for a request: the
//! least of several rounds, which a busy machine disturbs little.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::future::{BoxFuture, join_all};
use permille_limits::{
    Booked, Kind, Limits, Line, LoadError, Place, Post, Settlement, SharedBooks, Spendings,
    WhenAway,
};
use permille_types::{CustomerId, Level, RequestId, SpendAccount};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const WAIT: Duration = Duration::from_secs(5);

/// Nothing was spent before.
struct Nothing;

impl Spendings for Nothing {
    fn booked<'a>(
        &'a self,
        _: &'a CustomerId,
        accounts: &'a [Arc<SpendAccount>],
    ) -> BoxFuture<'a, Result<Booked, LoadError>> {
        let nano = vec![0; accounts.len()];
        Box::pin(std::future::ready(Ok(Booked { nano, journals: Vec::new() })))
    }

    fn with_unbooked(
        &self,
        _: &CustomerId,
        _: &[Arc<SpendAccount>],
        _: &Booked,
        load: &mut dyn FnMut(&[u64]),
    ) -> Result<(), LoadError> {
        load(&[]);
        Ok(())
    }

    fn unbooked_settlements(&self) -> BoxFuture<'_, Result<Vec<Settlement>, LoadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
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

/// What a round came to.
#[derive(Clone, Copy)]
struct Round {
    /// Requests a second.
    rate: f64,
    /// Microseconds of processor time for a request: of this process, and of Redis.
    own_us: f64,
    redis_us: f64,
}

impl Round {
    fn best(self, other: Self) -> Self {
        Self {
            rate: self.rate.max(other.rate),
            own_us: self.own_us.min(other.own_us),
            redis_us: self.redis_us.min(other.redis_us),
        }
    }
}

/// Seconds of processor time that this process has used: its clock ticks are hundredths.
fn own_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The program's name, which may hold blanks, ends with the last bracket.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks = rest.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

/// Seconds of processor time that Redis has used.
async fn redis_time(client: Option<&redis::Client>) -> f64 {
    let Some(client) = client else { return 0.0 };
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let told: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await.unwrap();
    let field = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    field("used_cpu_user:") + field("used_cpu_sys:")
}

/// Requests of `workers` that each wait for their own reservation.
async fn round(
    limits: &Arc<Limits>,
    (workers, customers): (usize, usize),
    round: Duration,
    client: Option<&redis::Client>,
) -> Round {
    let (own, redis) = (own_time(), redis_time(client).await);
    let started = Instant::now();
    let tasks = (0..workers).map(|worker| {
        let limits = Arc::clone(limits);
        tokio::spawn(async move {
            let customer: CustomerId = format!("c{}", worker % customers).parse().unwrap();
            let (lines, mut requests) = (lines(), 0_u32);
            while started.elapsed() < round {
                let id = RequestId::new(DateTime::UNIX_EPOCH);
                let open = limits.reserve(&customer, id, &lines).await.unwrap();
                open.settle(SEQUENCE.fetch_add(1, Ordering::Relaxed), posts());
                requests += 1;
            }
            requests
        })
    });
    let requests: u32 = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    let seconds = started.elapsed().as_secs_f64();
    // What is told off the path of a request belongs to it.
    limits.told_up_to(u64::MAX).await;
    let requests = f64::from(requests);
    Round {
        rate: requests / seconds,
        own_us: (own_time() - own) / requests * 1e6,
        redis_us: (redis_time(client).await - redis) / requests * 1e6,
    }
}

/// The sequence number of the next settled record.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

async fn rounds(
    limits: &Arc<Limits>,
    place: &str,
    shape: (usize, usize),
    long: bool,
    client: Option<&redis::Client>,
) {
    let (time, count) = if long { (ROUND, ROUNDS) } else { (Duration::from_millis(20), 1) };
    let mut best = round(limits, shape, time, client).await;
    for _ in 1..count {
        best = best.best(round(limits, shape, time, client).await);
    }
    let Round { rate, own_us, redis_us } = best;
    let (workers, customers) = shape;
    println!("| {place} | {workers} | {customers} | {rate:.0} | {own_us:.1} | {redis_us:.1} |");
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let long = std::env::args().any(|arg| arg == "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| books | workers | customers | requests/s | µs here | µs in Redis |");
    println!("|---|---:|---:|---:|---:|---:|");
    runtime.block_on(async {
        let node = || "bench".parse().unwrap();
        let local = || Place::Local(Duration::from_hours(1));
        for shape in [(1, 1), (8, 1), (8, 8)] {
            let limits = Limits::new(local(), node(), Arc::new(Nothing));
            rounds(&limits, "in process", shape, long, None).await;
        }
        let Ok(url) = std::env::var("PERMILLE_BENCH_REDIS") else { return };
        let client = redis::Client::open(&*url).unwrap();
        for shape in [(1, 1), (64, 1), (64, 64)] {
            let books = SharedBooks::open(&url.clone().into(), WAIT).unwrap();
            let place = Place::Shared(books, WhenAway::Refuse);
            let limits = Limits::new(place, node(), Arc::new(Nothing));
            let stop = tokio_util::sync::CancellationToken::new();
            let (tended, until) = (Arc::clone(&limits), stop.clone());
            let tending = tokio::spawn(async move { tended.tend(until).await });
            rounds(&limits, "Redis", shape, long, Some(&client)).await;
            stop.cancel();
            tending.await.unwrap();
        }
    });
}
