//! The limits of one gateway: one step for each request, over every limit that it meets.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use permille_types::{CustomerId, NodeId, RequestId, SpendAccount};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{Fleet, Told, lease},
    local::LocalBooks,
    shared::SharedBooks,
    step::{Base, Blocked, Extended, Kind, Line, Post, Reserved, Use},
};

/// How long the ledger may take to say what was spent.
const LOAD_MAX: Duration = Duration::from_secs(2);
/// Loads at once: requests of one customer wait for each other, so that a fresh counter is asked
/// for once.
const LOADS: usize = 64;
/// A counter that is there again after so many loads is evicted faster than it is used.
const STEPS_MAX: usize = 3;

/// Why the ledger did not say what was spent.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;

/// Who knows what was spent before a counter was there.
pub trait Spendings: Send + Sync + 'static {
    /// What each counter starts from: everything in the ledger, and everything of this gateway
    /// that is not there yet.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be known.
    fn bases<'a>(
        &'a self,
        customer: &'a CustomerId,
        counters: Vec<(Arc<str>, Arc<SpendAccount>)>,
    ) -> BoxFuture<'a, Result<Vec<Base>, LoadError>>;
}

/// What is done while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAway {
    /// Requests that meet a limit are refused.
    Refuse,
    /// Each of so many gateways serves its own share of what the ledger says is left.
    Share(u32),
}

/// Where the books are.
#[derive(Debug)]
pub enum Place {
    /// In this process, where a request lasts at most so long.
    Local(Duration),
    /// In Redis.
    Shared(SharedBooks, WhenAway),
}

/// Why a request is not served.
#[derive(Debug)]
pub enum Refused {
    /// A limit leaves no room.
    Blocked(Blocked),
    /// It cannot be known whether one does.
    Unavailable,
}

enum Engine {
    Local { books: LocalBooks, lease_ms: u64 },
    Fleet(Box<Fleet>),
}

/// See the module's text.
pub struct Limits {
    engine: Engine,
    spendings: Arc<dyn Spendings>,
    node: NodeId,
    loads: Vec<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("is_shared", &self.is_shared()).finish_non_exhaustive()
    }
}

/// How the shared books fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether Redis is away.
    pub away: bool,
    /// Settlements that it has not been told.
    pub waiting: usize,
    /// Settlements that it will never be told, for want of room.
    pub dropped: u64,
}

impl Limits {
    /// Limits of the gateway `node`.
    #[must_use]
    pub fn new(place: Place, node: NodeId, spendings: Arc<dyn Spendings>) -> Arc<Self> {
        let engine = match place {
            Place::Local(longest) => Engine::Local {
                books: LocalBooks::new(1),
                lease_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
            },
            Place::Shared(books, when_away) => {
                let spare = match when_away {
                    WhenAway::Refuse => None,
                    WhenAway::Share(gateways) => Some(LocalBooks::new(gateways)),
                };
                Engine::Fleet(Box::new(Fleet::new(books, node.clone(), spare)))
            }
        };
        let loads = (0..LOADS).map(|_| tokio::sync::Mutex::new(())).collect();
        Arc::new(Self { engine, spendings, node, loads })
    }

