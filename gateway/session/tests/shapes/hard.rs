//! What clients send whose history tells little of what was before.

use fastrand::Rng;
use permille_session::TurnKind;
use serde_json::Value;

use crate::shapes::{Shape, Step, chat, kind_of, question, reply, say, turns, words};

/// All of them.
pub(crate) const HARD: &[(&str, Shape)] = &[
    ("compaction to a summary alone", summary_alone),
    ("a reply handed to another agent", handed_on),
    ("edit of the first message", edit_of_the_first),
    ("sliding window of four messages", window::<4>),
    ("sliding window of three messages", window::<3>),
];

/// After some turns the client asks for a summary and goes on from that alone, as agents do.
fn summary_alone(random: &mut Rng) -> Vec<Step> {
    let (mut history, mut steps): (Vec<Value>, Vec<Step>) = (Vec::new(), Vec::new());
    for turn in 1..=turns(random) + 5 {
        if history.len() >= 8 {
            let asked = "Summarise the conversation so far for whoever goes on with it.";
            history.push(say("user", asked));
            let parts: Vec<_> =
                (1..=3).map(|part| format!("{part}. {}", words(random, 15, 40))).collect();
            let summary = parts.join("\n");
            steps.push(step(&history, &summary, next_turn(&steps)));
            history = begins_with(random, &summary);
        }
        history.push(say("user", &question(random)));
        let answer = reply(random);
        steps.push(step(&history, &answer, next_turn(&steps).max(turn)));
        history.push(say("assistant", &answer));
    }
    steps
}

/// How the next conversation begins: as an agent's first message, word by word, or as an answer.
fn begins_with(random: &mut Rng, summary: &str) -> Vec<Value> {
    match random.u8(..3) {
        0 => {
            let told = "This session is being continued from a previous conversation that ran out \
                of context. The conversation is summarized below:";
            vec![say("user", &format!("{told}\n{summary}"))]
        }
        1 => vec![say("user", summary)],
        _ => vec![say("user", "What did we do so far?"), say("assistant", summary)],
    }
}

fn next_turn(steps: &[Step]) -> u32 {
    steps.last().map_or(1, |last| last.turn + 1)
}

fn step(history: &[Value], answer: &str, turn: u32) -> Step {
    Step::new(chat(history), answer.to_owned(), turn, kind_of(turn))
}

/// What was replied last is the task of another agent, whose conversation is one of its own.
fn handed_on(random: &mut Rng) -> Vec<Step> {
    let (mut history, mut steps) = (Vec::new(), Vec::new());
    let mut last = String::new();
    for turn in 1..=turns(random) {
        history.push(say("user", &question(random)));
        last = reply(random) + "\n" + &reply(random);
        steps.push(step(&history, &last, turn));
        history.push(say("assistant", &last));
    }
    let mut history = vec![say("user", &format!("Review this text of a colleague:\n{last}"))];
    for turn in 1..=turns(random) {
        let answer = reply(random);
        steps.push(Step { apart: true, ..step(&history, &answer, turn) });
        history.extend([say("assistant", &answer), say("user", &question(random))]);
    }
    steps
}

/// The very first question is asked otherwise, once, twice or never, before the conversation goes
/// on.
fn edit_of_the_first(random: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..random.usize(1..=3) {
        let kind = if number == 0 { TurnKind::New } else { TurnKind::Branch };
        let history = [say("user", &question(random))];
        steps.push(Step::new(chat(&history), reply(random), 1, kind));
    }
    let mut history = vec![say("user", &question(random))];
    for turn in 1..=turns(random) {
        let answer = reply(random);
        let kind = if turn == 1 { TurnKind::Branch } else { TurnKind::Continue };
        steps.push(Step::new(chat(&history), answer.clone(), turn, kind));
        history.extend([say("assistant", &answer), say("user", &question(random))]);
    }
    steps
}

fn window<const MESSAGES: usize>(random: &mut Rng) -> Vec<Step> {
    let (mut history, mut steps) = (Vec::new(), Vec::new());
    for turn in 1..=turns(random) {
        history.push(say("user", &question(random)));
        let answer = reply(random);
        steps.push(step(&history[history.len().saturating_sub(MESSAGES)..], &answer, turn));
        history.push(say("assistant", &answer));
    }
    steps
}
