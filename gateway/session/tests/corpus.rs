//! How often a conversation is recognised, over 10,000 conversations of 17 client shapes whose
//! requests come in between each other, with every explicit id hidden.
//!
//! Two requests of one conversation that are found in one count for recall; two requests that are
//! found in one conversation count for precision when they are of one.

#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; shares are printed"
)]

mod shapes;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use permille_session::{Bounds, Key, Replied, Sessions};
use shapes::{SHAPES, Step};

const CONVERSATIONS: usize = 10_000;
const CUSTOMERS: usize = 20;

/// One request as it was placed, beside the truth.
struct Outcome {
    shape: usize,
    truth: usize,
    found: String,
    number_is_right: bool,
    kind_is_right: bool,
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

/// Every step of every conversation, in the order of time.
fn traffic() -> Vec<(Duration, usize, usize, Step)> {
    let mut steps = Vec::new();
    for conversation in 0..CONVERSATIONS {
        let mut random = fastrand::Rng::with_seed(conversation as u64);
        let shape = conversation % SHAPES.len();
        let mut at = Duration::from_secs(random.u64(0..6 * 3600));
        for step in (SHAPES[shape].1)(&mut random) {
            at += Duration::from_secs(random.u64(2..180));
            steps.push((at, conversation, shape, step));
        }
    }
    steps.sort_by_key(|(at, conversation, ..)| (*at, *conversation));
    steps
}

#[test]
fn conversations_are_told_apart_and_kept_together() {
    let sessions = Sessions::new(Key::new([7; 32]), Bounds::default());
    let start = Instant::now();
    let mut outcomes = Vec::new();
    for (number, (at, conversation, shape, step)) in traffic().into_iter().enumerate() {
        let customer = format!("customer-{}", conversation / SHAPES.len() % CUSTOMERS);
        let body = serde_json::to_vec(&step.body).unwrap();
        let said = sessions.read(&body);
        let fresh = format!("request-{number}").parse().unwrap();
        let placed = sessions.place(&[&customer], &said, fresh, start + at);
        if let Some(reply) = &step.reply {
            let replied = Replied { text: reply, ..Replied::default() };
            sessions.replied(&placed, replied, start + at);
        }
        outcomes.push(Outcome {
            shape,
            truth: conversation,
            found: placed.place.session.to_string(),
            number_is_right: placed.place.turn.number == step.turn,
            kind_is_right: placed.place.turn.kind == step.kind,
        });
    }

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
        assert!(numbers >= 0.998, "{name}: turn numbers {numbers}");
        assert!(turns >= 0.97, "{name}: turns {turns}");
    }
}