    /// Whether other gateways use the same books.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Fleet(_))
    }

    /// How the shared books fare.
    #[must_use]
    pub fn health(&self) -> Health {
        match &self.engine {
            Engine::Local { .. } => Health::default(),
            Engine::Fleet(fleet) => {
                Health { away: fleet.is_away(), waiting: fleet.waiting(), dropped: fleet.dropped() }
            }
        }
    }

    /// Takes every line of a request, or none.
    ///
    /// # Errors
    /// [`Refused`] when a limit leaves no room, or that cannot be known.
    pub async fn reserve(
        self: &Arc<Self>,
        customer: &CustomerId,
        id: RequestId,
        lines: &[Line],
    ) -> Result<Reservation, Refused> {
        let (mut reserved, mut at) = self.step(customer, id, lines).await?;
        for _ in 0..STEPS_MAX {
            match reserved {
                Reserved::Granted(uses) => {
                    let limits = Arc::clone(self);
                    let customer = customer.clone();
                    return Ok(Reservation { limits, customer, id, at: Some(at), uses });
                }
                Reserved::Blocked(blocked) => return Err(Refused::Blocked(blocked)),
                Reserved::Unknown(_) => {
                    (reserved, at) = self.load_and_step(customer, id, lines).await?;
                }
            }
        }
        Err(Refused::Unavailable)
    }

    async fn step(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lines: &[Line],
    ) -> Result<(Reserved, At), Refused> {
        let fleet = match &self.engine {
            Engine::Local { books, lease_ms } => {
                return Ok((books.reserve(customer, id, *lease_ms, lines), At::Local));
            }
            Engine::Fleet(fleet) => fleet,
        };
        if !fleet.is_away() {
            let asking = Asking { fleet, customer, id, answered: false };
            let reserved = fleet.books.reserve(customer, id, lease(), lines).await;
            asking.answered();
            match reserved {
                Ok(reserved) => {
                    if matches!(reserved, Reserved::Granted(_)) {
                        fleet.opened(id, customer);
                    }
                    return Ok((reserved, At::Shared));
                }
                Err(error) => {
                    fleet.went_away(&error);
                    if fleet.spare.is_none() {
                        // It may hold there all the same.
                        fleet.tell(Told::Released { customer: customer.clone(), id });
                    }
                }
            }
        }
        let spare = fleet.spare.as_ref().ok_or(Refused::Unavailable)?;
        Ok((spare.reserve(customer, id, lease().lease_ms, lines), At::Spare))
    }

    async fn load_and_step(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lines: &[Line],
    ) -> Result<(Reserved, At), Refused> {
        let place = customer
            .as_str()
            .bytes()
            .fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let loading = match self.loads.get(place % LOADS) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        // Whoever waited finds it loaded.
        let (reserved, at) = self.step(customer, id, lines).await?;
        let Reserved::Unknown(places) = reserved else { return Ok((reserved, at)) };
        let counters = places.iter().filter_map(|place| {
            let line = lines.get(*place)?;
            Some((Arc::clone(&line.counter), line.account.clone()?))
        });
        let asked = self.spendings.bases(customer, counters.collect());
        let bases = match tokio::time::timeout(LOAD_MAX, asked).await {
            Ok(Ok(bases)) => bases,
            Ok(Err(error)) => {
                tracing::warn!(%customer, error = &*error, "what was spent cannot be known");
                return Err(Refused::Unavailable);
            }
            Err(_) => {
                tracing::warn!(%customer, "what was spent cannot be known in time");
                return Err(Refused::Unavailable);
            }
        };
        self.load(customer, at, &bases).await?;
        drop(loading);
        self.step(customer, id, lines).await
    }

    async fn load(&self, customer: &CustomerId, at: At, bases: &[Base]) -> Result<(), Refused> {
        match (&self.engine, at) {
            (Engine::Local { books, .. }, _) => books.load(customer, bases),
            (Engine::Fleet(fleet), At::Spare) => {
                let spare = fleet.spare.as_ref().ok_or(Refused::Unavailable)?;
                spare.load(customer, bases);
            }
            (Engine::Fleet(fleet), _) => {
                if let Err(error) = fleet.books.load(customer, None, bases).await {
                    fleet.went_away(&error);
                }
            }
        }
        Ok(())
    }

    /// Adds what a settled request used, and gives back what it held. `sequence` is that of its
    /// settled record in this gateway's journal.
    pub fn post(&self, customer: &CustomerId, id: RequestId, sequence: u64, posts: Vec<Post>) {
        match &self.engine {
            Engine::Local { books, .. } => {
                books.settle(customer, id, (&self.node, sequence), &posts);
            }
            Engine::Fleet(fleet) => {
                if fleet.is_away()
                    && let Some(spare) = &fleet.spare
                {
                    spare.settle(customer, id, (&self.node, sequence), &posts);
                }
                let customer = customer.clone();
                fleet.tell(Told::Settled { customer, id, sequence, posts: posts.into() });
            }
        }
    }

    fn release(&self, customer: &CustomerId, id: RequestId) {
        match &self.engine {
            Engine::Local { books, .. } => books.release(customer, id),
            Engine::Fleet(fleet) => {
                if let Some(spare) = &fleet.spare {
                    spare.release(customer, id);
                }
                fleet.tell(Told::Released { customer: customer.clone(), id });
            }
        }
    }

    async fn extend(
        &self,
        customer: &CustomerId,
        id: RequestId,
        at: At,
        lines: &[Line],
    ) -> Extended {
        match (&self.engine, at) {
            (Engine::Local { books, lease_ms }, _) => books.extend(customer, id, *lease_ms, lines),
            (Engine::Fleet(fleet), At::Spare) => match &fleet.spare {
                Some(spare) => spare.extend(customer, id, lease().lease_ms, lines),
                None => Extended::Gone,
            },
            (Engine::Fleet(fleet), _) if fleet.is_away() => Extended::Gone,
            (Engine::Fleet(fleet), _) => {
                match fleet.books.extend(customer, id, lease(), lines).await {
                    Ok(extended) => extended,
                    Err(error) => {
                        fleet.went_away(&error);
                        Extended::Gone
                    }
                }
            }
        }
    }

    /// How far a counter is used; `None` when it is not there or Redis does not say.
    pub async fn read(&self, customer: &CustomerId, kind: Kind, counter: &str) -> Option<Use> {
        match &self.engine {
            Engine::Local { books, .. } => books.read(customer, counter),
            Engine::Fleet(fleet) => {
                let read = fleet.books.read(customer, None, &[(kind, counter)]).await;
                read.ok()?.into_iter().next()?
            }
        }
    }

    /// Looks after the books until `stop`; on return everything settled is told, within a bound.
    pub async fn tend(&self, stop: CancellationToken) {
        match &self.engine {
            Engine::Local { books, .. } => loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_mins(1)) => books.tidy(),
                    () = stop.cancelled() => return,
                }
            },
            Engine::Fleet(fleet) => fleet.tend(stop).await,
        }
    }
}

