//! The books of one customer: a state machine without clock, input or output. `step.lua` is the
//! same machine inside Redis; `tests/steps.rs` holds the two against each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use permille_types::{NodeId, RequestId};

use crate::step::{
    Base, Blocked, Extended, IDLE_MS, Kind, Line, Post, Posted, Reserved, SCALE, SETTLED_MS,
    SWEEP_MAX, Use,
};

/// All counters and open reservations of one customer.
#[derive(Debug, Default)]
pub struct Books {
    counters: HashMap<Arc<str>, Counter>,
    reservations: HashMap<RequestId, Reservation>,
    due: BTreeSet<(u64, Due)>,
}

#[derive(Debug)]
struct Counter {
    kind: Kind,
    /// Used for good; of rates, scaled and as of `at`.
    used: u64,
    held: u64,
    /// When it was last used.
    at: u64,
    /// Up to which event of each node `used` is complete.
    seen: BTreeMap<NodeId, u64>,
    /// What it was loaded with.
    base: u64,
}

#[derive(Debug)]
enum Reservation {
    Open { due: u64, holds: Vec<(Arc<str>, u64)> },
    Settled,
}

/// What is looked at when its time has come, counters before reservations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Counter(Arc<str>),
    Reservation(RequestId),
}

impl Counter {
    fn new(kind: Kind, at: u64) -> Self {
        Self { kind, used: 0, held: 0, at, seen: BTreeMap::new(), base: 0 }
    }

    /// What is used of a rate by `now`.
    fn leaked(&self, limit: u64, now: u64) -> u64 {
        self.used.saturating_sub(limit.saturating_mul(now.saturating_sub(self.at)))
    }

    fn leak(&mut self, limit: u64, now: u64) {
        self.used = self.leaked(limit, now);
        self.at = self.at.max(now);
    }

    fn is(&self) -> Use {
        let used = match self.kind {
            Kind::Requests | Kind::Tokens => self.used.div_ceil(SCALE),
            Kind::Open | Kind::Money => self.used,
        };
        Use { used, held: self.held }
    }
}

/// How much of a line is held: never more tokens than a minute has, so that a large request goes
/// when nothing else does and carries its overage.
fn held_of(line: &Line) -> u64 {
    match line.kind {
        Kind::Requests => 0,
        Kind::Tokens => line.take.min(line.limit),
        Kind::Open => 1,
        Kind::Money => line.take,
    }
}

