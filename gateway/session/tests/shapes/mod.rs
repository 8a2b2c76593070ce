//! What clients of each shape send, turn by turn, with the truth beside it.

use fastrand::Rng;
use permille_session::TurnKind;
use serde_json::{Value, json};

/// One request.
pub(crate) struct Step {
    /// What is sent.
    pub(crate) body: Value,
    /// The reply's text, where that is all of it.
    pub(crate) reply: Option<String>,
    /// Which turn it is.
    pub(crate) turn: u32,
    /// How it came about.
    pub(crate) kind: TurnKind,
}

/// A client's conversation.
type Shape = fn(&mut Rng) -> Vec<Step>;

/// All shapes.
pub(crate) const SHAPES: &[(&str, Shape)] = &[
    ("bare chat", bare),
    ("shared system prompt", shared_system),
    ("the same first words", same_first_words),
    ("system prompt anew each turn", system_anew),
    ("sliding window", sliding_window),
    ("tool loop, OpenAI", tool_loop),
    ("tool loop, Anthropic, moving cache marks", tool_loop_anthropic),
    ("regenerate", regenerate),
    ("edit and branch", branch),
    ("compaction", compaction),
    ("responses, items sent again", responses),
    ("Gemini", gemini),
];

const WORDS: &[&str] = &[
    "river", "price", "token", "合同", "发票", "模型", "why", "does", "the", "answer", "change",
    "when", "we", "ask", "again", "成本", "多少", "session", "report", "table", "please", "short",
    "longer", "in", "Chinese",
];

fn words(random: &mut Rng, from: usize, to: usize) -> String {
    let count = random.usize(from..=to);
    let chosen: Vec<_> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    chosen.join(" ")
}

/// What people say: now and then only a word.
fn question(random: &mut Rng) -> String {
    match random.u8(..10) {
        0 => "go on".to_owned(),
        1 => "why?".to_owned(),
        2 => "继续".to_owned(),
        _ => words(random, 5, 40),
    }
}

fn reply(random: &mut Rng) -> String {
    words(random, 10, 120)
}

fn turns(random: &mut Rng) -> u32 {
    random.u32(1..=9)
}

fn kind_of(turn: u32) -> TurnKind {
    if turn == 1 { TurnKind::New } else { TurnKind::Continue }
}

fn say(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn chat(messages: &[Value]) -> Value {
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
        steps.push(Step { body, reply: Some(answer), turn, kind: kind_of(turn) });
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
        steps.push(Step { body, reply: Some(answer), turn, kind: kind_of(turn) });
    }
    steps
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

fn tool_loop(random: &mut Rng) -> Vec<Step> {
    let mut history = vec![say("system", "You are an agent.")];
    let mut steps = Vec::new();
    let mut turn = 0;
    for _ in 0..random.u32(1..=3) {
        history.push(say("user", &question(random)));
        let mut kind = TurnKind::Continue;
        for call in 0..random.u32(0..=4) {
            turn += 1;
            let id = format!("call_{}", random.u64(..));
            let arguments = json!({"path": words(random, 1, 3), "n": call}).to_string();
            let body = chat(&history);
            let delivered = Some(format!("read_file{arguments}"));
            steps.push(Step { body, reply: delivered, turn, kind: first_or(turn, kind) });
            history.push(json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "read_file", "arguments": arguments}}]}));
            history
                .push(json!({"role": "tool", "tool_call_id": id, "content": words(random, 2, 60)}));
            kind = TurnKind::ToolLoop;
        }
        turn += 1;
        let answer = reply(random);
        steps.push(Step {
            body: chat(&history),
            reply: Some(answer.clone()),
            turn,
            kind: first_or(turn, kind),
        });
        history.push(say("assistant", &answer));
    }
    steps
}

fn first_or(turn: u32, kind: TurnKind) -> TurnKind {
    if turn == 1 { TurnKind::New } else { kind }
}

