//! Lines, ids and a ledger to load from.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use permille_limits::{Base, Booked, Kind, Line, LoadError, Post, Settlement, Spendings};
use permille_types::{CustomerId, Level, NodeId, RequestId, SpendAccount};

/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

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
    Base { counter: counter.into(), spent }
}

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(what, async || condition().await.then_some(())).await;
}

/// Waits for an answer, with a deadline.
pub(crate) async fn eventually_some<T>(
    what: &str,
    mut answer: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut every = tokio::time::interval(Duration::from_millis(5));
    loop {
        if let Some(answer) = answer().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        every.tick().await;
    }
}

/// Whose event, which, and what it adds to which counter.
type Event = (NodeId, u64, HashMap<String, u64>);

/// A ledger: what was settled, by node and sequence number, booked at once.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    booked: Mutex<Vec<Event>>,
    pub(crate) away: AtomicBool,
    /// Whether it does not answer at all.
    pub(crate) silent: AtomicBool,
    asked: AtomicUsize,
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

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Forgets everything after the first so many events, as one that is restored from a backup.
    pub(crate) fn restore(&self, events: usize) {
        self.booked.lock().truncate(events);
    }

    fn journals(&self) -> Vec<(NodeId, u64)> {
        let mut seen: HashMap<NodeId, u64> = HashMap::new();
        for (node, sequence, _) in self.booked.lock().iter() {
            seen.insert(node.clone(), *sequence);
        }
        seen.into_iter().collect()
    }
}

impl Spendings for Ledger {
    fn booked<'a>(
        &'a self,
        _: &'a CustomerId,
        accounts: &'a [Arc<SpendAccount>],
    ) -> BoxFuture<'a, Result<Booked, LoadError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        if self.away.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err("the ledger is away".into())));
        }
        let nano = accounts.iter().map(|account| self.sum(&account.id)).collect();
        Box::pin(std::future::ready(Ok(Booked { nano, journals: self.journals() })))
    }

    fn with_unbooked(
        &self,
        _: &CustomerId,
        accounts: &[Arc<SpendAccount>],
        _: &Booked,
        load: &mut dyn FnMut(&[u64]),
    ) -> Result<(), LoadError> {
        load(&vec![0; accounts.len()]);
        Ok(())
    }

    fn unbooked_settlements(&self) -> BoxFuture<'_, Result<Vec<Settlement>, LoadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
