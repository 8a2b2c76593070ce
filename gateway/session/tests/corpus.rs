//! How often a conversation is recognised, over 10,000 conversations of twelve client shapes whose
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
    turn_is_right: bool,
}

/// Share of pairs.
struct Shares {
    precision: f64,
    recall: f64,
    turns: f64,
}

fn pairs<'a>(counts: impl Iterator<Item = &'a u64>) -> f64 {
    counts.map(|count| count * (count - 1) / 2).sum::<u64>() as f64
}

fn shares<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Shares {
    let (mut both, mut found, mut truth) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut turns, mut all) = (0_u64, 0_u64);
    for outcome in outcomes {
        *both.entry((&outcome.found, outcome.truth)).or_insert(0_u64) += 1;
        *found.entry(&outcome.found).or_insert(0_u64) += 1;
        *truth.entry(outcome.truth).or_insert(0_u64) += 1;
        turns += u64::from(outcome.turn_is_right);
        all += 1;
    }
    let right = pairs(both.values());
    Shares {
        precision: right / pairs(found.values()),
        recall: right / pairs(truth.values()),
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
            turn_is_right: placed.place.turn.number == step.turn
                && placed.place.turn.kind == step.kind,
        });
    }

    println!("| client | precision | recall | turn and kind right |\n|---|---:|---:|---:|");
    for (shape, (name, _)) in SHAPES.iter().enumerate() {
        let of_shape = shares(outcomes.iter().filter(|outcome| outcome.shape == shape));
        let Shares { precision, recall, turns } = of_shape;
        println!("| {name} | {precision:.4} | {recall:.4} | {turns:.4} |");
    }
    let Shares { precision, recall, turns } = shares(outcomes.iter());
    println!("| all {} requests | {precision:.4} | {recall:.4} | {turns:.4} |", outcomes.len());

    assert!(precision >= 0.999, "precision {precision}");
    assert!(recall >= 0.98, "recall {recall}");
    assert!(turns >= 0.98, "turns {turns}");
}