fn tool_loop_anthropic(random: &mut Rng) -> Vec<Step> {
    let mut history: Vec<Value> = Vec::new();
    let mut steps = Vec::new();
    let mut turn = 0;
    for _ in 0..random.u32(1..=3) {
        history.push(say("user", &question(random)));
        let mut kind = TurnKind::Continue;
        for _ in 0..random.u32(0..=4) {
            turn += 1;
            steps.push(Step {
                body: marked(&history),
                reply: None,
                turn,
                kind: first_or(turn, kind),
            });
            let id = format!("toolu_{}", random.u64(..));
            history.push(json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": words(random, 3, 20), "signature": "c2ln"},
                {"type": "text", "text": words(random, 2, 9)},
                {"type": "tool_use", "id": id, "name": "bash", "input": {"command": words(random, 1, 4)}}]}));
            history.push(json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": id, "content": words(random, 1, 50)}]}));
            kind = TurnKind::ToolLoop;
        }
        turn += 1;
        let answer = reply(random);
        steps.push(Step {
            body: marked(&history),
            reply: Some(answer.clone()),
            turn,
            kind: first_or(turn, kind),
        });
        history.push(say("assistant", &answer));
    }
    steps
}

/// The last message carries the mark of what to cache, which turns its text into a block.
fn marked(history: &[Value]) -> Value {
    let mut messages = history.to_vec();
    if let Some(last) = messages.last_mut() {
        if let Some(text) = last["content"].as_str().map(str::to_owned) {
            last["content"] = json!([{"type": "text", "text": text}]);
        }
        if let Some(block) = last["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
    }
    json!({"model": "claude-sonnet-4-5", "max_tokens": 1024, "system": "You are an agent.", "messages": messages})
}

fn regenerate(random: &mut Rng) -> Vec<Step> {
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for turn in 1..=turns(random) {
        history.push(say("user", &question(random)));
        let mut answer = reply(random);
        let body = chat(&history);
        steps.push(Step {
            body: body.clone(),
            reply: Some(answer.clone()),
            turn,
            kind: kind_of(turn),
        });
        while random.u8(..10) < 3 {
            answer = reply(random);
            let kind = TurnKind::Regenerate;
            steps.push(Step { body: body.clone(), reply: Some(answer.clone()), turn, kind });
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
        steps.push(Step { body: chat(&history), reply: Some(answer.clone()), turn, kind });
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
        steps.push(Step {
            body: chat(&history),
            reply: Some(answer.clone()),
            turn,
            kind: kind_of(turn),
        });
        history.push(say("assistant", &answer));
    }
    steps
}

fn responses(random: &mut Rng) -> Vec<Step> {
    let mut items = Vec::new();
    let mut steps = Vec::new();
    let mut turn = 0;
    for _ in 0..turns(random) {
        items.push(
            json!({"role": "user", "content": [{"type": "input_text", "text": question(random)}]}),
        );
        let mut kind = TurnKind::Continue;
        if random.bool() {
            turn += 1;
            let body = json!({"model": "gpt-5", "instructions": "Be short.", "input": items});
            steps.push(Step { body, reply: None, turn, kind: first_or(turn, kind) });
            let id = format!("call_{}", random.u64(..));
            items.push(json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "eA=="}));
            items.push(json!({"type": "function_call", "call_id": id, "name": "look_up",
                "arguments": json!({"q": words(random, 1, 4)}).to_string()}));
            items.push(json!({"type": "function_call_output", "call_id": id, "output": words(random, 2, 30)}));
            kind = TurnKind::ToolLoop;
        }
        turn += 1;
        let body = json!({"model": "gpt-5", "instructions": "Be short.", "input": items});
        let answer = reply(random);
        steps.push(Step { body, reply: Some(answer.clone()), turn, kind: first_or(turn, kind) });
        items.push(json!({"type": "message", "role": "assistant", "id": format!("msg_{}", random.u64(..)),
            "status": "completed", "content": [{"type": "output_text", "text": answer, "annotations": []}]}));
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
        steps.push(Step { body, reply: Some(answer), turn, kind: kind_of(turn) });
    }
    steps
}
