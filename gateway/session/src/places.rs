//! Where requests are remembered, by digest: bounded in number and in time, the least recently
//! asked for goes first, so that a new request never gives way to an old one that is often asked
//! for.
//!
//! In shards, each behind its lock, which is held for some hundred nanoseconds: a request looks up
//! a few digests and adds a few. A general cache copied counted references at each look and change,
//! which cost more than all else in finding a place (docs/performance.md).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashlink::LruCache;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{digest::Digest, node::Node, sessions::Bounds};

/// Shards of a large memory: more than threads that serve requests at once.
const SHARDS: u64 = 16;
/// Places of a shard below which there are fewer shards, so that an uneven spread costs little of a
/// small memory.
const SHARD_PLACES_MIN: u64 = 10_000;
/// Idle digests that are forgotten at once, when another is remembered: more than are added, so
/// that they become fewer, and few enough not to be noticed.
const FORGOTTEN_AT_ONCE: usize = 4;

/// See the module's text.
pub(crate) struct Places {
    shards: Vec<Mutex<Shard>>,
    shard_max: u64,
    idle_max: Duration,
}

struct Shard {
    known: LruCache<Digest, Alike>,
    /// Requests under all digests together.
    places: u64,
}

/// The requests under one digest, the latest last.
struct Alike {
    nodes: SmallVec<[Arc<Node>; 1]>,
    asked_for: Instant,
}

impl Places {
    /// Nothing is remembered yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        let shards = (bounds.places_max / SHARD_PLACES_MIN).clamp(1, SHARDS);
        let shard = |_| Mutex::new(Shard { known: LruCache::new_unbounded(), places: 0 });
        Self {
            shards: (0..shards).map(shard).collect(),
            shard_max: bounds.places_max / shards,
            idle_max: bounds.idle_max,
        }
    }

    /// What `look` makes of the requests under `digest` that are not over, the latest last; absent
    /// where there are none.
    pub(crate) fn look<T>(
        &self,
        digest: &Digest,
        now: Instant,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Arc<Node>>) -> Option<T>,
    ) -> Option<T> {
        let mut shard = self.shard(digest)?.lock();
        let alike = shard.known.get_mut(digest)?;
        alike.asked_for = alike.asked_for.max(now);
        look(&mut alike.nodes.iter().filter(|node| self.is_open(node, now)))
    }

    /// Remembers `node` under `digest` too, beside the latest `alike_max` less one.
    pub(crate) fn remember(
        &self,
        digest: Digest,
        node: &Arc<Node>,
        alike_max: usize,
        now: Instant,
    ) {
        // What is forgotten is freed when the lock is.
        let mut forgotten = SmallVec::<[_; 1]>::new();
        let Some(shard) = self.shard(&digest) else { return };
        let mut shard = shard.lock();
        let new = || Alike { nodes: SmallVec::new(), asked_for: now };
        let alike = shard.known.entry(digest).or_insert_with(new);
        let before = alike.nodes.len();
        alike.asked_for = alike.asked_for.max(now);
        // The oldest is mostly the first; one that is over behind it is not found, and goes later.
        let open = alike.nodes.iter().position(|node| self.is_open(node, now));
        let too_many = before.saturating_add(1).saturating_sub(alike_max);
        let leaving = open.unwrap_or(before).max(too_many).min(before);
        forgotten.extend(alike.nodes.drain(..leaving));
        alike.nodes.push(Arc::clone(node));
        let after = alike.nodes.len();
        shard.count(before, after);
        let mut idle = 0;
        while let Some(oldest) = shard.oldest() {
            let is_idle = now.saturating_duration_since(oldest) > self.idle_max;
            idle += usize::from(is_idle);
            let is_due = is_idle && idle <= FORGOTTEN_AT_ONCE;
            if !is_due && shard.places <= self.shard_max {
                break;
            }
            let Some((_, alike)) = shard.known.remove_lru() else { break };
            shard.count(alike.nodes.len(), 0);
            forgotten.extend(alike.nodes);
        }
        drop(shard);
        drop(forgotten);
    }

    fn shard(&self, digest: &Digest) -> Option<&Mutex<Shard>> {
        let shards = u64::try_from(self.shards.len()).unwrap_or(1);
        let place = digest.number().checked_rem(shards).unwrap_or_default();
        self.shards.get(usize::try_from(place).unwrap_or_default())
    }

    fn is_open(&self, node: &Node, now: Instant) -> bool {
        now.saturating_duration_since(node.at) <= self.idle_max
    }
}

