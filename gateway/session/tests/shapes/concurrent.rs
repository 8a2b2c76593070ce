//! Clients with several requests of one conversation under way at once.

use fastrand::Rng;
use permille_session::TurnKind;
use serde_json::{Value, json};

use super::{Step, agents::Call, chat, kind_of, question, reply, say, turns, words};

/// The same request two to four times at once, of whose answers one is kept.
pub(super) fn samples(random: &mut Rng) -> Vec<Step> {
    let (mut history, mut steps) = (Vec::new(), Vec::new());
    for turn in 1..=turns(random) {
        // Whoever wants several answers has asked more than a word.
        let asked = if turn == 1 { words(random, 20, 40) } else { question(random) };
        history.push(say("user", &asked));
        let answers: Vec<_> = (0..random.usize(2..=4)).map(|_| reply(random)).collect();
        for (number, answer) in answers.iter().enumerate() {
            let kind = if number == 0 { kind_of(turn) } else { TurnKind::Regenerate };
            let step = Step::new(chat(&history), answer.clone(), turn, kind);
            steps.push(if number == 0 { step } else { step.beside() });
        }
        let kept = random.usize(..answers.len());
        history.push(say("assistant", &answers[kept]));
    }
    steps
}

/// An agent and what it has said so far.
struct Agent {
    history: Vec<Value>,
    turn: u32,
}

impl Agent {
    fn ask(&self, answer: &str, kind: TurnKind) -> Step {
        let tool = json!({"type": "function", "function": {"name": "bash"}});
        let mut body = chat(&self.history);
        body["tools"] = json!([tool]);
        Step::new(body, answer.to_owned(), self.turn, kind)
    }

    /// Asks, is told to call a tool and has called it.
    fn call(&mut self, random: &mut Rng, kind: TurnKind) -> Step {
        let call = Call::any(random);
        let step = self.ask(&call.delivered(), kind);
        let id = format!("call_{}", random.u64(..));
        let arguments = call.delivered().replacen(call.name, "", 1);
        self.history.push(json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
        ]}));
        self.history.push(json!({"role": "tool", "tool_call_id": id, "content": call.result}));
        step
    }

    fn fork(&self) -> Self {
        Self { history: self.history.clone(), turn: self.turn + 1 }
    }
}

/// A planner whose helpers each go on from all that it said, with a task and a tool loop of their
/// own, all at once; then the planner goes on with what they found.
pub(super) fn fan_out(random: &mut Rng) -> Vec<Step> {
    let mut planner = Agent { history: vec![say("user", &words(random, 8, 40))], turn: 1 };
    let plan = reply(random);
    let mut steps = vec![planner.ask(&plan, TurnKind::New)];
    planner.history.push(say("assistant", &plan));
    let mut forks: Vec<_> = (0..random.usize(2..=4)).map(|_| planner.fork()).collect();
    for (number, fork) in forks.iter_mut().enumerate() {
        fork.history.push(say("user", &words(random, 5, 20)));
        let kind = if number == 0 { TurnKind::Continue } else { TurnKind::Branch };
        let step = fork.call(random, kind);
        steps.push(if number == 0 { step } else { step.beside() });
    }
    for _ in 0..random.u32(1..=3) {
        for (number, fork) in forks.iter_mut().enumerate() {
            fork.turn += 1;
            let step = fork.call(random, TurnKind::ToolLoop);
            steps.push(if number == 0 { step } else { step.beside() });
        }
    }
    planner.turn += 1;
    planner.history.push(say("user", &format!("They found: {}", words(random, 10, 60))));
    steps.push(planner.ask(&reply(random), TurnKind::Branch));
    steps
}

/// A conversation from whose last answer the same task is tried several times at once, word by
/// word; each try goes on with the results of its own calls.
pub(super) fn attempts(random: &mut Rng) -> Vec<Step> {
    let mut agent = Agent { history: vec![say("user", &words(random, 8, 40))], turn: 1 };
    let answer = reply(random);
    let mut steps = vec![agent.ask(&answer, TurnKind::New)];
    agent.history.extend([say("assistant", &answer), say("user", "Now do it.")]);
    let mut tries: Vec<_> = (0..random.usize(2..=4)).map(|_| agent.fork()).collect();
    for (number, one) in tries.iter_mut().enumerate() {
        let kind = if number == 0 { TurnKind::Continue } else { TurnKind::Regenerate };
        let step = one.call(random, kind);
        steps.push(if number == 0 { step } else { step.beside() });
    }
    for _ in 0..random.u32(1..=3) {
        for (number, one) in tries.iter_mut().enumerate() {
            one.turn += 1;
            let step = one.call(random, TurnKind::ToolLoop);
            steps.push(if number == 0 { step } else { step.beside() });
        }
    }
    steps
}

/// Somebody who does not wait for the end of a reply: the next question comes while it is still
/// being drained, and the history has what was shown of it.
pub(super) fn interrupted(random: &mut Rng) -> Vec<Step> {
    let (mut history, mut steps) = (Vec::new(), Vec::new());
    let mut interrupts = false;
    for turn in 1..=turns(random) {
        history.push(say("user", &if turn == 1 { words(random, 6, 40) } else { question(random) }));
        let answer = reply(random);
        let step = Step::new(chat(&history), answer.clone(), turn, kind_of(turn));
        steps.push(if interrupts { step.beside() } else { step });
        interrupts = random.u8(..3) == 0;
        let letters = if interrupts { random.usize(5..60) } else { answer.len() };
        let shown: String = answer.chars().take(letters).collect();
        history.push(say("assistant", &shown));
    }
    steps
}
