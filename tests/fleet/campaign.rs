//! A campaign of faults: rounds of traffic in which something is killed, stopped or cut off.
//! After each round the provider's books and the ledger agree to the token, at the end the journals
//! too. The same seed gives the same faults; `tests/campaign ROUNDS SEED` runs a long one.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::{
    support::{eventually, relay::Line},
    topology::Fleet,
    traffic::{Seen, Traffic},
    truth::{Agreed, agree, compare},
};

/// Rounds of every run of the tests: each fault once. The variable of this name says otherwise.
const ROUNDS: (&str, usize) = ("PERMILLE_CAMPAIGN_ROUNDS", DECK.len());
/// What faults follow from; the variable of this name says otherwise.
const SEED: (&str, u64) = ("PERMILLE_CAMPAIGN_SEED", 6);
/// Longest that a fault lasts: nothing may be answered meanwhile.
const FAULT_MAX: Duration = Duration::from_millis(700);
/// Small segments, so that they are filled, handed over and removed in every round.
const JOURNAL: &str = "[journal]\nsegment_bytes = 32768\nbytes_max = 262144\n";

/// What is done to the fleet in the midst of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillGateway(usize),
    StopGateway(usize),
    RestartGateway(usize),
    KillBilling,
    StopBilling,
    Line(LineFault),
    KillRedis,
    StopRedis,
    CrashPostgres,
    /// Both ends of the hand-over at once.
    KillBillingAndGateway(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LineFault {
    Cut,
    Silent,
    Slow,
}

/// Each of them once; what takes a number is done to that gateway.
const DECK: [fn(usize) -> Fault; 12] = [
    Fault::KillGateway,
    Fault::StopGateway,
    Fault::RestartGateway,
    |_| Fault::KillBilling,
    |_| Fault::StopBilling,
    |_| Fault::Line(LineFault::Cut),
    |_| Fault::Line(LineFault::Silent),
    |_| Fault::Line(LineFault::Slow),
    |_| Fault::KillRedis,
    |_| Fault::StopRedis,
    |_| Fault::CrashPostgres,
    Fault::KillBillingAndGateway,
];

impl Fault {
    /// Faults without an end: all of them in an order by chance, then all again in another.
    fn drawn(mut random: Rng, gateways: usize) -> impl Iterator<Item = Self> {
        std::iter::repeat_with(move || {
            let mut deck = DECK;
            random.shuffle(&mut deck);
            deck.map(|fault| fault(random.usize(..gateways)))
        })
        .flatten()
    }

    /// Whether a reply may break off by it.
    fn breaks_replies(self) -> bool {
        matches!(self, Self::KillGateway(_) | Self::KillBillingAndGateway(_))
    }

    /// Does it, lets it last, and undoes it.
    async fn happen(self, fleet: &mut Fleet, traffic: &Traffic, replies: usize) {
        let lasts = async || traffic.more_within(replies, FAULT_MAX).await;
        match self {
            Self::KillGateway(gateway) => {
                fleet.kill_gateway(gateway).await;
                lasts().await;
                fleet.start_gateway(gateway).await;
            }
            Self::StopGateway(gateway) => {
                fleet.gateway(gateway).signal("STOP");
                lasts().await;
                fleet.gateway(gateway).signal("CONT");
            }
            Self::RestartGateway(gateway) => {
                fleet.list(gateway, false);
                fleet.stop_gateway(gateway).await;
                fleet.start_gateway(gateway).await;
                fleet.list(gateway, true);
            }
            Self::KillBilling => {
                fleet.kill_billing().await;
                lasts().await;
                fleet.start_billing().await;
            }
            Self::StopBilling => {
                fleet.billing.as_ref().unwrap().signal("STOP");
                lasts().await;
                fleet.billing.as_ref().unwrap().signal("CONT");
            }
            Self::Line(fault) => {
                fleet.line.set(match fault {
                    LineFault::Cut => Line::Cut,
                    LineFault::Silent => Line::Silent,
                    LineFault::Slow => Line::Slow,
                });
                lasts().await;
                fleet.line.set(Line::Up);
            }
            Self::KillRedis => {
                fleet.redis.kill();
                lasts().await;
                fleet.redis.start_again().await;
            }
            Self::StopRedis => {
                fleet.redis.signal("STOP");
                lasts().await;
                fleet.redis.signal("CONT");
            }
            Self::CrashPostgres => {
                fleet.postgres.crash_and_start_again();
                lasts().await;
            }
            Self::KillBillingAndGateway(gateway) => {
                fleet.kill_billing().await;
                fleet.kill_gateway(gateway).await;
                fleet.start_gateway(gateway).await;
                lasts().await;
                fleet.start_billing().await;
            }
        }
    }
}

fn chosen<T: std::str::FromStr>((variable, default): (&str, T)) -> T {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_lose_and_double_nothing() {
    let (rounds, seed) = (chosen(ROUNDS), chosen(SEED));
    let mut random = Rng::with_seed(seed);
    let mut fleet = Fleet::with(2, JOURNAL).await;
    let key = fleet.key();
    let mut all = Seen::default();
    let mut sum = Agreed::default();
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();

    let drawn = Fault::drawn(random.fork(), fleet.gateways.len());
    for (round, fault) in drawn.take(rounds).enumerate() {
        println!("seed {seed}, round {round}: {fault:?}");
        let before = fleet.mark();
        let traffic = Traffic::start(&fleet, &key, 12, random.u64(..));
        traffic.more(random.usize(10..60)).await;
        fault.happen(&mut fleet, &traffic, random.usize(5..60)).await;
        traffic.more(random.usize(10..40)).await;
        let replies = traffic.end().await;
        let agreed = fleet.settled(&before, &replies).await;

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
    println!("seed {seed}: {rounds} rounds, {sum:?}, {faults:?}");
}

impl Fleet {
    /// Waits until billing has all of what clients saw since `before`, then compares.
    async fn settled(&self, before: &crate::topology::Mark, seen: &Seen) -> Agreed {
        self.handed_over().await;
        eventually("every request has its row", async || {
            let rows = self.rows_since(before);
            let known: std::collections::HashSet<_> =
                rows.iter().filter_map(|row| row["request_id"].as_str()).collect();
            let ids = seen.whole.iter().chain(&seen.left).chain(&seen.broken);
            ids.map(String::as_str).all(|id| known.contains(id)).then_some(())
        })
        .await;
        assert_eq!(self.quarantine().await, Vec::<serde_json::Value>::new());
        compare(&self.rows_since(before), &self.books_since(before), seen)
    }
}
