//! The books of one customer: a state machine without clock, input or output. `step.lua` is the
//! same machine inside Redis; `tests/steps` holds the two against each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use permille_types::{NodeId, RequestId};

use crate::{
    log::Logs,
    step::{
        Base, Blocked, Extended, Kind, LOG_MAX, Line, Loaded, Post, Posted, REFRESH_AGAIN_MS,
        REFRESH_MS, Reserved, SCALE, SETTLED_MS, SWEEP_MAX, Use, idle_ms,
    },
};

/// All counters and open reservations of one customer.
#[derive(Debug, Default)]
pub struct Books {
    counters: HashMap<Arc<str>, Counter>,
    reservations: HashMap<RequestId, Reservation>,
    due: BTreeSet<(u64, Due)>,
    /// Only of books that several gateways share: one gateway alone knows its own settlements.
    logs: Option<Logs>,
}

#[derive(Debug)]
struct Counter {
    kind: Kind,
    /// Used for good; of rates, scaled and as of `at`.
    used: u64,
    held: u64,
    /// When it was last used.
    at: u64,
    /// Of money: what it was loaded with; absent while it is not loaded and only holds.
    base: Option<u64>,
    /// Up to which event of each node `base` is complete.
    seen: BTreeMap<NodeId, u64>,
    /// When it is to be loaded again.
    refresh: u64,
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
        let seen = BTreeMap::new();
        Self { kind, used: 0, held: 0, at, base: None, seen, refresh: u64::MAX }
    }

    /// Whether it counts all that it should.
    fn is_known(&self) -> bool {
        self.kind != Kind::Money || self.base.is_some()
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
    /// Books as several gateways share them: they remember settlements until the ledger has them.
    #[must_use]
    pub fn shared() -> Self {
        Self { logs: Some(Logs::default()), ..Self::default() }
    }

    /// Reserves every line, or none. The same request again gets what it has.
    pub fn reserve(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) -> Reserved {
        self.sweep(now);
        if self.reservations.contains_key(&id) {
            let uses = lines.iter().map(|line| self.is(&line.counter)).collect();
            return Reserved::Granted { uses, stale: Vec::new() };
        }
        let is_unknown = |line: &Line| {
            let counter = self.counters.get(&line.counter);
            line.kind == Kind::Money && !line.fresh && !counter.is_some_and(Counter::is_known)
        };
        let unknown = places(lines, is_unknown);
        if !unknown.is_empty() {
            return Reserved::Unknown(unknown);
        }
        let mut each = lines.iter().enumerate();
        if let Some(blocked) = each.find_map(|(place, line)| self.blocked(now, place, line)) {
            return Reserved::Blocked(blocked);
        }
        let uses = lines.iter().map(|line| self.take(now, line)).collect();
        self.open(now, id, lease_ms, lines);
        let stale = places(lines, |line| {
            let counter = self.counters.get(&line.counter);
            counter.is_some_and(|counter| counter.refresh <= now)
        });
        for line in stale.iter().filter_map(|place| lines.get(*place)) {
            if let Some(counter) = self.counters.get_mut(&line.counter) {
                counter.refresh = now.saturating_add(REFRESH_AGAIN_MS);
            }
        }
        Reserved::Granted { uses, stale }
    }

    fn open(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) {
        let holds = lines.iter().filter(|line| line.kind != Kind::Requests);
        let holds = holds.map(|line| (Arc::clone(&line.counter), held_of(line))).collect();
        let due = now.saturating_add(lease_ms);
        self.reservations.insert(id, Reservation::Open { due, holds });
        self.due.insert((due, Due::Reservation(id)));
    }

    /// Makes a reservation that was granted before again, whatever room there is: the books had
    /// lost it. One that is there is renewed, one that has settled stays so.
    pub fn hold(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) {
        self.sweep(now);
        if self.reservations.contains_key(&id) {
            self.renew(now, id, lease_ms);
            return;
        }
        for line in lines.iter().filter(|line| line.kind != Kind::Requests) {
            let held = held_of(line);
            let counter = self.counter(now, line.kind, &line.counter);
            counter.held = counter.held.saturating_add(held);
        }
        self.open(now, id, lease_ms, lines);
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
        let refresh = self.refresh_after(now);
        let counter = self.counter(now, line.kind, &line.counter);
        match line.kind {
            Kind::Requests => {
                counter.leak(line.limit, now);
                counter.used = counter.used.saturating_add(SCALE);
            }
            Kind::Tokens => counter.leak(line.limit, now),
            Kind::Open => counter.at = now,
            Kind::Money => {
                counter.at = now;
                if counter.base.is_none() {
                    counter.base = Some(0);
                    counter.refresh = refresh;
                }
            }
        }
        counter.held = counter.held.saturating_add(held_of(line));
        counter.is()
    }

    /// When a counter that is loaded now is to be loaded again.
    fn refresh_after(&self, now: u64) -> u64 {
        if self.logs.is_some() { now.saturating_add(REFRESH_MS) } else { u64::MAX }
    }

    fn counter(&mut self, now: u64, kind: Kind, name: &Arc<str>) -> &mut Counter {
        let due = &mut self.due;
        self.counters.entry(Arc::clone(name)).or_insert_with(|| {
            due.insert((now.saturating_add(idle_ms(kind)), Due::Counter(Arc::clone(name))));
            Counter::new(kind, now)
        })
    }

    fn is(&self, counter: &Arc<str>) -> Use {
        self.counters.get(counter).map_or(Use::default(), Counter::is)
    }

    /// Reserves more money for an open request and renews its lease.
    pub fn extend(&mut self, now: u64, id: RequestId, lease_ms: u64, lines: &[Line]) -> Extended {
        self.sweep(now);
        let is_known =
            |line: &Line| self.counters.get(&line.counter).is_some_and(Counter::is_known);
        let known = lines.iter().all(is_known);
        let open = matches!(self.reservations.get(&id), Some(Reservation::Open { .. }));
        if !(open && known) {
            return Extended::Gone;
        }
        let mut each = lines.iter().enumerate();
        if let Some(blocked) = each.find_map(|(place, line)| self.blocked(now, place, line)) {
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

    /// Renews the lease of an open request; false when it is not there, open or settled.
    pub fn renew(&mut self, now: u64, id: RequestId, lease_ms: u64) -> bool {
        self.sweep(now);
        let fresh = now.saturating_add(lease_ms);
        match self.reservations.get_mut(&id) {
            Some(Reservation::Open { due, .. }) if fresh > *due => {
                self.due.remove(&(*due, Due::Reservation(id)));
                *due = fresh;
                self.due.insert((fresh, Due::Reservation(id)));
                true
            }
            Some(_) => true,
            None => false,
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
        if self.logs.is_some() {
            let due = now.saturating_add(SETTLED_MS);
            self.reservations.insert(id, Reservation::Settled);
            self.due.insert((due, Due::Reservation(id)));
        }
        let adds = |post: &&Post| post.kind == Kind::Money && post.amount > 0;
        let money = || posts.iter().filter(adds);
        let mut is_long = false;
        if let Some(logs) = &mut self.logs
            && money().next().is_some()
        {
            if !logs.add(node, sequence, money()) {
                return Posted::Before;
            }
            is_long = logs.added().is_multiple_of(LOG_MAX);
        }
        for post in posts {
            match post.kind {
                Kind::Tokens => {
                    let counter = self.counter(now, post.kind, &post.counter);
                    counter.leak(post.limit, now);
                    counter.used = counter.used.saturating_add(post.amount.saturating_mul(SCALE));
                }
                Kind::Money => {
                    let Some(counter) = self.counters.get_mut(&post.counter) else { continue };
                    let is_new = counter.seen.get(node).is_none_or(|seen| sequence > *seen);
                    if counter.base.is_some() && is_new {
                        counter.used = counter.used.saturating_add(post.amount);
                        counter.at = counter.at.max(now);
                        if is_long {
                            counter.refresh = counter.refresh.min(now);
                        }
                    }
                }
                Kind::Requests | Kind::Open => {}
            }
        }
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

    /// Gives counters of money what they start from, those that are there already too: what was
    /// told and is not in `spent` is added, what is in it is not counted twice.
    pub fn load(&mut self, now: u64, seen: &[(NodeId, u64)], bases: &[Base]) -> Loaded {
        self.sweep(now);
        let seen: BTreeMap<NodeId, u64> = seen.iter().cloned().collect();
        let state = self.logs.as_ref().map_or(Loaded::Now, |logs| logs.check(&seen));
        if state != Loaded::Now {
            return state;
        }
        let refresh = self.refresh_after(now);
        for base in bases {
            let later = |logs: &Logs| logs.later(&seen, &base.counter);
            let told = self.logs.as_ref().map_or(0, later);
            let counter = self.counter(now, Kind::Money, &base.counter);
            // An answer that is older than the one it has.
            let is_older = |(node, known): (&NodeId, &u64)| seen.get(node).unwrap_or(&0) < known;
            if counter.base.is_some() && counter.seen.iter().any(is_older) {
                continue;
            }
            counter.used = base.spent.saturating_add(told);
            counter.base = Some(base.spent);
            counter.seen.clone_from(&seen);
            counter.refresh = refresh;
        }
        if let Some(logs) = &mut self.logs {
            logs.trim(now, &seen);
        }
        Loaded::Now
    }

    /// What a counter of money was loaded with.
    #[must_use]
    pub fn base(&self, counter: &Arc<str>) -> Option<u64> {
        self.counters.get(counter)?.base
    }

    /// How far a counter is used; absent when it is not there.
    #[must_use]
    pub fn read(&self, counter: &str) -> Option<Use> {
        self.counters.get(counter).filter(|counter| counter.is_known()).map(Counter::is)
    }

    /// Whether nothing is in them any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.reservations.is_empty()
    }

    /// Voids reservations whose lease has ended and forgets idle counters, some of them; whether
    /// there may be more.
    pub fn sweep(&mut self, now: u64) -> bool {
        for _ in 0..SWEEP_MAX {
            if self.due.first().is_none_or(|(due, _)| *due > now) {
                return false;
            }
            let Some((_, what)) = self.due.pop_first() else { return false };
            match what {
                Due::Counter(name) => self.forget(now, name),
                Due::Reservation(id) => match self.reservations.get(&id) {
                    Some(Reservation::Open { .. }) => self.void(id),
                    _ => drop(self.reservations.remove(&id)),
                },
            }
        }
        true
    }

    fn forget(&mut self, now: u64, name: Arc<str>) {
        let Some(counter) = self.counters.get(&name) else { return };
        let idle_ms = idle_ms(counter.kind);
        let idle = now.saturating_sub(counter.at) >= idle_ms;
        if idle && counter.held == 0 {
            self.counters.remove(&name);
        } else {
            let base = if idle { now } else { counter.at };
            self.due.insert((base.saturating_add(idle_ms), Due::Counter(name)));
        }
    }
}

/// Where the lines are that something holds of.
fn places(lines: &[Line], holds: impl Fn(&Line) -> bool) -> Vec<usize> {
    let found = lines.iter().enumerate().filter(|(_, line)| holds(line));
    found.map(|(place, _)| place).collect()
}
