//! What agents send: turns whose new message is the result of a tool.

use fastrand::Rng;
use permille_session::TurnKind;
use serde_json::{Value, json};

use super::{Step, chat, question, reply, say, words};

/// A message of a text, as one family writes it.
type Say = fn(&str) -> Value;

/// What an agent asks of one tool.
pub(super) struct Call {
    pub(super) name: &'static str,
    arguments: Value,
    pub(super) result: String,
}

impl Call {
    pub(super) fn any(random: &mut Rng) -> Self {
        let name = ["read_file", "search", "bash"][random.usize(..3)];
        let (text, number) = (words(random, 1, 4), random.u32(..40));
        let arguments = match random.u8(..3) {
            0 => json!({"path": text}),
            1 => json!({"command": format!("{text}\n  echo \"{number}\""), "timeout": number}),
            _ => json!({"q": text, "options": {"deep": true, "lines": [1, number]}}),
        };
        Self { name, arguments, result: words(random, 2, 60) }
    }

    /// What the gateway sees of it in the reply: the provider writes JSON with spaces.
    pub(super) fn delivered(&self) -> String {
        let spaced = self.arguments.to_string().replace("\":", "\": ").replace(",\"", ", \"");
        format!("{}{spaced}", self.name)
    }
}

/// Rounds of calls and an answer, as a history of which `sent` makes requests. `called` writes what
/// the agent keeps of calls and results.
fn agent(
    random: &mut Rng,
    mut task: Option<String>,
    mut sent: impl FnMut(&mut Rng, &[Value]) -> Value,
    mut called: impl FnMut(&mut Rng, &mut Vec<Value>, Option<&str>, &[Call]),
    (user, model): (Say, Say),
) -> Vec<Step> {
    let (mut history, mut steps, mut turn) = (Vec::new(), Vec::new(), 0);
    for _ in 0..random.u32(1..=3) {
        history.push(user(&task.take().unwrap_or_else(|| question(random))));
        let mut kind = TurnKind::Continue;
        for _ in 0..random.u32(0..=4) {
            turn += 1;
            let said = random.bool().then(|| words(random, 2, 9));
            let calls: Vec<_> = (0..random.usize(1..=3)).map(|_| Call::any(random)).collect();
            let delivered: String = calls.iter().map(Call::delivered).collect();
            let delivered = said.clone().unwrap_or_default() + &delivered;
            let body = offering(sent(random, &history));
            steps.push(Step::new(body, delivered, turn, first_or(turn, kind)));
            called(random, &mut history, said.as_deref(), &calls);
            kind = TurnKind::ToolLoop;
        }
        turn += 1;
        let (answer, body) = (reply(random), offering(sent(random, &history)));
        let kind = first_or(turn, kind);
        steps.push(Step::new(body, answer.clone(), turn, kind));
        history.push(model(&answer));
    }
    steps
}

/// An agent says in every request which tools there are.
fn offering(mut body: Value) -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    body["tools"] = ["read_file", "search", "bash"].map(tool).into();
    body
}

/// Calls as the official SDK of `OpenAI` writes them again: the arguments before the name.
fn openai_calls(random: &mut Rng, history: &mut Vec<Value>, said: Option<&str>, calls: &[Call]) {
    let ids: Vec<_> = calls.iter().map(|_| format!("call_{}", random.u64(..))).collect();
    let written = calls.iter().zip(&ids).map(|(call, id)| {
        let arguments = call.delivered().replacen(call.name, "", 1);
        json!({"id": id, "type": "function",
            "function": {"arguments": arguments, "name": call.name}})
    });
    let written: Vec<_> = written.collect();
    history.push(json!({"role": "assistant", "content": said, "refusal": null,
        "tool_calls": written}));
    for (call, id) in calls.iter().zip(ids) {
        history.push(json!({"role": "tool", "tool_call_id": id, "content": call.result}));
    }
}

fn user(text: &str) -> Value {
    say("user", text)
}

fn model(text: &str) -> Value {
    say("assistant", text)
}

pub(super) fn tool_loop(random: &mut Rng) -> Vec<Step> {
    let system = say("system", "You are an agent.");
    let sent = move |_: &mut Rng, history: &[Value]| {
        chat(&[std::slice::from_ref(&system), history].concat())
    };
    agent(random, None, sent, openai_calls, (user, model))
}

