//! A corpus of the shapes' conversations, mixed as traffic is, and how often they are recognised.

use std::{collections::HashMap, time::Duration};

use permille_session::Place;

use super::{Shape, Step};

/// One request as it was placed, beside the truth.
pub(crate) struct Outcome {
    shape: usize,
    truth: usize,
    found: String,
    number_is_right: bool,
    kind_is_right: bool,
}

/// The name of the row of all shapes.
pub(crate) const ALL: &str = "**all**";

/// Shapes by name.
pub(crate) type Shapes = [(&'static str, Shape)];

/// Pairs of requests, and requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Pairs that are of one conversation and were found in one.
    right: u64,
    /// Pairs that were found in one.
    found: u64,
    /// Pairs that are of one.
    truth: u64,
    /// Requests with the right number of their turn.
    numbers: u64,
    /// Requests with that and the right kind.
    kinds: u64,
    requests: u64,
}

impl Counts {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let (mut both, mut found, mut truth) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut counts = Self::default();
        for outcome in outcomes {
            *both.entry((&outcome.found, outcome.truth)).or_insert(0) += 1;
            *found.entry(&outcome.found).or_insert(0) += 1;
            *truth.entry(outcome.truth).or_insert(0) += 1;
            counts.numbers += u64::from(outcome.number_is_right);
            counts.kinds += u64::from(outcome.number_is_right && outcome.kind_is_right);
            counts.requests += 1;
        }
        let (right, found) = (pairs(both.values()), pairs(found.values()));
        Self { right, found, truth: pairs(truth.values()), ..counts }
    }

    /// Precision and recall of pairs; shares of the requests whose number, and whose kind too, is
    /// right.
    pub(crate) fn shares(&self) -> [f64; 4] {
        let share = |part: u64, all: u64| if all == 0 { 1.0 } else { part as f64 / all as f64 };
        [
            share(self.right, self.found),
            share(self.right, self.truth),
            share(self.numbers, self.requests),
            share(self.kinds, self.requests),
        ]
    }

    /// Asserts what has to hold of a shape; at least `numbers_min` of the numbers are right.
    pub(crate) fn assert_recognised(&self, name: &str, numbers_min: f64) {
        let [precision, recall, numbers, kinds] = self.shares();
        assert!(precision >= 0.995, "{name}: precision {precision}");
        assert!(recall >= 0.95, "{name}: recall {recall}");
        assert!(numbers >= numbers_min, "{name}: turn numbers {numbers}");
        assert!(kinds >= 0.97, "{name}: turns {kinds}");
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            found: self.found + other.found,
            truth: self.truth + other.truth,
            numbers: self.numbers + other.numbers,
            kinds: self.kinds + other.kinds,
            requests: self.requests + other.requests,
        }
    }
}

fn pairs<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.map(|count| count * (count - 1) / 2).sum()
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Sent,
    Answered,
}

/// A request, and of which conversation of which shape it is.
pub(crate) struct Sent {
    shape: usize,
    conversation: usize,
    customer: usize,
    pub(crate) step: Step,
}

impl Sent {
    /// Whose it is.
    pub(crate) fn customer(&self) -> String {
        format!("customer-{}", self.customer)
    }

    /// Of which conversation it is.
    pub(crate) fn truth(&self) -> usize {
        2 * self.conversation + usize::from(self.step.apart)
    }

    pub(crate) fn outcome(&self, place: &Place) -> Outcome {
        Outcome {
            shape: self.shape,
            truth: self.truth(),
            found: place.session.to_string(),
            number_is_right: place.turn.number == self.step.turn,
            kind_is_right: place.turn.kind == self.step.kind,
        }
    }
}

/// Every request of so many conversations of these shapes and of so many customers, and what
/// happens to them in the order of time, as chance has it in this draw. A reply takes up to 40
/// seconds, and most clients wait for it.
pub(crate) fn traffic(
    shapes: &Shapes,
    (conversations, customers): (usize, usize),
    draw: u64,
) -> (Vec<Sent>, Vec<(Duration, usize, Event)>) {
    let (mut steps, mut events) = (Vec::new(), Vec::new());
    for conversation in 0..conversations {
        let mut random = fastrand::Rng::with_seed(draw << 32 | conversation as u64);
        let shape = conversation % shapes.len();
        let customer = conversation / shapes.len() % customers;
        let mut at = Duration::from_secs(random.u64(0..6 * 3600));
        let mut answered = at;
        for step in (shapes[shape].1)(&mut random) {
            at = if step.beside {
                at + Duration::from_millis(random.u64(1..500))
            } else {
                answered + Duration::from_secs(random.u64(2..150))
            };
            let ends = at + Duration::from_millis(random.u64(500..40_000));
            answered = answered.max(ends);
            events.push((at, steps.len(), Event::Sent));
            events.push((ends, steps.len(), Event::Answered));
            steps.push(Sent { shape, conversation, customer, step });
        }
    }
    events.sort_unstable();
    (steps, events)
}

/// What was counted of each shape and, last, of all of them, each with its name.
pub(crate) fn judged(shapes: &Shapes, outcomes: &[Outcome]) -> Vec<(&'static str, Counts)> {
    let of = |shape: usize| Counts::of(outcomes.iter().filter(|outcome| outcome.shape == shape));
    let each = shapes.iter().enumerate().map(|(shape, (name, _))| (*name, of(shape)));
    each.chain([(ALL, Counts::of(outcomes.iter()))]).collect()
}
