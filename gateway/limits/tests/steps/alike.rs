//! Random interleavings: memory, Redis and a model that knows no shortcut answer alike.

use std::collections::BTreeMap;

use permille_limits::{
    Base, Books, Extended, Kind, Lease, Line, Loaded, Post, Posted, Reserved, Use,
};
use permille_test_redis::Redis;
use permille_types::{CustomerId, NodeId, RequestId};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use crate::{
    server::books,
    support::{customer, id, line, node},
};

const COUNTERS: [(Kind, &str, u64); 8] = [
    (Kind::Requests, "r/k:1", 5),
    (Kind::Tokens, "t/c", 300),
    (Kind::Open, "o/c", 4),
    (Kind::Open, "o/k:1", 2),
    (Kind::Money, "m/c", 1_000),
    (Kind::Money, "m/k:1", 500),
    (Kind::Money, "m/s:x", 200),
    (Kind::Tokens, "t/k:1", 90),
];
const IDS: usize = 8;

/// One operation: which, on which request, with which lines, amounts and time.
#[derive(Debug, Clone)]
enum Op {
    Reserve { id: usize, mask: u8, take: u64, lease: u64, raise: u64 },
    Extend { id: usize, take: u64, raise: u64 },
    Renew { id: usize },
    Settle { id: usize, node: usize, sequence: u64, amount: u64 },
    Release { id: usize },
    Hold { id: usize, mask: u8, take: u64, lease: u64 },
    Load { counter: usize, spent: u64, seen: [u64; 2] },
}

fn op() -> impl Strategy<Value = (u64, Op)> {
    let id = 0..IDS;
    let op = prop_oneof![
        5 => (id.clone(), any::<u8>(), 0..400_u64, 1..5_000_u64, 0..3_u64).prop_map(
            |(id, mask, take, lease, raise)| Op::Reserve { id, mask, take, lease, raise }
        ),
        2 => (id.clone(), 0..300_u64, 0..2_u64)
            .prop_map(|(id, take, raise)| Op::Extend { id, take, raise }),
        1 => id.clone().prop_map(|id| Op::Renew { id }),
        4 => (id.clone(), 0..2_usize, 1..40_u64, 0..500_u64).prop_map(
            |(id, node, sequence, amount)| Op::Settle { id, node, sequence, amount }
        ),
        1 => id.clone().prop_map(|id| Op::Release { id }),
        1 => (id, any::<u8>(), 0..100_u64, 1..5_000_u64)
            .prop_map(|(id, mask, take, lease)| Op::Hold { id, mask, take, lease }),
        2 => (4..7_usize, 0..300_u64, 0..40_u64, 0..40_u64)
            .prop_map(|(counter, spent, a, b)| Op::Load { counter, spent, seen: [a, b] }),
    ];
    // Mostly small steps of the clock; now and then half a minute, an hour, and a day.
    let step = prop_oneof![
        20 => 0..3_000_u64,
        2 => 10_000..70_000_u64,
        1 => 3_600_000..4_000_000_u64,
        1 => 80_000_000..100_000_000_u64,
    ];
    (step, op)
}

fn lines(mask: u8, take: u64, raise: u64) -> Vec<Line> {
    let chosen = COUNTERS.iter().enumerate().filter(|(place, _)| mask & (1 << place) != 0);
    chosen.map(|(_, (kind, name, limit))| line(*kind, name, limit * (raise + 1), take)).collect()
}

fn money_lines(take: u64, raise: u64) -> Vec<Line> {
    lines(0b0111_0000, take, raise).into_iter().take(2).collect()
}

fn posts(amount: u64) -> Vec<Post> {
    COUNTERS
        .iter()
        .filter(|(kind, ..)| matches!(kind, Kind::Tokens | Kind::Money))
        .map(|(kind, name, limit)| Post {
            kind: *kind,
            counter: (*name).into(),
            limit: *limit,
            amount,
        })
        .collect()
}

#[derive(Debug, PartialEq)]
enum Answer {
    Reserved(Reserved),
    Extended(Extended),
    Posted(Posted),
    Renewed(bool),
    Loaded(Loaded),
    Done,
}

/// Which requests hold what, as a list: everything that books say of money and open requests is
/// summed up anew from it.
#[derive(Default)]
struct Model {
    open: BTreeMap<usize, (u64, Vec<(usize, u64)>)>,
    settled: BTreeMap<usize, u64>,
    /// What each event of each node was told to add.
    told: BTreeMap<(usize, u64), u64>,
    /// What counters were loaded with, and up to which event of each node that is complete.
    loaded: BTreeMap<usize, (u64, [u64; 2])>,
}

impl Model {
    fn held(&self, counter: usize) -> u64 {
        let holds = self.open.values().flat_map(|(_, holds)| holds);
        holds.filter(|(place, _)| *place == counter).map(|(_, held)| held).sum()
    }