/// A gateway of the client's own gives every call a new id in every request.
pub(super) fn new_ids(random: &mut Rng) -> Vec<Step> {
    let sent = |random: &mut Rng, history: &[Value]| {
        let mut messages = history.to_vec();
        for message in &mut messages {
            if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
                for call in calls {
                    call["id"] = json!(format!("call_{}", random.u64(..)));
                }
            }
            if message.get("tool_call_id").is_some() {
                message["tool_call_id"] = json!(format!("call_{}", random.u64(..)));
            }
        }
        chat(&messages)
    };
    agent(random, None, sent, openai_calls, (user, model))
}

/// Several agents are given the same task, word by word, by a schedule.
pub(super) fn same_task(random: &mut Rng) -> Vec<Step> {
    let task = [
        "Run the nightly check.",
        "检查今天的发票",
        "Review the open pull requests and say \
        which of them can be merged, one line each, the oldest first.",
    ];
    let task = task[random.usize(..3)].to_owned();
    agent(random, Some(task), |_, history| chat(history), openai_calls, (user, model))
}

pub(super) fn tool_loop_anthropic(random: &mut Rng) -> Vec<Step> {
    let called =
        |random: &mut Rng, history: &mut Vec<Value>, said: Option<&str>, calls: &[Call]| {
            let ids: Vec<_> = calls.iter().map(|_| format!("toolu_{}", random.u64(..))).collect();
            let thinking = words(random, 3, 20);
            let mut blocks =
                vec![json!({"type": "thinking", "thinking": thinking, "signature": "c2"})];
            blocks.extend(said.map(|text| json!({"type": "text", "text": text})));
            blocks.extend(calls.iter().zip(&ids).map(|(call, id)| {
            json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments})
        }));
            history.push(json!({"role": "assistant", "content": blocks}));
            let results = calls.iter().zip(ids).map(|(call, id)| {
            json!({"type": "tool_result", "tool_use_id": id, "content": call.result})
        });
            history.push(json!({"role": "user", "content": results.collect::<Vec<_>>()}));
        };
    agent(random, None, |_, history| marked(history), called, (user, model))
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

pub(super) fn gemini(random: &mut Rng) -> Vec<Step> {
    let user = |text: &str| json!({"role": "user", "parts": [{"text": text}]});
    let model = |text: &str| json!({"role": "model", "parts": [{"text": text}]});
    let called = |_: &mut Rng, history: &mut Vec<Value>, said: Option<&str>, calls: &[Call]| {
        let mut parts: Vec<_> = said.map(|text| json!({"text": text})).into_iter().collect();
        parts.extend(calls.iter().map(|call| {
            json!({"functionCall": {"name": call.name, "args": call.arguments},
                "thoughtSignature": "c2"})
        }));
        history.push(json!({"role": "model", "parts": parts}));
        let results = calls.iter().map(|call| {
            json!({"functionResponse": {"name": call.name, "response": {"result": call.result}}})
        });
        history.push(json!({"role": "user", "parts": results.collect::<Vec<_>>()}));
    };
    agent(random, None, |_, history| json!({"contents": history}), called, (user, model))
}

fn first_or(turn: u32, kind: TurnKind) -> TurnKind {
    if turn == 1 { TurnKind::New } else { kind }
}

/// `OpenAI` responses: every item of a reply is sent again as an item of its own.
pub(super) fn responses(random: &mut Rng) -> Vec<Step> {
    let user =
        |text: &str| json!({"role": "user", "content": [{"type": "input_text", "text": text}]});
    let model = |text: &str| {
        json!({"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]})
    };
    let called =
        move |random: &mut Rng, history: &mut Vec<Value>, said: Option<&str>, calls: &[Call]| {
            history.push(json!({"type": "reasoning", "id": "rs_1", "summary": [],
            "encrypted_content": "eA=="}));
            history.extend(said.map(model));
            let ids: Vec<_> = calls.iter().map(|_| format!("call_{}", random.u64(..))).collect();
            for (call, id) in calls.iter().zip(&ids) {
                history.push(json!({"type": "function_call", "call_id": id, "name": call.name,
                "arguments": call.arguments.to_string()}));
            }
            for (call, id) in calls.iter().zip(&ids) {
                history.push(json!({"type": "function_call_output", "call_id": id,
                "output": call.result}));
            }
        };
    let sent = |_: &mut Rng, history: &[Value]| json!({"model": "gpt-5", "instructions": "Be short.", "input": history});
    agent(random, None, sent, called, (user, model))
}
