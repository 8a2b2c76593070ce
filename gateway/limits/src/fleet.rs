//! The shared books as one gateway of several uses them: what happens while Redis is away, what is
//! told to it later, and how it is come back to without a herd.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use permille_types::{CustomerId, NodeId, RequestId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    local::LocalBooks,
    shared::{Lease, SharedBooks, SharedError},
    step::Post,
};

/// How long a reservation holds without being renewed: what a killed gateway held comes back then.
const LEASE: Duration = Duration::from_mins(1);
/// Three renewals within a lease, so that two may be lost.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Settlements that wait for Redis: 10 minutes at 1,000 requests a second, in some 300 MiB at most.
const WAITING_MAX: usize = 600_000;
/// Settlements that are told at once, over one connection.
const AT_ONCE_MAX: usize = 64;
/// First and longest pause between two probes; each is a random part of it, so that the gateways of
/// a fleet do not come back in one instant.
const PROBE_MIN: Duration = Duration::from_millis(200);
const PROBE_MAX: Duration = Duration::from_secs(5);
/// How long the last settlements may take when the gateway stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What is told to Redis off the path of a request.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// A request has settled.
    Settled { customer: CustomerId, id: RequestId, sequence: u64, posts: Arc<[Post]> },
    /// A request was not made.
    Released { customer: CustomerId, id: RequestId },
}

/// One gateway's side of the shared books.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) books: SharedBooks,
    node: NodeId,
    /// This gateway's share of every limit while Redis is away; absent where nothing is served
    /// then.
    pub(crate) spare: Option<LocalBooks>,
    away: AtomicBool,
    waiting: Mutex<VecDeque<Told>>,
    more: Notify,
    /// Whose reservations are to be renewed.
    open: Mutex<HashMap<RequestId, CustomerId>>,
    dropped: AtomicU64,
}

/// When the next reservation is made, and for how long.
pub(crate) fn lease() -> Lease {
    Lease { now: None, lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX) }
}

impl Fleet {
    pub(crate) fn new(books: SharedBooks, node: NodeId, spare: Option<LocalBooks>) -> Self {
        Self {
            books,
            node,
            spare,
            away: AtomicBool::new(false),
            waiting: Mutex::default(),
            more: Notify::new(),
            open: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Settlements and releases that Redis has not been told.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Those that found no room and will never be told.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whoever finds Redis away says so once; from then on nobody waits for it.
    pub(crate) fn went_away(&self, error: &SharedError) {
        if !self.away.swap(true, Ordering::AcqRel) {
            let error: &dyn std::error::Error = error;
            let serves = self.spare.is_some();
            tracing::error!(error, serves, "limits: redis is away");
            if let Some(spare) = &self.spare {
                // What a load that came too late put there is of the last outage.
                spare.clear();
            }
            self.more.notify_one();
        }
    }

    pub(crate) fn opened(&self, id: RequestId, customer: &CustomerId) {
        self.open.lock().insert(id, customer.clone());
    }

    /// Tells Redis soon; whoever calls does not wait.
    pub(crate) fn tell(&self, told: Told) {
        let (Told::Settled { id, .. } | Told::Released { id, .. }) = &told;
        self.open.lock().remove(id);
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                waiting.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            waiting.push_back(told);
        }
        self.more.notify_one();
    }

    /// Tells, renews and comes back, until `stop`; then tells what is left, within a bound.
    pub(crate) async fn tend(&self, stop: CancellationToken) {
        let mut renewed = Instant::now();
        while !stop.is_cancelled() {
            if self.is_away() {
                tokio::select! {
                    () = self.come_back() => renewed = Instant::now(),
                    () = stop.cancelled() => break,
                }
                self.renew().await;
                continue;
            }
            self.tell_waiting().await;
            if renewed.elapsed() >= RENEW_EVERY {
                self.renew().await;
                renewed = Instant::now();
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = tokio::time::sleep_until(renewed + RENEW_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        if tokio::time::timeout(FLUSH_MAX, self.tell_waiting()).await.is_err() {
            tracing::warn!(left = self.waiting(), "limits: redis was not told everything");
        }
    }

    /// Probes until Redis answers. Only this task does, so that an outage costs one connection.
    async fn come_back(&self) {
        let mut pause = PROBE_MIN;
        loop {
            tokio::time::sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
            if self.books.ping().await.is_ok() {
                break;
            }
            pause = pause.saturating_mul(2).min(PROBE_MAX);
        }
        self.away.store(false, Ordering::Release);
        if let Some(spare) = &self.spare {
            // What was served meanwhile waits to be told; the next outage starts from the ledger.
            spare.clear();
        }
        tracing::info!(to_tell = self.waiting(), "limits: redis is back");
    }

    /// Tells what waits, until there is nothing or Redis goes away.
    async fn tell_waiting(&self) {
        loop {
            let batch: Vec<Told> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(AT_ONCE_MAX);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let told = join_all(batch.iter().map(|told| self.tell_now(told))).await;
            let mut failed = Vec::new();
            for (told, result) in batch.into_iter().zip(told) {
                if let Err(error) = result {
                    self.went_away(&error);
                    failed.push(told);
                }
            }
            if !failed.is_empty() {
                let mut waiting = self.waiting.lock();
                for told in failed.into_iter().rev() {
                    waiting.push_front(told);
                }
                return;
            }
        }
    }

    async fn tell_now(&self, told: &Told) -> Result<(), SharedError> {
        match told {
            Told::Settled { customer, id, sequence, posts } => {
                let event = (&self.node, *sequence);
                self.books.settle(customer, *id, None, event, posts).await.map(drop)
            }
            Told::Released { customer, id } => self.books.release(customer, *id, None).await,
        }
    }

    async fn renew(&self) {
        let mut open: HashMap<CustomerId, Vec<RequestId>> = HashMap::new();
        for (id, customer) in self.open.lock().iter() {
            open.entry(customer.clone()).or_default().push(*id);
        }
        for (customer, ids) in open {
            for part in ids.chunks(AT_ONCE_MAX) {
                if let Err(error) = self.books.renew(&customer, lease(), part).await {
                    self.went_away(&error);
                    return;
                }
            }
        }
    }
}
