//! Books that one gateway keeps in its own memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use permille_types::{CustomerId, NodeId, RequestId};

use crate::{
    Books,
    step::{Base, Extended, Kind, Line, Post, Posted, Reserved, Use},
    threads::{Arc, Mutex, RwLock},
};

/// How long a reservation of this process lasts unless it is ended before: whoever holds it gives
/// it back, so that this is only for what nobody foresaw.
const LEASE_MS: u64 = 24 * 60 * 60 * 1_000;

/// The books of all customers that have limits.
#[derive(Debug)]
pub(crate) struct LocalBooks {
    customers: RwLock<HashMap<CustomerId, Arc<Mutex<Books>>>>,
    start: Instant,
    /// Which part of every limit is this gateway's own: one of so many.
    shares: u64,
    lease_ms: u64,
}

impl LocalBooks {
    /// Books of one of so many shares.
    pub(crate) fn new(shares: u32) -> Self {
        let shares = shares.max(1).into();
        Self { customers: RwLock::default(), start: Instant::now(), shares, lease_ms: LEASE_MS }
    }

    /// Books where a request lasts at most so long.
    pub(crate) fn lasting(longest: Duration) -> Self {
        let lease_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Self { lease_ms, ..Self::new(1) }
    }

    /// Milliseconds of a clock that nobody sets.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn of(&self, customer: &CustomerId) -> Arc<Mutex<Books>> {
        if let Some(books) = self.customers.read().get(customer) {
            return Arc::clone(books);
        }
        Arc::clone(self.customers.write().entry(customer.clone()).or_default())
    }

    pub(crate) fn reserve(&self, customer: &CustomerId, id: RequestId, lines: &[Line]) -> Reserved {
        let books = self.of(customer);
        let mut books = books.lock();
        if self.shares == 1 {
            return books.reserve(self.now(), id, self.lease_ms, lines);
        }
        let own: Vec<Line> = lines.iter().map(|line| self.own_share(&books, line)).collect();
        books.reserve(self.now(), id, self.lease_ms, &own)
    }

    /// Takes over what was granted elsewhere.
    pub(crate) fn hold(&self, customer: &CustomerId, id: RequestId, lines: &[Line]) {
        self.of(customer).lock().hold(self.now(), id, self.lease_ms, lines);
    }

    /// The line with this gateway's share of its limit: of money, of what is left of it.
    fn own_share(&self, books: &Books, line: &Line) -> Line {
        let limit = match line.kind {
            Kind::Money => {
                let base = books.base(&line.counter).unwrap_or_default();
                let left = line.limit.saturating_sub(base);
                base.saturating_add(left / self.shares)
            }
            // A share of less than one would stop everybody.
            _ => (line.limit / self.shares).max(line.limit.min(1)),
        };
        Line { limit, ..line.clone() }
    }

    pub(crate) fn extend(&self, customer: &CustomerId, id: RequestId, lines: &[Line]) -> Extended {
        let books = self.of(customer);
        let mut books = books.lock();
        let own: Vec<Line> = lines.iter().map(|line| self.own_share(&books, line)).collect();
        books.extend(self.now(), id, self.lease_ms, &own)
    }

    pub(crate) fn settle(
        &self,
        customer: &CustomerId,
        id: RequestId,
        event: (&NodeId, u64),
        posts: &[Post],
    ) -> Posted {
        let own = |post: &Post| Post { limit: (post.limit / self.shares).max(1), ..post.clone() };
        let posts: Vec<Post> = posts.iter().map(own).collect();
        self.of(customer).lock().settle(self.now(), id, event, &posts)
    }

    pub(crate) fn release(&self, customer: &CustomerId, id: RequestId) {
        self.of(customer).lock().release(self.now(), id);
    }

    /// Loads counters with what was spent up to event `sequence` of `node`, whose later events are
    /// in it as far as they have settled.
    pub(crate) fn load(
        &self,
        customer: &CustomerId,
        (node, sequence): (&NodeId, u64),
        bases: &[Base],
    ) {
        let seen = [(node.clone(), sequence)];
        let books = self.of(customer);
        books.lock().load(self.now(), &seen, bases);
    }

    pub(crate) fn read(&self, customer: &CustomerId, counter: &str) -> Option<Use> {
        let books = self.customers.read().get(customer).cloned()?;
        books.lock().read(counter)
    }

    /// Clears away what is overdue, and the books of customers that have none left.
    pub(crate) fn tidy(&self) {
        let now = self.now();
        let all: Vec<_> = self.customers.read().values().cloned().collect();
        for books in all {
            // A request of the customer waits for one step of it at most.
            while books.lock().sweep(now) {}
        }
        self.customers.write().retain(|_, books| {
            // Whoever holds another handle is about to use it.
            Arc::get_mut(books).is_none_or(|books| !books.get_mut().is_empty())
        });
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.customers.write().clear();
    }
}