/// A reservation that Redis is being asked for. Whoever leaves meanwhile holds nothing.
struct Asking<'a> {
    fleet: &'a Fleet,
    customer: &'a CustomerId,
    id: RequestId,
    answered: bool,
}

impl Asking<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.fleet.tell(Told::Released { customer: self.customer.clone(), id: self.id });
        }
    }
}

/// Where a reservation was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Local,
    Shared,
    Spare,
}

/// What an open request holds. Dropped without being settled, it is given back.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<Limits>,
    customer: CustomerId,
    id: RequestId,
    /// Absent once settled.
    at: Option<At>,
    uses: Vec<Use>,
}

impl Reservation {
    /// How far each line's counter was used, this request included, when it was made.
    #[must_use]
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// Reserves more money for a reply that goes on. The future holds no part of this.
    #[must_use]
    pub fn extend(&self, lines: Vec<Line>) -> BoxFuture<'static, Extended> {
        let (limits, customer, id) = (Arc::clone(&self.limits), self.customer.clone(), self.id);
        let at = self.at;
        Box::pin(async move {
            match at {
                Some(at) => limits.extend(&customer, id, at, &lines).await,
                None => Extended::Gone,
            }
        })
    }

    /// Puts what the request used in the place of what it held.
    pub fn settle(mut self, sequence: u64, posts: Vec<Post>) {
        self.at = None;
        self.limits.post(&self.customer, self.id, sequence, posts);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.at.is_some() {
            self.limits.release(&self.customer, self.id);
        }
    }
}
