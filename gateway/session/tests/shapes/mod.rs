//! What clients of each shape send, turn by turn, with the truth beside it.

mod agents;
mod concurrent;
pub(crate) mod corpus;

use fastrand::Rng;
use permille_session::TurnKind;
use serde_json::{Value, json};

/// One request.
pub(crate) struct Step {
    /// What is sent.
    pub(crate) body: Value,
    /// The reply's text.
    pub(crate) reply: String,
    /// Which turn it is.
    pub(crate) turn: u32,
    /// How it came about.
    pub(crate) kind: TurnKind,
    /// Whether it is sent while the one before is still being answered.
    pub(crate) beside: bool,
    /// Whether it is of another conversation, which has what was said in this one.
    pub(crate) apart: bool,
}

impl Step {
    /// A request that is sent once all before it are answered.
    pub(crate) fn new(body: Value, reply: String, turn: u32, kind: TurnKind) -> Self {
        Self { body, reply, turn, kind, beside: false, apart: false }
    }

    fn beside(self) -> Self {
        Self { beside: true, ..self }
    }
}

/// A client's conversation.
pub(crate) type Shape = fn(&mut Rng) -> Vec<Step>;

/// All shapes.
pub(crate) const SHAPES: &[(&str, Shape)] = &[
    ("bare chat", bare),
    ("shared system prompt", shared_system),
    ("the same first words", same_first_words),
    ("system prompt anew each turn", system_anew),
    ("sliding window of five messages", sliding_window),
    ("few-shot examples before every question", few_shot),
    ("a greeting by the application", greeted),
    ("tool loop, OpenAI", agents::tool_loop),
    ("tool loop, Anthropic, moving cache marks", agents::tool_loop_anthropic),
    ("tool loop, ids of calls anew each turn", agents::new_ids),
    ("tool loop, Gemini", agents::gemini),
    ("agents at the same task", agents::same_task),
    ("responses, items sent again", agents::responses),
    ("regenerate", regenerate),
    ("edit and branch", branch),
    ("compaction that keeps the last exchange", compaction),
    ("Gemini", gemini),
    ("several samples of a turn at once", concurrent::samples),
    ("agents that fan out from one context", concurrent::fan_out),
    ("the same task tried several times at once", concurrent::attempts),
    ("replies that are interrupted", concurrent::interrupted),
];

const WORDS: &[&str] = &[
    "river", "price", "token", "合同", "发票", "模型", "why", "does", "the", "answer", "change",
    "when", "we", "ask", "again", "成本", "多少", "session", "report", "table", "please", "short",
    "longer", "in", "Chinese",
];

pub(crate) fn words(random: &mut Rng, from: usize, to: usize) -> String {
    let count = random.usize(from..=to);
    let chosen: Vec<_> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    chosen.join(" ")
}

/// What people say: now and then only a word.
pub(crate) fn question(random: &mut Rng) -> String {
    match random.u8(..10) {
        0 => "go on".to_owned(),
        1 => "why?".to_owned(),
        2 => "继续".to_owned(),
        _ => words(random, 5, 40),
    }
}

pub(crate) fn reply(random: &mut Rng) -> String {
    words(random, 10, 120)
}

pub(crate) fn turns(random: &mut Rng) -> u32 {
    random.u32(1..=9)
}

pub(crate) fn kind_of(turn: u32) -> TurnKind {
    if turn == 1 { TurnKind::New } else { TurnKind::Continue }
}

