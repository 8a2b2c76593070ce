//! The shared books as one gateway of several uses them: what is told to Redis off the path of a
//! request, and who counts while it is away.
//!
//! Who counts is in [`standing`]; how Redis is come back to in [`back`].

mod back;
mod identity;
mod probes;
mod standing;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use permille_types::{CustomerId, NodeId, RequestId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) use standing::By;

use crate::{
    limits::Spendings,
    local::LocalBooks,
    shared::{Lease, SharedBooks, SharedError},
    step::{Extended, Line, Post},
};
use identity::Identity;
use standing::{Open, Standing, State};

/// How long a reservation holds without being renewed: what a killed gateway held comes back then.
const LEASE: Duration = Duration::from_mins(1);
/// Three renewals within a lease, so that two may be lost.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// How often a gateway answers the roll, and so notices that Redis lost its data.
const ROLL_EVERY: Duration = Duration::from_secs(1);
/// Settlements that wait for Redis: 10 minutes at 1,000 requests a second, in some 300 MiB at most.
const WAITING_MAX: usize = 600_000;
/// Settlements that are told at once, over one connection.
const AT_ONCE_MAX: usize = 64;
/// How long the last settlements may take when the gateway stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What is told to Redis off the path of a request.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// A request has settled.
    Settled { customer: CustomerId, id: RequestId, sequence: u64, posts: Arc<[Post]> },
    /// A request was not made.
    Released { customer: CustomerId, id: RequestId },
    /// A request was let in by this gateway's own share.
    Held { customer: CustomerId, id: RequestId, lines: Arc<[Line]> },
}

/// One gateway's side of the shared books.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) books: SharedBooks,
    node: NodeId,
    /// Who counts, and what is open.
    standing: Standing,
    /// How many gateways share the limits: as configured, or as many as answered the roll last.
    gateways: AtomicUsize,
    waiting: Mutex<VecDeque<Told>>,
    more: Notify,
    /// Sequence numbers of the settlements that Redis has not taken.
    untold: Mutex<BTreeSet<u64>>,
    fewer: Notify,
    dropped: AtomicU64,
    /// Which Redis it is, and whether it has what it had.
    identity: Identity,
}

/// When the next reservation is made, and for how long.
pub(crate) fn lease() -> Lease {
    Lease { now: None, lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX) }
}

impl Fleet {
    pub(crate) fn new(books: SharedBooks, node: NodeId, gateways: Option<u32>) -> Self {
        Self {
            books,
            node,
            standing: Standing::new(gateways),
            gateways: usize::try_from(gateways.unwrap_or(1)).unwrap_or(usize::MAX).into(),
            waiting: Mutex::default(),
            more: Notify::new(),
            untold: Mutex::default(),
            fewer: Notify::new(),
            dropped: AtomicU64::new(0),
            identity: Identity::default(),
        }
    }

    /// Whether Redis does not count now.
    pub(crate) fn is_away(&self) -> bool {
        self.standing.state() != State::Shared
    }

    /// The books of this gateway's own share, while they count.
    pub(crate) fn own(&self) -> Option<&LocalBooks> {
        self.standing.own()
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
        let error: &dyn std::error::Error = error;
        match self.standing.go_away() {
            State::Away => return,
            State::Shared => {
                tracing::error!(error, serves = self.standing.serves(), "limits: redis is away");
            }
            // Its own share goes on as it was.
            State::Returning => tracing::error!(error, "limits: redis is away again"),
        }
        self.more.notify_one();
        self.fewer.notify_waiters();
    }

    /// A reservation was granted.
    pub(crate) fn opened(&self, id: RequestId, customer: &CustomerId, lines: &[Line], by: By) {
        let open = Open { customer: customer.clone(), lines: lines.into() };
        let (customer, lines) = (open.customer.clone(), Arc::clone(&open.lines));
        if self.standing.opened(id, open, by) {
            self.tell(Told::Held { customer, id, lines });
        }
    }

    /// Asks whoever counts now for more of a reservation.
    pub(crate) async fn extend(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lines: &[Line],
    ) -> Extended {
        match self.own() {
            Some(own) => own.extend(customer, id, lines),
            None if self.is_away() => Extended::Gone,
            None => match self.books.extend(customer, id, lease(), lines).await {
                Ok(extended) => extended,
                Err(error) => {
                    self.went_away(&error);
                    Extended::Gone
                }
            },
        }
    }

    /// More of a reservation was granted.
    pub(crate) fn extended(&self, id: RequestId, more: &[Line]) {
        self.standing.extended(id, more);
    }

    /// A request is not open any more. The books of this gateway's own share, while they count.
    pub(crate) fn ended(&self, id: RequestId) -> Option<&LocalBooks> {
        self.standing.ended(id)
    }