impl Books {
    /// Reserves every line, or none. The same request again gets what it has.
    pub fn reserve(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) -> Reserved {
        self.sweep(now);
        if self.reservations.contains_key(&id) {
            return Reserved::Granted(lines.iter().map(|line| self.is(&line.counter)).collect());
        }
        let unknown: Vec<usize> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.kind == Kind::Money && !line.fresh)
            .filter(|(_, line)| !self.counters.contains_key(&line.counter))
            .map(|(place, _)| place)
            .collect();
        if !unknown.is_empty() {
            return Reserved::Unknown(unknown);
        }
        let mut places = lines.iter().enumerate();
        if let Some(blocked) = places.find_map(|(place, line)| self.blocked(now, place, line)) {
            return Reserved::Blocked(blocked);
        }
        let uses = lines.iter().map(|line| self.take(now, line)).collect();
        let holds = lines.iter().filter(|line| line.kind != Kind::Requests);
        let holds = holds.map(|line| (Arc::clone(&line.counter), held_of(line))).collect();
        let due = now.saturating_add(lease_ms);
        self.reservations.insert(id, Reservation::Open { due, holds });
        self.due.insert((due, Due::Reservation(id)));
        Reserved::Granted(uses)
    }

    /// Why a line has no room.
    fn blocked(&self, now: u64, place: usize, line: &Line) -> Option<Blocked> {
        let counter = self.counters.get(&line.counter);
        let held = counter.map_or(0, |counter| counter.held);
        let capacity = line.limit.saturating_mul(SCALE);
        let scaled = |held: u64| held.saturating_mul(SCALE);
        let (used, wanted, room) = match line.kind {
            Kind::Requests | Kind::Tokens => {
                let used = counter.map_or(0, |counter| counter.leaked(line.limit, now));
                let more = if line.kind == Kind::Requests { 1 } else { held_of(line) };
                let wanted = used.saturating_add(scaled(held.saturating_add(more)));
                (used.div_ceil(SCALE), wanted, capacity)
            }
            Kind::Open => (0, held.saturating_add(1), line.limit),
            Kind::Money => {
                let spent = counter.map_or(0, |counter| counter.used);
                (spent, spent.saturating_add(held).saturating_add(line.take), line.limit)
            }
        };
        let is_rate = matches!(line.kind, Kind::Requests | Kind::Tokens);
        let short = wanted.checked_sub(room).filter(|short| *short > 0)?;
        let wait_ms = (is_rate && line.limit > 0).then(|| short.div_ceil(line.limit));
        Some(Blocked { line: place, is: Use { used, held }, wait_ms })
    }

    fn take(&mut self, now: u64, line: &Line) -> Use {
        let counter = self.counter(now, line.kind, &line.counter);
        match line.kind {
            Kind::Requests => {
                counter.leak(line.limit, now);
                counter.used = counter.used.saturating_add(SCALE);
            }
            Kind::Tokens => counter.leak(line.limit, now),
            Kind::Open | Kind::Money => counter.at = now,
        }
        counter.held = counter.held.saturating_add(held_of(line));
        counter.is()
    }

    fn counter(&mut self, now: u64, kind: Kind, name: &Arc<str>) -> &mut Counter {
        let due = &mut self.due;
        self.counters.entry(Arc::clone(name)).or_insert_with(|| {
            due.insert((now.saturating_add(IDLE_MS), Due::Counter(Arc::clone(name))));
            Counter::new(kind, now)
        })
    }

    fn is(&self, counter: &Arc<str>) -> Use {
        self.counters.get(counter).map_or(Use::default(), Counter::is)
    }

    /// Reserves more money for an open request and renews its lease.
    pub fn extend(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) -> Extended {
        self.sweep(now);
        let known = lines.iter().all(|line| self.counters.contains_key(&line.counter));
        let open = matches!(self.reservations.get(&id), Some(Reservation::Open { .. }));
        if !(open && known) {
            return Extended::Gone;
        }
        let mut places = lines.iter().enumerate();
        if let Some(blocked) = places.find_map(|(place, line)| self.blocked(now, place, line)) {
            return Extended::Blocked(blocked);
        }
        for line in lines {
            self.take(now, line);
        }
        if let Some(Reservation::Open { holds, .. }) = self.reservations.get_mut(&id) {
            holds.extend(lines.iter().map(|line| (Arc::clone(&line.counter), line.take)));
        }
        self.renew(now, id, lease_ms);
        Extended::Granted
    }

    /// Renews the lease of an open request.
    pub fn renew(&mut self, now: u64, id: RequestId, lease_ms: u64) {
        self.sweep(now);
        let fresh = now.saturating_add(lease_ms);
        if let Some(Reservation::Open { due, .. }) = self.reservations.get_mut(&id)
            && fresh > *due
        {
            self.due.remove(&(*due, Due::Reservation(id)));
            *due = fresh;
            self.due.insert((fresh, Due::Reservation(id)));
        }
    }

    /// Puts what a request used in the place of what was held for it; an expired reservation makes
    /// no difference. Of money, what event `sequence` of `node` adds is added only to counters that
    /// were not loaded with it.
    pub fn settle(
        &mut self,
        now: u64,
        id: RequestId,
        (node, sequence): (&NodeId, u64),
        posts: &[Post],
    ) -> Posted {
        self.sweep(now);
        if let Some(Reservation::Settled) = self.reservations.get(&id) {
            return Posted::Before;
        }
        self.release(now, id);
        for post in posts {
            match post.kind {
                Kind::Tokens => {
                    let counter = self.counter(now, post.kind, &post.counter);
                    counter.leak(post.limit, now);
                    counter.used = counter.used.saturating_add(post.amount.saturating_mul(SCALE));
                }
                Kind::Money => {
                    let Some(counter) = self.counters.get_mut(&post.counter) else { continue };
                    if counter.seen.get(node).is_none_or(|seen| sequence > *seen) {
                        counter.used = counter.used.saturating_add(post.amount);
                        counter.at = counter.at.max(now);
                    }
                }
                Kind::Requests | Kind::Open => {}
            }
        }
        let due = now.saturating_add(SETTLED_MS);
        self.reservations.insert(id, Reservation::Settled);
        self.due.insert((due, Due::Reservation(id)));
        Posted::Now
    }

    /// Gives back what an open request holds.
    pub fn release(&mut self, now: u64, id: RequestId) {
        self.sweep(now);
        let Some(Reservation::Open { due, .. }) = self.reservations.get(&id) else { return };
        self.due.remove(&(*due, Due::Reservation(id)));
        self.void(id);
    }

    fn void(&mut self, id: RequestId) {
        let Some(Reservation::Open { holds, .. }) = self.reservations.remove(&id) else { return };
        for (counter, held) in holds {
            if let Some(counter) = self.counters.get_mut(&counter) {
                counter.held = counter.held.saturating_sub(held);
            }
        }
    }

    /// Gives a counter of money that is not there what it starts from.
    pub fn load(&mut self, now: u64, base: &Base) {
        self.sweep(now);
        if self.counters.contains_key(&base.counter) {
            return;
        }
        let counter = self.counter(now, Kind::Money, &base.counter);
        counter.used = base.spent;
        counter.base = base.spent;
        counter.seen = base.seen.iter().cloned().collect();
    }

    /// What a counter of money was loaded with.
    pub(crate) fn base(&self, counter: &Arc<str>) -> Option<u64> {
        self.counters.get(counter).map(|counter| counter.base)
    }

    /// How far a counter is used; absent when it is not there.
    #[must_use]
    pub fn read(&self, counter: &str) -> Option<Use> {
        self.counters.get(counter).map(Counter::is)
    }

    /// Whether nothing is in them any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.reservations.is_empty()
    }

    /// Voids reservations whose lease has ended and forgets idle counters, some of them.
    pub fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP_MAX {
            let Some((due, _)) = self.due.first() else { return };
            if *due > now {
                return;
            }
            let Some((_, what)) = self.due.pop_first() else { return };
            match what {
                Due::Counter(name) => self.forget(now, name),
                Due::Reservation(id) => match self.reservations.get(&id) {
                    Some(Reservation::Open { .. }) => self.void(id),
                    _ => drop(self.reservations.remove(&id)),
                },
            }
        }
    }

    fn forget(&mut self, now: u64, name: Arc<str>) {
        let Some(counter) = self.counters.get(&name) else { return };
        let idle = now.saturating_sub(counter.at) >= IDLE_MS;
        if idle && counter.held == 0 {
            self.counters.remove(&name);
        } else {
            let base = if idle { now } else { counter.at };
            self.due.insert((base.saturating_add(IDLE_MS), Due::Counter(name)));
        }
    }
}
