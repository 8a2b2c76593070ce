//! A campaign of faults: rounds of traffic in which something is killed, stopped, filled or
//! cut off.
//!
//! One gateway hands its usage over through Redis, the other one over HTTP. Each round ends with
//! replies while billing is stopped: the journals have every one of them. Then billing goes on,
//! and the provider's books, what the journals had, and the ledger agree to the token; the stream
//! is empty, and a budget that some clients met is not overspent. The same seed gives the same
//! faults; `tests/campaign ROUNDS SEED` runs a long one.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use fastrand::Rng;
use permille_types::UsageEvent;
use serde_json::Value;

use crate::{
    budget::Budget,
    faults::{DECK, FAULT_MAX, Fault, SEGMENT_BYTES},
    support::eventually,
    topology::{Fleet, Mark},
    traffic::{Seen, Traffic},
    truth::{Agreed, agree, compare, compare_held, held},
};

/// Rounds of every run of the tests. The variable of this name says
/// otherwise.
const ROUNDS: (&str, usize) = ("PERMILLE_CAMPAIGN_ROUNDS", 30);
/// No round begins after so long, unless so many rounds are asked for: a slow machine makes fewer,
/// and every fault at least once.
const TIME_MAX: Duration = Duration::from_mins(4);
/// What faults follow from; the variable of this name says otherwise.
const SEED: (&str, u64) = ("PERMILLE_CAMPAIGN_SEED", 6);
/// Clients whose budget is never met.
const CLIENTS: usize = 12;
/// Clients of the [`Budget`].
const THRIFTY: usize = 3;

