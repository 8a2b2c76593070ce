//! A campaign of faults: rounds of traffic in which something is killed, stopped, filled or
//! cut off.
//!
//! One gateway hands its usage over through Redis, the other one over HTTP. Each round ends with
//! replies while billing is stopped: the journals have every one of them. Then billing goes on,
//! and the provider's books, what the journals had, and the ledger agree to the token; the stream
//! is empty. The same seed gives the same faults; `tests/campaign ROUNDS SEED` runs a long one.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use fastrand::Rng;
use permille_types::UsageEvent;

use crate::{
    faults::{DECK, FAULT_MAX, Fault, SEGMENT_BYTES},
    support::eventually,
    topology::Fleet,
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
    let journal = format!("[journal]\nsegment_bytes = {SEGMENT_BYTES}\nbytes_max = 262144\n");
    let mut fleet = Fleet::with_clocks(&journal, &[true, false]).await;
    let key = fleet.key();
    let mut all = Seen::default();
    let mut sum = Agreed::default();
    let mut known = HashSet::new();
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();

    let drawn = Fault::drawn(random.fork(), fleet.gateways.len());
    let (began, bounded) = (Instant::now(), std::env::var(ROUNDS.0).is_err());
    for (round, fault) in drawn.take(rounds).enumerate() {
        if bounded && began.elapsed() > TIME_MAX && round >= DECK.len() {
            break;
        }
        println!("seed {seed}, round {round}: {fault:?}");
        let before = fleet.mark();
        let traffic = Traffic::start(&fleet, &key, 12, random.u64(..));
        traffic.more(random.usize(10..60)).await;
        fault.happen(&mut fleet, &traffic, &mut random).await;
        traffic.more(random.usize(10..40)).await;
        let mut replies = traffic.end().await;

        fleet.readers().for_each(|reader| reader.signal("STOP"));
        let traffic = Traffic::start(&fleet, &key, 12, random.u64(..));
        traffic.more_within(random.usize(10..40), FAULT_MAX).await;
        let last = traffic.end().await;
        let journals = held(&fleet).await;
        fleet.readers().for_each(|reader| reader.signal("CONT"));
        for id in &last.whole {
            let there = journals.iter().any(|event| event.request_id.to_string() == *id);
            assert!(there, "{fault:?}: {id} was served and is in no journal");
        }
        replies.add(last);
        let agreed = fleet.settled(&before, &replies, &mut known, journals).await;

        if !fault.breaks_replies() {
            assert_eq!(
                (replies.broken.len(), agreed.interrupted),
                (0, 0),
                "{fault:?}: {replies:?}"
            );
        }
        assert!(agreed.booked >= replies.whole.len(), "{agreed:?}");
        *faults.entry(fault).or_default() += 1;
        sum.add(agreed);
        all.add(replies);
    }
    fleet.drain().await;
    let agreed = agree(&fleet, &all).await;

    assert_eq!((agreed.rows, agreed.tokens), (sum.rows, sum.tokens));
    let rounds: usize = faults.values().sum();
    assert!(sum.journaled > 0);
    println!("seed {seed}: {rounds} rounds, {sum:?}, {faults:?}");
}

impl Fleet {
    /// Waits until billing has all of what clients saw since `before`, then compares. `known` are
    /// the rows of all rounds before.
    async fn settled(
        &self,
        before: &crate::topology::Mark,
        seen: &Seen,
        known: &mut HashSet<String>,
        mut journals: Vec<UsageEvent>,
    ) -> Agreed {
        // That billing has them is on the disk a little later.
        journals.retain(|event| !known.contains(&event.request_id.to_string()));
        self.handed_over().await;
        let rows = || {
            let mut rows = self.rows_since(before);
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
        eventually("the stream is empty", async || (self.streamed().await == 0).then_some(()))
            .await;
        assert_eq!(self.quarantine().await, Vec::<serde_json::Value>::new());
        let rows = rows();
        known.extend(rows.iter().map(|row| row["request_id"].as_str().unwrap().to_owned()));
        let mut agreed = compare(&rows, &self.books_since(before), seen);
        agreed.journaled = compare_held(&journals, &rows);
        agreed
    }
}