    /// What the ledger said and what it lacked.
    fn spent(&self, counter: usize) -> Option<u64> {
        let (base, seen) = self.loaded.get(&counter)?;
        let later = self.told.iter().filter(|((node, sequence), _)| *sequence > seen[*node]);
        Some(base + later.map(|(_, amount)| amount).sum::<u64>())
    }

    fn hold(&mut self, id: usize, due: u64, lines: &[Line]) {
        let holds = lines.iter().filter_map(|line| {
            let held = match line.kind {
                Kind::Requests => return None,
                Kind::Tokens => line.take.min(line.limit),
                Kind::Open => 1,
                Kind::Money => line.take,
            };
            Some((place_of(line), held))
        });
        self.open.insert(id, (due, holds.collect()));
    }
}

fn place_of(line: &Line) -> usize {
    COUNTERS.iter().position(|(_, name, _)| *name == &*line.counter).unwrap()
}

/// What the model says of the books' answer and of what they hold then.
fn check(model: &mut Model, now: u64, op: &Op, answer: &Answer, books: &Books) {
    model.open.retain(|_, (due, _)| *due > now);
    model.settled.retain(|_, due| *due > now);
    match (op, answer) {
        (
            Op::Reserve { id, mask, take, lease, raise },
            Answer::Reserved(Reserved::Granted { .. }),
        ) => {
            if model.open.contains_key(id) || model.settled.contains_key(id) {
                return;
            }
            let lines = lines(*mask, *take, *raise);
            model.hold(*id, now + lease, &lines);
            for line in lines.iter().filter(|l| matches!(l.kind, Kind::Money | Kind::Open)) {
                let place = place_of(line);
                let all = model.spent(place).unwrap_or(0) + model.held(place);
                assert!(all <= line.limit, "{line:?} was let in at {all}");
            }
        }
        (Op::Hold { id, mask, take, lease }, _) => {
            if let Some((due, _)) = model.open.get_mut(id) {
                *due = (*due).max(now + lease);
            } else if !model.settled.contains_key(id) {
                model.hold(*id, now + lease, &lines(*mask, *take, 0));
            }
        }
        (Op::Extend { id, take, raise }, Answer::Extended(Extended::Granted)) => {
            let more = money_lines(*take, *raise).iter().map(|l| (place_of(l), l.take)).collect();
            let more: Vec<_> = more;
            let (due, holds) = model.open.get_mut(id).expect("extends what is not open");
            holds.extend(more);
            *due = (*due).max(now + 1_000);
        }
        (Op::Renew { id }, Answer::Renewed(is_there)) => {
            let known = model.open.contains_key(id) || model.settled.contains_key(id);
            assert_eq!(*is_there, known);
            if let Some((due, _)) = model.open.get_mut(id) {
                *due = (*due).max(now + 1_000);
            }
        }
        (Op::Settle { id, node, sequence, amount }, Answer::Posted(posted)) => {
            if model.settled.contains_key(id) {
                assert_eq!(*posted, Posted::Before, "settled twice");
                return;
            }
            model.open.remove(id);
            model.settled.insert(*id, now + 120_000);
            if *posted == Posted::Now && *amount > 0 {
                let before = model.told.insert((*node, *sequence), *amount);
                assert_eq!(before, None, "told twice");
            }
        }
        (Op::Release { id }, _) => drop(model.open.remove(id)),
        (Op::Load { counter, spent, seen }, Answer::Loaded(Loaded::Now)) => {
            let is_older = model
                .loaded
                .get(counter)
                .is_some_and(|(_, known)| (0..2).any(|node| seen[node] < known[node]));
            if !is_older {
                model.loaded.insert(*counter, (*spent, *seen));
            }
        }
        _ => {}
    }
    for place in model.loaded.keys() {
        let is = books.read(COUNTERS[*place].1).unwrap();
        let used = model.spent(*place).unwrap();
        assert_eq!(is, Use { used, held: model.held(*place) }, "{}", COUNTERS[*place].1);
    }
    for place in [2, 3] {
        let held = books.read(COUNTERS[place].1).map_or(0, |is| is.held);
        assert_eq!(held, model.held(place), "{}", COUNTERS[place].1);
    }
}

fn in_memory(books: &mut Books, now: u64, ids: &[RequestId], nodes: &[NodeId], op: &Op) -> Answer {
    match op {
        Op::Reserve { id, mask, take, lease, raise } => {
            Answer::Reserved(books.reserve(now, ids[*id], *lease, &lines(*mask, *take, *raise)))
        }
        Op::Extend { id, take, raise } => {
            Answer::Extended(books.extend(now, ids[*id], 1_000, &money_lines(*take, *raise)))
        }
        Op::Renew { id } => Answer::Renewed(books.renew(now, ids[*id], 1_000)),
        Op::Settle { id, node, sequence, amount } => {
            let event = (&nodes[*node], *sequence);
            Answer::Posted(books.settle(now, ids[*id], event, &posts(*amount)))
        }
        Op::Release { id } => {
            books.release(now, ids[*id]);
            Answer::Done
        }
        Op::Hold { id, mask, take, lease } => {
            books.hold(now, ids[*id], *lease, &lines(*mask, *take, 0));
            Answer::Done
        }
        Op::Load { counter, spent, seen } => {
            Answer::Loaded(books.load(now, &up_to(seen, nodes), &[base(*counter, *spent)]))
        }
    }
}