/// The number that a variable gives, or its default.
pub fn chosen<T: std::str::FromStr>((variable, default): (&str, T)) -> T {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_lose_and_double_nothing() {
    let (rounds, seed) = (chosen(ROUNDS), chosen(SEED));
    let mut random = Rng::with_seed(seed);
    let mut campaign = Campaign::new().await;

    let drawn = Fault::drawn(random.fork(), campaign.fleet.gateways.len());
    let (began, bounded) = (Instant::now(), std::env::var(ROUNDS.0).is_err());
    for (round, fault) in drawn.take(rounds).enumerate() {
        if bounded && began.elapsed() > TIME_MAX && round >= DECK.len() {
            break;
        }
        println!("seed {seed}, round {round}: {fault:?}");
        campaign.round(fault, &mut random).await;
    }
    campaign.comes_to_rest(random.u64(..)).await;
    campaign.fleet.drain().await;
    let agreed = agree(&campaign.fleet, &campaign.seen).await;

    let sum = campaign.agreed;
    assert_eq!((agreed.rows, agreed.tokens), (sum.rows, sum.tokens));
    assert!(sum.journaled > 0);
    campaign.tell(seed);
}

/// A fleet, and what its rounds came to.
struct Campaign {
    fleet: Fleet,
    /// The key of each client.
    keys: Vec<String>,
    budget: Budget,
    seen: Seen,
    agreed: Agreed,
    /// Requests that are booked.
    known: HashSet<String>,
    faults: BTreeMap<Fault, usize>,
    /// Rounds in which the budget was met.
    met: usize,
}

impl Campaign {
    async fn new() -> Self {
        let journal = format!("[journal]\nsegment_bytes = {SEGMENT_BYTES}\nbytes_max = 262144\n");
        let fleet = Fleet::breakable(&journal, &[true, false]).await;
        let budget = Budget::new(&fleet);
        let mut keys = vec![fleet.key(); CLIENTS];
        keys.extend(vec![budget.key.clone(); THRIFTY]);
        Self {
            fleet,
            keys,
            budget,
            seen: Seen::default(),
            agreed: Agreed::default(),
            known: HashSet::new(),
            faults: BTreeMap::new(),
            met: 0,
        }
    }

    fn traffic(&self, seed: u64) -> Traffic {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        Traffic::of(&self.fleet, &keys, seed)
    }

    async fn round(&mut self, fault: Fault, random: &mut Rng) {
        let before = self.fleet.mark();
        self.budget.begin(&self.fleet).await;
        let traffic = self.traffic(random.u64(..));
        traffic.more(random.usize(10..60)).await;
        fault.happen(&mut self.fleet, &traffic, random).await;
        traffic.more(random.usize(10..40)).await;
        let mut seen = traffic.end().await;

        self.fleet.readers().for_each(|reader| reader.signal("STOP"));
        let traffic = self.traffic(random.u64(..));
        traffic.more_within(random.usize(10..40), FAULT_MAX).await;
        let last = traffic.end().await;
        let journals = held(&self.fleet).await;
        self.fleet.readers().for_each(|reader| reader.signal("CONT"));
        for id in &last.whole {
            let there = journals.iter().any(|event| event.request_id.to_string() == *id);
            assert!(there, "{fault:?}: {id} was served and is in no journal");
        }
        seen.add(last);
        let agreed = self.settled(&before, &seen, journals).await;

        let broken = (seen.broken.len(), agreed.interrupted);
        assert!(fault.breaks_replies() || broken == (0, 0), "{fault:?}: {seen:?}");
        assert!(agreed.booked >= seen.whole.len(), "{agreed:?}");
        *self.faults.entry(fault).or_default() += 1;
        self.met += usize::from(seen.refused.contains_key(&402));
        self.seen.add(seen);
    }

    /// A last request of the budget, once every gateway counts in Redis: then nothing is held.
    async fn comes_to_rest(&mut self, seed: u64) {
        let before = self.fleet.mark();
        self.budget.begin(&self.fleet).await;
        self.budget.comes_to_rest(&self.fleet).await;
        let traffic = Traffic::start(&self.fleet, &self.budget.key, 1, seed);
        traffic.more(1).await;
        let replies = traffic.end().await;
        self.settled(&before, &replies, Vec::new()).await;
        self.budget.is_even(&self.fleet).await;
        self.seen.add(replies);
    }

    /// Waits until billing has all of what clients saw since `before`, then compares.
    async fn settled(
        &mut self,
        before: &Mark,
        seen: &Seen,
        mut journals: Vec<UsageEvent>,
    ) -> Agreed {
        let (fleet, known) = (&self.fleet, &mut self.known);
        // That billing has them is on the disk a little later.
        journals.retain(|event| !known.contains(&event.request_id.to_string()));
        fleet.handed_over().await;
        let rows = || {
            let mut rows = fleet.rows_since(before);
            rows.retain(|row| !known.contains(row["request_id"].as_str().unwrap()));
            rows
        };
        eventually("every request has its row", async || {
            let rows = rows();
            let there: HashSet<_> =
                rows.iter().filter_map(|row| row["request_id"].as_str()).collect();
            let ids = seen.whole.iter().chain(&seen.left).chain(&seen.broken);
            ids.map(String::as_str).all(|id| there.contains(id)).then_some(())
        })
        .await;
        eventually("the stream is empty", async || (fleet.streamed().await == 0).then_some(()))
            .await;
        assert_eq!(fleet.quarantine().await, Vec::<Value>::new());
        let rows = rows();
        known.extend(rows.iter().map(|row| row["request_id"].as_str().unwrap().to_owned()));
        let mut agreed = compare(&rows, &fleet.books_since(before), seen);
        agreed.journaled = compare_held(&journals, &rows);
        self.budget.end(fleet, &rows).await;
        self.agreed.add(agreed);
        agreed
    }

    /// Says what all rounds came to. Enough of them had every fault, and the budget was met.
    fn tell(&self, seed: u64) {
        let Self { agreed, faults, budget, met, .. } = self;
        let rounds: usize = faults.values().sum();
        println!("seed {seed}: {rounds} rounds, {agreed:?}, {faults:?}");
        println!(
            "The budget was met in {met} rounds; in {} all gateways counted in Redis throughout, \
             in the others it was overspent by {} of {} at most.",
            budget.rounds_together,
            budget.beyond,
            Budget::ROOM
        );
        let came = |kind: &&fn(usize) -> Fault| {
            (0..self.fleet.gateways.len()).any(|gateway| faults.contains_key(&kind(gateway)))
        };
        let kinds = DECK.iter().filter(came).count();
        assert_eq!(kinds, rounds.min(DECK.len()), "{faults:?}");
        assert!(*met > rounds / 2, "the budget was met in {met} of {rounds} rounds");
    }
}