pub(crate) fn say(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

pub(crate) fn chat(messages: &[Value]) -> Value {
    json!({"model": "gpt-4o-mini", "stream": true, "messages": messages})
}

/// A plain conversation whose messages each turn are made by `sent` of the whole history.
fn plain(
    random: &mut Rng,
    mut first: Option<String>,
    mut sent: impl FnMut(&mut Rng, &[Value]) -> Value,
) -> Vec<Step> {
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for turn in 1..=turns(random) {
        let asked = first.take().unwrap_or_else(|| question(random));
        history.push(say("user", &asked));
        let body = sent(random, &history);
        let answer = reply(random);
        history.push(say("assistant", &answer));
        steps.push(Step::new(body, answer, turn, kind_of(turn)));
    }
    steps
}

fn bare(random: &mut Rng) -> Vec<Step> {
    plain(random, None, |_, history| chat(history))
}

fn shared_system(random: &mut Rng) -> Vec<Step> {
    let system = say("system", "You are the assistant of Acme. Be short and polite.");
    plain(random, None, move |_, history| chat(&[std::slice::from_ref(&system), history].concat()))
}

fn same_first_words(random: &mut Rng) -> Vec<Step> {
    let greeting = ["hi", "你好", "Hello, can you help me?"][random.usize(..3)];
    let mut steps = Vec::new();
    let mut history = Vec::new();
    for turn in 1..=turns(random) {
        let asked = if turn == 1 { greeting.to_owned() } else { question(random) };
        history.push(say("user", &asked));
        let body = chat(&history);
        let canned = ["Hello! How can I help you today?", "Hi there!", "你好！有什么可以帮你？"];
        let answer = if turn == 1 { canned[random.usize(..3)].to_owned() } else { reply(random) };
        history.push(say("assistant", &answer));
        steps.push(Step::new(body, answer, turn, kind_of(turn)));
    }
    steps
}

/// Examples that everybody's requests begin with, then a conversation.
fn few_shot(random: &mut Rng) -> Vec<Step> {
    let shown = [
        say("user", "Translate into French: the river carried the bridge away in the night."),
        say("assistant", "La rivière a emporté le pont pendant la nuit, sans témoin."),
        say("user", "Translate into French: timber."),
        say("assistant", "Bois de construction."),
    ];
    plain(random, None, move |_, history| chat(&[&shown[..], history].concat()))
}

/// A message of the application that everybody's conversation opens with; short answers to it.
fn greeted(random: &mut Rng) -> Vec<Step> {
    let greeting = say("assistant", "Good morning! I am Acme's assistant. What can I do for you?");
    let first = ["hi", "help", "my invoice", "退款"][random.usize(..4)].to_owned();
    plain(random, Some(first), move |_, history| {
        chat(&[std::slice::from_ref(&greeting), history].concat())
    })
}

fn system_anew(random: &mut Rng) -> Vec<Step> {
    plain(random, None, |random, history| {
        let now =
            format!("You are Cline. Open files: {}. Time: {}", words(random, 3, 9), random.u64(..));
        chat(&[&[say("system", &now)], history].concat())
    })
}

fn sliding_window(random: &mut Rng) -> Vec<Step> {
    plain(random, None, |_, history| chat(&history[history.len().saturating_sub(5)..]))
}

fn regenerate(random: &mut Rng) -> Vec<Step> {
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for turn in 1..=turns(random) {
        // Nine in ten conversations open with a question of a dozen words.
        let opens = turn == 1 && random.u8(..10) > 0;
        let asked = if opens { words(random, 12, 40) } else { question(random) };
        history.push(say("user", &asked));
        let mut answer = reply(random);
        let body = chat(&history);
        steps.push(Step::new(body.clone(), answer.clone(), turn, kind_of(turn)));
        while random.u8(..10) < 3 {
            answer = reply(random);
            let kind = TurnKind::Regenerate;
            steps.push(Step::new(body.clone(), answer.clone(), turn, kind));
        }
        history.push(say("assistant", &answer));
    }
    steps
}

fn branch(random: &mut Rng) -> Vec<Step> {
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..turns(random) {
        // Now and then somebody goes back and asks otherwise, after the first turn.
        let edits = history.len() > 4 && random.u8(..4) == 0;
        if edits {
            let kept = 2 * random.usize(1..history.len() / 2);
            history.truncate(kept);
        }
        history.push(say("user", &question(random)));
        let answer = reply(random);
        let turn = u32::try_from(history.len().div_ceil(2)).unwrap();
        let kind = if edits { TurnKind::Branch } else { kind_of(turn) };
        steps.push(Step::new(chat(&history), answer.clone(), turn, kind));
        history.push(say("assistant", &answer));
    }
    steps
}

fn compaction(random: &mut Rng) -> Vec<Step> {
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for turn in 1..=turns(random) + 4 {
        if history.len() >= 8 {
            // The client keeps the last exchange and a summary of the rest.
            let kept = history.split_off(history.len() - 2);
            let summary = format!("Summary of what was said so far: {}", words(random, 20, 60));
            history = [vec![say("user", &summary), say("assistant", "Understood.")], kept].concat();
        }
        history.push(say("user", &question(random)));
        let answer = reply(random);
        steps.push(Step::new(chat(&history), answer.clone(), turn, kind_of(turn)));
        history.push(say("assistant", &answer));
    }
    steps
}

fn gemini(random: &mut Rng) -> Vec<Step> {
    let mut contents = Vec::new();
    let mut steps = Vec::new();
    for turn in 1..=turns(random) {
        contents.push(json!({"role": "user", "parts": [{"text": question(random)}]}));
        let body =
            json!({"systemInstruction": {"parts": [{"text": "Be short."}]}, "contents": contents});
        let answer = reply(random);
        contents.push(json!({"role": "model", "parts": [{"text": answer}]}));
        steps.push(Step::new(body, answer, turn, kind_of(turn)));
    }
    steps
}
