//! The limits of one gateway: one step for each request, over every limit that it meets.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use permille_types::{CustomerId, NodeId, RequestId, SpendAccount};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{By, Fleet, Told, lease},
    loads::{Loads, Past},
    local::LocalBooks,
    shared::SharedBooks,
    step::{Base, Blocked, Extended, Kind, Line, Loaded, Post, Reserved, Use},
};

/// How long the ledger may take to say what was spent.
const LOAD_MAX: Duration = Duration::from_secs(2);
/// How long the hand-over of usage waits for the shared books.
const TELL_MAX: Duration = Duration::from_secs(1);
/// A counter that is there again after so many loads is evicted faster than it is used.
const STEPS_MAX: usize = 3;

/// Why the ledger did not say what was spent.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;

/// What the ledger has, as of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booked {
    /// What was spent of each account, in 10⁻⁹ of the currency unit.
    pub nano: Vec<u64>,
    /// Whose events are in it, and up to which.
    pub journals: Vec<(NodeId, u64)>,
}

impl Booked {
    /// Up to which event of `node` it counts; 0 where none is in it.
    #[must_use]
    pub fn sequence_of(&self, node: &NodeId) -> u64 {
        let known = self.journals.iter().find(|(other, _)| other == node);
        known.map_or(0, |(_, sequence)| *sequence)
    }
}

/// What a request of this gateway used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Whose.
    pub customer: CustomerId,
    /// Which request.
    pub id: RequestId,
    /// The sequence number of its settled record.
    pub sequence: u64,
    /// What it adds.
    pub posts: Vec<Post>,
}

/// Who knows what was spent before a counter was there.
pub trait Spendings: Send + Sync + 'static {
    /// What the ledger says was spent of `accounts`.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be known.
    fn booked<'a>(
        &'a self,
        customer: &'a CustomerId,
        accounts: &'a [Arc<SpendAccount>],
    ) -> BoxFuture<'a, Result<Booked, LoadError>>;

    /// Gives `load` what settlements of this gateway that are not in `booked` add to each account.
    /// While it runs none settles, so that each is either given or posted after it.
    ///
    /// # Errors
    /// [`LoadError`] when it is not known; `load` is not called then.
    fn with_unbooked(
        &self,
        customer: &CustomerId,
        accounts: &[Arc<SpendAccount>],
        booked: &Booked,
        load: &mut dyn FnMut(&[u64]),
    ) -> Result<(), LoadError>;

    /// Every settlement of this gateway that the ledger may not have.
    ///
    /// # Errors
    /// [`LoadError`] when they cannot be had.
    fn unbooked_settlements(&self) -> BoxFuture<'_, Result<Vec<Settlement>, LoadError>>;
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
    Local(LocalBooks),
    Fleet(Box<Fleet>),
}

