//! Lines, ids and a ledger to load from.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use permille_limits::{Base, Kind, Line, LoadError, Post, Spendings};
use permille_types::{CustomerId, Level, NodeId, RequestId, SpendAccount};

/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn id() -> RequestId {
    RequestId::new(DateTime::UNIX_EPOCH)
}

pub(crate) fn customer(name: &str) -> CustomerId {
    name.parse().unwrap()
}

pub(crate) fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(crate) fn line(kind: Kind, counter: &str, limit: u64, take: u64) -> Line {
    let account =
        SpendAccount { level: Level::Key, id: counter.to_owned(), from: None, until: None };
    let account = (kind == Kind::Money).then(|| Arc::new(account));
    Line { kind, counter: counter.into(), limit, take, account, fresh: false }
}

pub(crate) fn money(limit: u64, take: u64) -> Line {
    line(Kind::Money, "m", limit, take)
}

pub(crate) fn spent(amount: u64) -> Post {
    Post { kind: Kind::Money, counter: "m".into(), limit: 0, amount }
}

pub(crate) fn base(counter: &str, spent: u64) -> Base {
    Base { counter: counter.into(), spent, seen: Vec::new() }
}

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut every = tokio::time::interval(Duration::from_millis(5));
    while !condition().await {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        every.tick().await;
    }
}

/// Whose event, which, and what it adds to which counter.
type Booked = (NodeId, u64, HashMap<String, u64>);

/// A ledger: what was settled, by node and sequence number, booked at once.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    booked: Mutex<Vec<Booked>>,
    pub(crate) away: std::sync::atomic::AtomicBool,
}

impl Ledger {
    pub(crate) fn book(&self, node: &NodeId, counter: &str, amount: u64) -> u64 {
        let mut booked = self.booked.lock();
        let sequence = u64::try_from(booked.len()).unwrap() + 1;
        booked.push((node.clone(), sequence, HashMap::from([(counter.to_owned(), amount)])));
        sequence
    }

    pub(crate) fn sum(&self, counter: &str) -> u64 {
        self.booked.lock().iter().filter_map(|(_, _, amounts)| amounts.get(counter)).sum()
    }

    pub(crate) fn count(&self) -> usize {
        self.booked.lock().len()
    }
}

impl Spendings for Ledger {
    fn bases<'a>(
        &'a self,
        _: &'a CustomerId,
        counters: Vec<(Arc<str>, Arc<SpendAccount>)>,
    ) -> BoxFuture<'a, Result<Vec<Base>, LoadError>> {
        if self.away.load(std::sync::atomic::Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err("the ledger is away".into())));
        }
        let mut seen: HashMap<NodeId, u64> = HashMap::new();
        for (node, sequence, _) in self.booked.lock().iter() {
            seen.insert(node.clone(), *sequence);
        }
        let seen: Vec<_> = seen.into_iter().collect();
        let bases = counters.into_iter().map(|(counter, account)| {
            let spent = self.sum(&account.id);
            Base { counter, spent, seen: seen.clone() }
        });
        Box::pin(std::future::ready(Ok(bases.collect())))
    }
}
