//! How often a conversation is recognised, over ten draws of conversations of 21 client shapes
//! whose requests come in between each other, with every explicit id hidden: 30,000 conversations,
//! or as many in each draw as the environment variable `PERMILLE_CORPUS` says.
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

#[path = "shapes/hard.rs"]
mod hard;
mod shapes;

use std::{collections::HashMap, thread, time::Instant};

use hard::HARD;
use permille_session::{Bounds, Conversation, Key, Recogniser, Replied, Search, Sessions};
use permille_types::{Clock as _, RequestId, SystemClock};
use shapes::{
    SHAPES,
    corpus::{ALL, Counts, Event, Outcome, Shapes, judged, traffic},
};

const DRAWS: u64 = 10;
/// Conversations of each draw. What makes strangers alike by chance is how many conversations one
/// customer has, so that fewer conversations are those of fewer customers.
const CONVERSATIONS: usize = 3_000;
const CONVERSATIONS_OF_CUSTOMER: usize = 500;
/// Of the shapes that tell little, in each draw: 500 of each.
const HARD_CONVERSATIONS: usize = 500 * HARD.len();

/// Sends one draw of traffic.
fn placed(shapes: &Shapes, conversations: usize, draw: u64) -> Vec<Outcome> {
    let (key, sessions) = (Key::new([7; 32]), Sessions::new(Bounds::default()));
    let start = Instant::now();
    let customers = (conversations / CONVERSATIONS_OF_CUSTOMER).max(1);
    let (sent, events) = traffic(shapes, (conversations, customers), draw);
    let (mut outcomes, mut open) = (Vec::new(), HashMap::new());
    for (at, number, event) in events {
        let of = &sent[number];
        if event == Event::Answered {
            let replied = Replied { text: &of.step.reply, ..Replied::default() };
            sessions.replied(&open.remove(&number).unwrap(), replied, start + at);
            continue;
        }
        let said = Conversation::read(&key, &serde_json::to_vec(&of.step.body).unwrap());
        let fresh = format!("request-{number}").parse().unwrap();
        let search = Search::of(&key, &[&of.customer()], &said);
        let placed = sessions.place(&search, fresh, None, start + at);
        outcomes.push(of.outcome(&placed.place));
        open.insert(number, placed);
    }
    outcomes
}

/// What was counted of each shape in each draw; prints lowest and median share.
fn drawn(shapes: &'static Shapes, conversations: usize) -> Vec<(&'static str, Vec<Counts>)> {
    let draw = move |draw| judged(shapes, &placed(shapes, conversations, draw));
    let draws = (0..DRAWS).map(|number| thread::spawn(move || draw(number)));
    let draws: Vec<_> = draws.collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect();
    println!("| client | precision | recall | turn number right | and kind |");
    println!("|---|---:|---:|---:|---:|");
    let rows = (0..=shapes.len()).map(|row| {
        let counts: Vec<Counts> = draws.iter().map(|draw| draw[row].1).collect();
        let name = draws[0][row].0;
        let cells: Vec<String> = (0..4)
            .map(|share| {
                let mut all: Vec<_> = counts.iter().map(|draw| draw.shares()[share]).collect();
                all.sort_by(f64::total_cmp);
                format!("{:.4}, {:.4}", all[0], all[all.len() / 2])
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
        (name, counts)
    });
    rows.collect()
}

fn pooled(draws: Vec<Counts>) -> Counts {
    draws.into_iter().fold(Counts::default(), |all, draw| all + draw)
}

#[test]
fn conversations_are_told_apart_and_kept_together() {
    let wanted = std::env::var("PERMILLE_CORPUS").ok();
    let conversations = wanted.map_or(CONVERSATIONS, |wanted| wanted.parse().unwrap());
    for (name, draws) in drawn(SHAPES, conversations) {
        let pooled = pooled(draws);
        println!("{name}: {:?}", pooled.shares());
        let numbers_min = if name == ALL { 0.999 } else { 0.99 };
        pooled.assert_recognised(name, numbers_min);
    }
}

/// Some of these conversations cannot but begin anew; none of them is another one's.
#[test]
fn what_tells_little_is_never_taken_for_somebody_elses() {
    for (name, draws) in drawn(HARD, HARD_CONVERSATIONS) {
        let [precision, recall, ..] = pooled(draws).shares();
        println!("{name}: {precision} {recall}");
        assert!(precision >= 0.995, "{name}: precision {precision}");
    }
}

/// Every conversation has a name here: a request that is sent again is known by its messages.
#[tokio::test]
async fn of_named_conversations_only_a_turn_that_is_sent_again_has_a_number_of_before() {
    let (key, recogniser) = (Key::new([7; 32]), Recogniser::alone(Bounds::default()));
    let (sent, events) = traffic(SHAPES, (CONVERSATIONS, 1), 0);
    let (mut last, mut known, mut open) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut again, mut missed) = (0_u64, 0_u64);
    for (_, number, event) in events {
        let of = &sent[number];
        if event == Event::Answered {
            let (id, placed) = open.remove(&number).unwrap();
            let replied = Replied { text: &of.step.reply, ..Replied::default() };
            recogniser.replied(id, &placed, replied);
            continue;
        }
        let (body, name) = (of.step.body.to_string(), of.truth());
        let said = Conversation::read(&key, body.as_bytes());
        let scope = name.to_string();
        let search = Search::of(&key, &["acme", &scope], &said).named();
        let id = RequestId::new(SystemClock.now());
        let placed = recogniser.place(id, &search, id.into(), None).await.0.unwrap();
        let before = known.get(&(name, body.clone())).copied();
        if let Some(turn) = placed.again {
            assert_eq!(Some(turn), before, "{body}");
            again += 1;
        } else {
            missed += u64::from(before.is_some());
            let last: &mut u32 = last.entry(name).or_default();
            *last += 1;
            recogniser.given(&placed, *last);
            known.insert((name, body), *last);
        }
        open.insert(number, (id, placed));
    }
    println!("{again} sent again, {missed} more not known");
    assert!(again > 100 && missed * 20 < again, "{again} known, {missed} missed");
}
