//! What was told to shared books of money and may not be in the ledger yet: with it a counter can
//! be loaded from the ledger at any time, and what is told twice counts once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use permille_types::NodeId;

use crate::step::{BEHIND_MAX, LATE_MS, Loaded, Post};

/// The settlements of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    nodes: HashMap<NodeId, Log>,
    added: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// What each event adds to which counters, by its sequence number.
    events: BTreeMap<u64, Vec<(Arc<str>, u64)>>,
    /// Events up to this one are in the ledger and not listed any more.
    trimmed: u64,
    /// Up to where the ledger was seen to be, and since when.
    booked: Option<(u64, u64)>,
}

impl Logs {
    /// Lists an event; false when it was listed before.
    pub(crate) fn add<'a>(
        &mut self,
        node: &NodeId,
        sequence: u64,
        posts: impl Iterator<Item = &'a Post>,
    ) -> bool {
        let log = self.nodes.entry(node.clone()).or_default();
        if sequence <= log.trimmed || log.events.contains_key(&sequence) {
            return false;
        }
        let posts = posts.map(|post| (Arc::clone(&post.counter), post.amount)).collect();
        log.events.insert(sequence, posts);
        self.added += 1;
        true
    }

    /// How many events were listed so far.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// Whether all that a ledger which is at `seen` lacks is listed, and not too much for one step.
    pub(crate) fn check(&self, seen: &BTreeMap<NodeId, u64>) -> Loaded {
        let mut later = 0;
        for (node, log) in &self.nodes {
            let booked = *seen.get(node).unwrap_or(&0);
            if log.trimmed > booked {
                return Loaded::Outdated;
            }
            later += log.events.range(booked.saturating_add(1)..).count();
        }
        if later > BEHIND_MAX { Loaded::Behind } else { Loaded::Now }
    }

    /// What a ledger which is at `seen` lacks of a counter.
    pub(crate) fn later(&self, seen: &BTreeMap<NodeId, u64>, counter: &str) -> u64 {
        let mut sum = 0_u64;
        for (node, log) in &self.nodes {
            let after = seen.get(node).unwrap_or(&0).saturating_add(1);
            for (name, amount) in log.events.range(after..).flat_map(|(_, posts)| posts) {
                if **name == *counter {
                    sum = sum.saturating_add(*amount);
                }
            }
        }
        sum
    }

    /// Strikes out what the ledger has had for so long that it is surely told, and notes where the
    /// ledger is now.
    pub(crate) fn trim(&mut self, now: u64, seen: &BTreeMap<NodeId, u64>) {
        for (node, log) in &mut self.nodes {
            let booked = *seen.get(node).unwrap_or(&0);
            match log.booked {
                Some((_, since)) if now.saturating_sub(since) < LATE_MS => {}
                Some((up_to, _)) => {
                    log.events = log.events.split_off(&up_to.saturating_add(1));
                    log.trimmed = log.trimmed.max(up_to);
                    log.booked = Some((booked, now));
                }
                None => log.booked = Some((booked, now)),
            }
        }
    }
}