    /// Tells Redis soon what became of a request; whoever calls does not wait.
    pub(crate) fn tell(&self, told: Told) {
        if let Told::Settled { sequence, .. } = &told {
            self.untold.lock().insert(*sequence);
        }
        let lost = {
            let mut waiting = self.waiting.lock();
            let lost = if waiting.len() >= WAITING_MAX { waiting.pop_front() } else { None };
            waiting.push_back(told);
            lost
        };
        if let Some(lost) = lost {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.is_told(&lost);
        }
        self.more.notify_one();
    }

    /// Nobody waits for it any more.
    fn is_told(&self, told: &Told) {
        if let Told::Settled { sequence, .. } = told {
            self.untold.lock().remove(sequence);
        }
    }

    /// Waits until Redis has taken every settlement up to `sequence`, or is away.
    pub(crate) async fn told_up_to(&self, sequence: u64) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            // Listens before it looks, so that nothing is missed in between.
            fewer.as_mut().enable();
            if self.is_away() || self.untold.lock().first().is_none_or(|first| *first > sequence) {
                return;
            }
            fewer.await;
        }
    }

    /// Tells, renews and comes back, until `stop`; then tells what is left, within a bound.
    pub(crate) async fn tend(&self, spendings: &dyn Spendings, stop: CancellationToken) {
        let mut renewed = Instant::now();
        let mut rolled = None;
        while !stop.is_cancelled() {
            if self.is_away() {
                tokio::select! {
                    () = self.come_back(spendings) => {}
                    () = stop.cancelled() => break,
                }
                (renewed, rolled) = (Instant::now(), None);
                continue;
            }
            if rolled.is_none_or(|at: Instant| at.elapsed() >= ROLL_EVERY) {
                self.answer_the_roll().await;
                rolled = Some(Instant::now());
            }
            match self.tell_for(ROLL_EVERY).await {
                Ok(true) => {}
                // The roll and the leases do not wait for a busy minute to end.
                Ok(false) => self.more.notify_one(),
                Err(error) => {
                    self.went_away(&error);
                    continue;
                }
            }
            if renewed.elapsed() >= RENEW_EVERY {
                renewed = Instant::now();
                if let Err(error) = self.renew().await {
                    self.went_away(&error);
                    continue;
                }
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = tokio::time::sleep(ROLL_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        let told = tokio::time::timeout(FLUSH_MAX, self.tell_waiting()).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::warn!(left = self.waiting(), "limits: redis was not told everything");
        }
    }

    /// Tells everything that waits.
    async fn tell_waiting(&self) -> Result<(), SharedError> {
        while !self.tell_for(ROLL_EVERY).await? {}
        Ok(())
    }

    /// Tells what waits, for some time at most; whether that was all.
    async fn tell_for(&self, time: Duration) -> Result<bool, SharedError> {
        let began = Instant::now();
        while began.elapsed() < time {
            let batch: Vec<Told> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(AT_ONCE_MAX);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return Ok(true);
            }
            // Back to where it was, if this is not awaited to its end.
            let mut untold = Untold { waiting: &self.waiting, batch };
            let told = join_all(untold.batch.iter().map(|told| self.tell_now(told))).await;
            let mut failed = None;
            let mut results = told.into_iter();
            untold.batch.retain(|told| {
                let result = results.next();
                let is_left = matches!(result, Some(Err(_)));
                if let Some(Err(error)) = result {
                    failed = Some(error);
                } else {
                    self.is_told(told);
                }
                is_left
            });
            self.fewer.notify_waiters();
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(false)
    }

    async fn tell_now(&self, told: &Told) -> Result<(), SharedError> {
        match told {
            Told::Settled { customer, id, sequence, posts } => {
                let event = (&self.node, *sequence);
                self.books.settle(customer, *id, None, event, posts).await.map(drop)
            }
            Told::Released { customer, id } => self.books.release(customer, *id, None).await,
            Told::Held { customer, id, lines } => {
                self.books.hold(customer, *id, lease(), lines).await
            }
        }
    }

    /// Renews what is open; what Redis does not have any more is made again.
    async fn renew(&self) -> Result<(), SharedError> {
        for (customer, ids) in self.standing.all_open() {
            for part in ids.chunks(AT_ONCE_MAX) {
                for place in self.books.renew(&customer, lease(), part).await? {
                    let Some(id) = part.get(place) else { continue };
                    // It may have ended meanwhile; what is told after this gives it back.
                    if let Some(Open { customer, lines }) = self.standing.open(*id) {
                        self.books.hold(&customer, *id, lease(), &lines).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is being told.
struct Untold<'a> {
    waiting: &'a Mutex<VecDeque<Told>>,
    batch: Vec<Told>,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        for told in self.batch.drain(..).rev() {
            waiting.push_front(told);
        }
    }
}
