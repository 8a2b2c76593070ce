//! How often a conversation is recognised, over 10,000 conversations of 21 client shapes whose
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

use std::{collections::HashMap, time::Instant};

use permille_session::{Bounds, Conversation, Key, Replied, Search, Sessions};
use shapes::corpus::{Event, judge, traffic};

const CONVERSATIONS: usize = 10_000;

#[test]
fn conversations_are_told_apart_and_kept_together() {
    let (key, sessions) = (Key::new([7; 32]), Sessions::new(Bounds::default()));
    let start = Instant::now();
    let (sent, events) = traffic(CONVERSATIONS);
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

    // Every number is right, without exception.
    judge(&outcomes, 1.0);
}