/// See the module's text.
pub struct Limits {
    engine: Engine,
    spendings: Arc<dyn Spendings>,
    node: NodeId,
    loads: Loads,
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
            Place::Local(longest) => Engine::Local(LocalBooks::lasting(longest)),
            Place::Shared(books, when_away) => {
                let gateways = match when_away {
                    WhenAway::Refuse => None,
                    WhenAway::Share(gateways) => Some(gateways),
                };
                Engine::Fleet(Box::new(Fleet::new(books, node.clone(), gateways)))
            }
        };
        Arc::new(Self { engine, spendings, node, loads: Loads::default() })
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
            Engine::Local(_) => Health::default(),
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
        let mut reserved = self.step(customer, id, lines).await?;
        for _ in 0..STEPS_MAX {
            match reserved {
                Reserved::Granted { uses, stale } => {
                    self.refresh(customer, lines, &stale);
                    let (limits, customer) = (Arc::clone(self), customer.clone());
                    return Ok(Reservation { limits, customer, id, is_open: true, uses });
                }
                Reserved::Blocked(blocked) => return Err(Refused::Blocked(blocked)),
                Reserved::Unknown(_) => {
                    reserved = self.load_and_step(customer, id, lines).await?;
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
    ) -> Result<Reserved, Refused> {
        let fleet = match &self.engine {
            Engine::Local(books) => return Ok(books.reserve(customer, id, lines)),
            Engine::Fleet(fleet) => fleet,
        };
        if !fleet.is_away() {
            let asking = Asking { fleet, customer, id, answered: false };
            let reserved = fleet.books.reserve(customer, id, lease(), lines).await;
            asking.answered();
            match reserved {
                Ok(reserved) => {
                    if matches!(reserved, Reserved::Granted { .. }) {
                        fleet.opened(id, customer, lines, By::Redis);
                    }
                    return Ok(reserved);
                }
                Err(error) => {
                    fleet.went_away(&error);
                    if fleet.own().is_none() {
                        // It may hold there all the same.
                        fleet.tell(Told::Released { customer: customer.clone(), id });
                    }
                }
            }
        }
        let own = fleet.own().ok_or(Refused::Unavailable)?;
        let reserved = own.reserve(customer, id, lines);
        if matches!(reserved, Reserved::Granted { .. }) {
            fleet.opened(id, customer, lines, By::OwnShare);
        }
        Ok(reserved)
    }

    async fn load_and_step(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lines: &[Line],
    ) -> Result<Reserved, Refused> {
        let mut past = self.loads.of(customer).await;
        // Whoever waited finds it loaded, or that this failed.
        let reserved = self.step(customer, id, lines).await?;
        let Reserved::Unknown(places) = reserved else { return Ok(reserved) };
        if let Engine::Fleet(fleet) = &self.engine
            && !fleet.is_away()
            && !fleet.is_whole().await
        {
            // What it has lost is made up for first.
            return self.step(customer, id, lines).await;
        }
        if let Err(error) = self.try_to_load(&mut past, customer, lines, &places).await {
            if let Some(error) = error {
                tracing::warn!(%customer, error = &*error, "what was spent cannot be known");
            }
            return Err(Refused::Unavailable);
        }
        drop(past);
        self.step(customer, id, lines).await
    }

    /// Loads counters unless that failed a moment ago, and takes note of how it went.
    ///
    /// # Errors
    /// Why it failed; nothing where that was told before.
    async fn try_to_load(
        &self,
        past: &mut Past,
        customer: &CustomerId,
        lines: &[Line],
        places: &[usize],
    ) -> Result<(), Option<LoadError>> {
        if past.has_just_failed(customer, Instant::now()) {
            return Err(None);
        }
        let loaded = self.load(customer, lines, places).await;
        past.note(customer, loaded, Instant::now())
    }

    /// Loads the counters of some of `lines` with what was spent.
    async fn load(
        &self,
        customer: &CustomerId,
        lines: &[Line],
        places: &[usize],
    ) -> Result<Loaded, LoadError> {
        let lines = places.iter().filter_map(|place| lines.get(*place));
        let lines = lines.filter_map(|line| Some((&line.counter, line.account.clone()?)));
        let (counters, accounts): (Vec<_>, Vec<_>) = lines.unzip();
        let asked = self.spendings.booked(customer, &accounts);
        let booked = tokio::time::timeout(LOAD_MAX, asked).await??;
        let bases = |own: &[u64]| -> Vec<Base> {
            let own = own.iter().chain(std::iter::repeat(&0));
            let spent =
                booked.nano.iter().zip(own).map(|(booked, own)| booked.saturating_add(*own));
            let spent = counters.iter().zip(spent);
            spent.map(|(counter, spent)| Base { counter: Arc::clone(counter), spent }).collect()
        };
        let books = match &self.engine {
            Engine::Local(books) => books,
            Engine::Fleet(fleet) => {
                let Some(own) = fleet.own() else {
                    let loaded =
                        fleet.books.load(customer, None, &booked.journals, &bases(&[])).await;
                    return loaded.or_else(|error| {
                        // The next step says so.
                        fleet.went_away(&error);
                        Ok(Loaded::Now)
                    });
                };
                own
            }
        };
        let event = (&self.node, booked.sequence_of(&self.node));
        self.spendings.with_unbooked(customer, &accounts, &booked, &mut |own| {
            books.load(customer, event, &bases(own));
        })?;
        Ok(Loaded::Now)
    }

    /// Loads counters again that are due for it, beside the request that was told so.
    fn refresh(self: &Arc<Self>, customer: &CustomerId, lines: &[Line], stale: &[usize]) {
        if stale.is_empty() {
            return;
        }
        let (limits, customer) = (Arc::clone(self), customer.clone());
        let (lines, stale) = (lines.to_vec(), stale.to_vec());
        drop(tokio::spawn(async move {
            let mut past = limits.loads.of(&customer).await;
            let is_away = matches!(&limits.engine, Engine::Fleet(fleet) if fleet.is_away());
            if !is_away
                && let Err(Some(error)) =
                    limits.try_to_load(&mut past, &customer, &lines, &stale).await
            {
                tracing::debug!(%customer, error = &*error, "limits: counters are as they were");
            }
        }));
    }

    /// Adds what a settled request used, and gives back what it held. `sequence` is that of its
    /// settled record in this gateway's journal.
    pub fn post(&self, customer: &CustomerId, id: RequestId, sequence: u64, posts: Vec<Post>) {
        match &self.engine {
            Engine::Local(books) => {
                books.settle(customer, id, (&self.node, sequence), &posts);
            }
            Engine::Fleet(fleet) => {
                if let Some(own) = fleet.ended(id) {
                    own.settle(customer, id, (&self.node, sequence), &posts);
                }
                let customer = customer.clone();
                fleet.tell(Told::Settled { customer, id, sequence, posts: posts.into() });
            }
        }
    }

    /// Waits, within a bound, until the shared books have every settlement of this gateway up to
    /// `sequence`, or are away: what they have not, a crash makes them lack once it is in the
    /// ledger. Whether they have them now.
    pub async fn told_up_to(&self, sequence: u64) -> bool {
        let Engine::Fleet(fleet) = &self.engine else { return true };
        // Usage is never held up by limits for longer.
        let told = tokio::time::timeout(TELL_MAX, fleet.told_up_to(sequence)).await;
        if told.is_err() {
            tracing::warn!(sequence, "limits: redis is told of usage later than it should be");
        }
        told.is_ok() && !fleet.is_away()
    }

    fn release(&self, customer: &CustomerId, id: RequestId) {
        match &self.engine {
            Engine::Local(books) => books.release(customer, id),
            Engine::Fleet(fleet) => {
                if let Some(own) = fleet.ended(id) {
                    own.release(customer, id);
                }
                fleet.tell(Told::Released { customer: customer.clone(), id });
            }
        }
    }

    async fn extend(&self, customer: &CustomerId, id: RequestId, lines: &[Line]) -> Extended {
        let fleet = match &self.engine {
            Engine::Local(books) => return books.extend(customer, id, lines),
            Engine::Fleet(fleet) => fleet,
        };
        let mut extended = fleet.extend(customer, id, lines).await;
        if extended == Extended::Gone && self.has_loaded(fleet, customer, lines).await {
            extended = fleet.extend(customer, id, lines).await;
        }
        if extended == Extended::Granted {
            fleet.extended(id, lines);
        }
        extended
    }

    /// Loads counters that whoever counts now may not have any more; whether it has them now.
    async fn has_loaded(&self, fleet: &Fleet, customer: &CustomerId, lines: &[Line]) -> bool {
        let counts = if fleet.is_away() { fleet.own().is_some() } else { fleet.is_whole().await };
        if !counts {
            return false;
        }
        let mut past = self.loads.of(customer).await;
        let places: Vec<usize> = (0..lines.len()).collect();
        self.try_to_load(&mut past, customer, lines, &places).await.is_ok()
    }

    /// How far a counter is used; `None` when it is not there or Redis does not say.
    pub async fn read(&self, customer: &CustomerId, kind: Kind, counter: &str) -> Option<Use> {
        match &self.engine {
            Engine::Local(books) => books.read(customer, counter),
            Engine::Fleet(fleet) => {
                let read = fleet.books.read(customer, None, &[(kind, counter)]).await;
                read.ok()?.into_iter().next()?
            }
        }
    }

    /// Looks after the books until `stop`; on return everything settled is told, within a bound.
    pub async fn tend(&self, stop: CancellationToken) {
        match &self.engine {
            Engine::Local(books) => loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_mins(1)) => books.tidy(),
                    () = stop.cancelled() => return,
                }
            },
            Engine::Fleet(fleet) => fleet.tend(&*self.spendings, stop).await,
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

/// What an open request holds. Dropped without being settled, it is given back.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<Limits>,
    customer: CustomerId,
    id: RequestId,
    /// Until it settles.
    is_open: bool,
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
        Box::pin(async move { limits.extend(&customer, id, &lines).await })
    }

    /// Puts what the request used in the place of what it held.
    pub fn settle(mut self, sequence: u64, posts: Vec<Post>) {
        self.is_open = false;
        self.limits.post(&self.customer, self.id, sequence, posts);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_open {
            self.limits.release(&self.customer, self.id);
        }
    }
}
