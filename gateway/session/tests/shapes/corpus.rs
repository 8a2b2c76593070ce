//! A corpus of the shapes' conversations, mixed as traffic is, and how often they are recognised.

use std::{collections::HashMap, time::Duration};

use permille_session::Place;

use super::{SHAPES, Step};

const CUSTOMERS: usize = 20;

/// One request as it was placed, beside the truth.
pub(crate) struct Outcome {
    pub(crate) shape: usize,
    pub(crate) truth: usize,
    pub(crate) found: String,
    pub(crate) number_is_right: bool,
    pub(crate) kind_is_right: bool,
}

/// Shares of pairs, and of requests.
struct Shares {
    precision: f64,
    recall: f64,
    /// Requests with the right number of their turn.
    numbers: f64,
    /// Requests with that and the right kind.
    turns: f64,
}

fn pairs<'a>(counts: impl Iterator<Item = &'a u64>) -> f64 {
    counts.map(|count| count * (count - 1) / 2).sum::<u64>() as f64
}

fn shares<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Shares {
    let (mut both, mut found, mut truth) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut numbers, mut turns, mut all) = (0_u64, 0_u64, 0_u64);
    for outcome in outcomes {
        *both.entry((&outcome.found, outcome.truth)).or_insert(0_u64) += 1;
        *found.entry(&outcome.found).or_insert(0_u64) += 1;
        *truth.entry(outcome.truth).or_insert(0_u64) += 1;
        numbers += u64::from(outcome.number_is_right);
        turns += u64::from(outcome.number_is_right && outcome.kind_is_right);
        all += 1;
    }
    let right = pairs(both.values());
    Shares {
        precision: right / pairs(found.values()),
        recall: right / pairs(truth.values()),
        numbers: numbers as f64 / all as f64,
        turns: turns as f64 / all as f64,
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Sent,
    Answered,
}

/// A request, and of which conversation of which shape it is.
pub(crate) struct Sent {
    pub(crate) shape: usize,
    pub(crate) conversation: usize,
    pub(crate) step: Step,
}

impl Sent {
    /// Whose it is.
    pub(crate) fn customer(&self) -> String {
        format!("customer-{}", self.conversation / SHAPES.len() % CUSTOMERS)
    }

    pub(crate) fn outcome(&self, place: &Place) -> Outcome {
        Outcome {
            shape: self.shape,
            truth: self.conversation,
            found: place.session.to_string(),
            number_is_right: place.turn.number == self.step.turn,
            kind_is_right: place.turn.kind == self.step.kind,
        }
    }
}

/// Every request of so many conversations, and what happens to them in the order of time. A reply
/// takes up to 40 seconds, and most clients wait for it.
pub(crate) fn traffic(conversations: usize) -> (Vec<Sent>, Vec<(Duration, usize, Event)>) {
    let (mut steps, mut events) = (Vec::new(), Vec::new());
    for conversation in 0..conversations {
        let mut random = fastrand::Rng::with_seed(conversation as u64);
        let shape = conversation % SHAPES.len();
        let mut at = Duration::from_secs(random.u64(0..6 * 3600));
        let mut answered = at;
        for step in (SHAPES[shape].1)(&mut random) {
            at = if step.beside {
                at + Duration::from_millis(random.u64(1..500))
            } else {
                answered + Duration::from_secs(random.u64(2..150))
            };
            let ends = at + Duration::from_millis(random.u64(500..40_000));
            answered = answered.max(ends);
            events.push((at, steps.len(), Event::Sent));
            events.push((ends, steps.len(), Event::Answered));
            steps.push(Sent { shape, conversation, step });
        }
    }
    events.sort_unstable();
    (steps, events)
}

/// Prints and asserts how often each shape, and all of them, are recognised; at least `numbers_min`
/// of the turns have the right number.
pub(crate) fn judge(outcomes: &[Outcome], numbers_min: f64) {
    println!("| client | precision | recall | turn number right | and kind |");
    println!("|---|---:|---:|---:|---:|");
    let all = format!("all {} requests", outcomes.len());
    let shapes = SHAPES.iter().enumerate().map(|(shape, (name, _))| (*name, Some(shape)));
    for (name, only) in shapes.chain([(all.as_str(), None)]) {
        let of_shape = |outcome: &&Outcome| only.is_none_or(|only| outcome.shape == only);
        let Shares { precision, recall, numbers, turns } = shares(outcomes.iter().filter(of_shape));
        println!("| {name} | {precision:.4} | {recall:.4} | {numbers:.4} | {turns:.4} |");

        assert!(precision >= 0.995, "{name}: precision {precision}");
        assert!(recall >= 0.95, "{name}: recall {recall}");
        assert!(numbers >= numbers_min, "{name}: turn numbers {numbers}");
        assert!(turns >= 0.97, "{name}: turns {turns}");
    }
}