impl Shard {
    fn count(&mut self, before: usize, after: usize) {
        let number = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        self.places = self.places.saturating_add(number(after)).saturating_sub(number(before));
    }

    /// When the digest that goes first was last asked for.
    fn oldest(&self) -> Option<Instant> {
        self.known.iter().next().map(|(_, alike)| alike.asked_for)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, atomic::AtomicBool};

    use permille_types::TurnKind;

    use super::*;
    use crate::{digest::Key, message::Opening};

    fn node(at: Instant) -> Arc<Node> {
        Arc::new(Node {
            session: "s".parse().unwrap(),
            turn: 1,
            at,
            continued: AtomicBool::new(false),
            reply: OnceLock::<Opening>::new(),
            tokens: OnceLock::new(),
            kind: TurnKind::New,
            resent: crate::node::Resent::default(),
            failed: AtomicBool::new(false),
            named: crate::node::NamedTurn::default(),
        })
    }

    fn digest(number: u64) -> Digest {
        let mut texts = Key::new([3; 32]).texts();
        texts.add(&number.to_le_bytes());
        texts.digest(b'u')
    }

    fn count(places: &Places, number: u64, now: Instant) -> usize {
        places.look(&digest(number), now, |alike| Some(alike.count())).unwrap_or_default()
    }

    fn held(places: &Places) -> u64 {
        places.shards.iter().map(|shard| shard.lock().places).sum()
    }

    #[test]
    fn no_more_is_remembered_than_the_bound_and_what_is_asked_for_stays() {
        let now = Instant::now();
        let places = Places::new(Bounds { places_max: 100, idle_max: Duration::from_mins(1) });

        for number in 0..1_000 {
            places.remember(digest(number), &node(now), 16, now);
            assert_eq!(count(&places, 0, now), 1, "{number}");
        }

        assert_eq!(held(&places), 100);
        assert_eq!((count(&places, 900, now), count(&places, 901, now)), (0, 1));
        assert_eq!(count(&places, 999, now), 1);
    }

    #[test]
    fn of_those_alike_the_latest_are_remembered() {
        let now = Instant::now();
        let places = Places::new(Bounds::default());
        let nodes: Vec<_> = (0..20).map(|_| node(now)).collect();

        for node in &nodes {
            places.remember(digest(1), node, 16, now);
        }

        assert_eq!((count(&places, 1, now), held(&places)), (16, 16));
        let oldest = places.look(&digest(1), now, |alike| alike.next().cloned()).unwrap();
        assert!(Arc::ptr_eq(&oldest, &nodes[4]));
    }

    #[test]
    fn what_is_over_is_not_found_and_idle_digests_are_forgotten() {
        let start = Instant::now();
        let idle_max = Duration::from_mins(1);
        let places = Places::new(Bounds { places_max: 1_000, idle_max });
        for number in 0..6 {
            places.remember(digest(number), &node(start), 16, start);
        }
        let later = start + Duration::from_secs(61);

        assert_eq!((count(&places, 0, start + idle_max), count(&places, 0, later)), (1, 0));
        places.remember(digest(7), &node(later), 16, later);
        // Asked for a moment ago, digest 0 is not idle: the other five are, and four go at once.
        assert_eq!(held(&places), 3);
        places.remember(digest(8), &node(later), 16, later);
        assert_eq!(held(&places), 3);
    }
}