fn base(counter: usize, spent: u64) -> Base {
    Base { counter: COUNTERS[counter].1.into(), spent }
}

fn up_to(seen: &[u64; 2], nodes: &[NodeId]) -> Vec<(NodeId, u64)> {
    nodes.iter().cloned().zip(*seen).collect()
}

async fn in_redis(
    books: &permille_limits::SharedBooks,
    whose: &CustomerId,
    now: u64,
    (ids, nodes): (&[RequestId], &[NodeId]),
    op: &Op,
) -> Answer {
    let at = |lease_ms| Lease { now: Some(now), lease_ms };
    match op {
        Op::Reserve { id, mask, take, lease, raise } => {
            let lines = lines(*mask, *take, *raise);
            let reserved = books.reserve(whose, ids[*id], at(*lease), &lines).await;
            Answer::Reserved(reserved.unwrap())
        }
        Op::Extend { id, take, raise } => {
            let lines = money_lines(*take, *raise);
            Answer::Extended(books.extend(whose, ids[*id], at(1_000), &lines).await.unwrap())
        }
        Op::Renew { id } => {
            let missing = books.renew(whose, at(1_000), &[ids[*id]]).await.unwrap();
            Answer::Renewed(missing.is_empty())
        }
        Op::Settle { id, node, sequence, amount } => {
            let event = (&nodes[*node], *sequence);
            let posts = posts(*amount);
            let posted = books.settle(whose, ids[*id], Some(now), event, &posts).await;
            Answer::Posted(posted.unwrap())
        }
        Op::Release { id } => {
            books.release(whose, ids[*id], Some(now)).await.unwrap();
            Answer::Done
        }
        Op::Hold { id, mask, take, lease } => {
            books.hold(whose, ids[*id], at(*lease), &lines(*mask, *take, 0)).await.unwrap();
            Answer::Done
        }
        Op::Load { counter, spent, seen } => {
            let base = base(*counter, *spent);
            let loaded = books.load(whose, Some(now), &up_to(seen, nodes), &[base]).await;
            Answer::Loaded(loaded.unwrap())
        }
    }
}

fn setup() -> (Vec<RequestId>, [NodeId; 2]) {
    let mut ids: Vec<RequestId> = (0..IDS).map(|_| id()).collect();
    ids.sort();
    (ids, [node("gw-1"), node("gw-2")])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn books_hold_what_the_open_requests_hold_and_spend_what_was_settled(
        ops in vec(op(), 1..80)
    ) {
        let (ids, nodes) = setup();
        let (mut books, mut model, mut now) = (Books::shared(), Model::default(), 0);
        for (step, op) in &ops {
            now += step;
            // Idle counters are forgotten: the books say when, the model what.
            books.sweep(now);
            model.loaded.retain(|place, _| books.read(COUNTERS[*place].1).is_some());
            let answer = in_memory(&mut books, now, &ids, &nodes, op);
            check(&mut model, now, op, &answer, &books);
        }
    }
}

#[test]
fn memory_and_redis_give_the_same_answers_to_any_interleaving() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let shared = runtime.block_on(async { books(&redis) });
    let (ids, nodes) = setup();
    let counters: Vec<(Kind, &str)> = COUNTERS.iter().map(|(k, name, _)| (*k, *name)).collect();
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    });

    let cases = std::cell::Cell::new(0_u32);
    let same = runner.run(&vec(op(), 1..60), |ops| {
        cases.set(cases.get() + 1);
        // What is in braces is the hash tag; this one has some itself.
        let whose = customer(&format!("case-{}{{}}", cases.get()));
        let mut books = Books::shared();
        let mut now = 1_000;
        for (step, op) in &ops {
            now += step;
            let here = in_memory(&mut books, now, &ids, &nodes, op);
            let there = runtime.block_on(in_redis(&shared, &whose, now, (&ids, &nodes), op));
            prop_assert_eq!(&here, &there, "{:?} at {}", op, now);
        }
        books.sweep(now);
        let there = runtime.block_on(shared.read(&whose, Some(now), &counters)).unwrap();
        let here: Vec<_> = counters.iter().map(|(_, name)| books.read(name)).collect();
        prop_assert_eq!(here, there);
        Ok(())
    });

    same.unwrap();
}
