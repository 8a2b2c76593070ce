//! Books that one gateway keeps in its own memory.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::{Mutex, RwLock};
use permille_types::{CustomerId, NodeId, RequestId};

use crate::{
    Books,
    step::{Base, Extended, Kind, Line, Post, Posted, Reserved, Use},
};

/// The books of all customers that have limits.
#[derive(Debug)]
pub(crate) struct LocalBooks {
    customers: RwLock<HashMap<CustomerId, Arc<Mutex<Books>>>>,
    start: Instant,
    /// Which part of every limit is this gateway's own: one of so many.
    shares: u64,
}

impl LocalBooks {
    pub(crate) fn new(shares: u32) -> Self {
        Self { customers: RwLock::default(), start: Instant::now(), shares: shares.max(1).into() }
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

    pub(crate) fn reserve(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lease_ms: u64,
        lines: &[Line],
    ) -> Reserved {
        let books = self.of(customer);
        let mut books = books.lock();
        if self.shares == 1 {
            return books.reserve(self.now(), id, lease_ms, lines);
        }
        let own: Vec<Line> = lines.iter().map(|line| self.own_share(&books, line)).collect();
        books.reserve(self.now(), id, lease_ms, &own)
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

    pub(crate) fn extend(
        &self,
        customer: &CustomerId,
        id: RequestId,
        lease_ms: u64,
        lines: &[Line],
    ) -> Extended {
        let books = self.of(customer);
        let mut books = books.lock();
        let own: Vec<Line> = lines.iter().map(|line| self.own_share(&books, line)).collect();
        books.extend(self.now(), id, lease_ms, &own)
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

    pub(crate) fn load(&self, customer: &CustomerId, bases: &[Base]) {
        let books = self.of(customer);
        let mut books = books.lock();
        for base in bases {
            books.load(self.now(), base);
        }
    }

    pub(crate) fn read(&self, customer: &CustomerId, counter: &str) -> Option<Use> {
        let books = self.customers.read().get(customer).map(Arc::clone)?;
        books.lock().read(counter)
    }

    /// Clears away what is overdue, and the books of customers that have none left.
    pub(crate) fn tidy(&self) {
        let now = self.now();
        self.customers.write().retain(|_, books| {
            // Whoever holds another handle is about to use it.
            let Some(books) = Arc::get_mut(books) else { return true };
            let books = books.get_mut();
            books.sweep(now);
            !books.is_empty()
        });
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.customers.write().clear();
    }
}
