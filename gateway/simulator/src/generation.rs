//! Generating a reply: what is said, piece by piece, and why it ends. Nothing about the wire.

use std::{borrow::Cow, vec};

use serde_json::{Map, Value, json};

use crate::{
    ask::{Ask, Tool},
    tokens::{self, Fragment},
    vocabulary::{Dice, Language, WordSource},
};

/// What a piece of a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reasoning that the client gets to see.
    Reasoning,
    Text,
    /// The name of the tool that is called.
    ToolName,
    /// A part of the tool's arguments.
    ToolArguments,
}

/// The smallest thing that is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) text: Cow<'static, str>,
    /// Tokens generated for it, hidden reasoning before it included.
    pub(crate) tokens: u64,
    /// Of these, reasoning.
    pub(crate) reasoning: u64,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// The client's limit cut it.
    Length,
    ToolCall,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Choice {
    visible_reasoning: Option<WordSource>,
    /// Reasoning that goes with the first piece.
    hidden_reasoning: u64,
    body: Body,
    pub(crate) finish: Finish,
}

#[derive(Debug)]
enum Body {
    Text(WordSource),
    Tool { name: Option<Fragment>, arguments: vec::IntoIter<Fragment> },
}

/// Shortest and longest reply that nobody asked for, in tokens.
const LENGTH_TOKENS: (u64, u64) = (20, 200);

impl Choice {
    /// The answer number `index` to `ask`. `shows_reasoning`: the client gets to see it.
    fn new(ask: &Ask, seed: u64, index: u64, shows_reasoning: bool) -> Self {
        let text_seed = ask.prompt.seed(seed, index);
        let mut dice = Dice::new(text_seed);
        let drawn = dice.between(LENGTH_TOKENS.0, LENGTH_TOKENS.1);
        let share = dice.between(25, 50);
        if let Some(tool) = &ask.tool {
            return Self::tool_call(tool, ask.limit, ask.language, text_seed);
        }
        let wanted = ask.controls.tokens.unwrap_or(drawn);
        let tokens = ask.limit.map_or(wanted, |limit| limit.min(wanted));
        let reasoning = if ask.reasons { tokens * share / 100 } else { 0 };
        let visible = shows_reasoning
            .then(|| WordSource::new(ask.language, text_seed.wrapping_add(1), reasoning));
        Self {
            hidden_reasoning: if shows_reasoning { 0 } else { reasoning },
            visible_reasoning: visible,
            body: Body::Text(WordSource::new(ask.language, text_seed, tokens - reasoning)),
            finish: if tokens < wanted { Finish::Length } else { Finish::Stop },
        }
    }

    fn tool_call(tool: &Tool, limit: Option<u64>, language: Language, seed: u64) -> Self {
        let name = Fragment { text: tool.name.clone(), tokens: tokens::count(&tool.name) };
        let mut arguments = tokens::fragments(&arguments(&tool.schema, language, seed).to_string());
        let mut finish = Finish::ToolCall;
        if let Some(limit) = limit {
            let mut total = name.tokens;
            let fitting = arguments.iter().take_while(|fragment| {
                total += fragment.tokens;
                total <= limit
            });
            let fitting = fitting.count();
            if fitting < arguments.len() {
                arguments.truncate(fitting);
                finish = Finish::Length;
            }
        }
        let body = Body::Tool { name: Some(name), arguments: arguments.into_iter() };
        Self { visible_reasoning: None, hidden_reasoning: 0, body, finish }
    }

    fn next(&mut self) -> Option<Piece> {
        if let Some(fragment) = self.visible_reasoning.as_mut().and_then(Iterator::next) {
            return Some(piece(Kind::Reasoning, Cow::Borrowed(&fragment.text), fragment.tokens));
        }
        let mut next = match &mut self.body {
            Body::Text(words) => {
                let fragment = words.next()?;
                piece(Kind::Text, Cow::Borrowed(&fragment.text), fragment.tokens)
            }
            Body::Tool { name, arguments } => {
                if let Some(name) = name.take() {
                    piece(Kind::ToolName, Cow::Owned(name.text), name.tokens)
                } else {
                    let fragment = arguments.next()?;
                    piece(Kind::ToolArguments, Cow::Owned(fragment.text), fragment.tokens)
                }
            }
        };
        let hidden = std::mem::take(&mut self.hidden_reasoning);
        next.tokens += hidden;
        next.reasoning += hidden;
        Some(next)
    }
}

fn piece(kind: Kind, text: Cow<'static, str>, tokens: u64) -> Piece {
    Piece { kind, text, tokens, reasoning: if kind == Kind::Reasoning { tokens } else { 0 } }
}

/// Arguments that fit a tool's schema, as far as types go.
fn arguments(schema: &Value, language: Language, seed: u64) -> Value {
    /// Words of a made up text argument, in tokens.
    const TEXT_TOKENS: u64 = 4;
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut made = Map::new();
    for (index, (name, property)) in properties.into_iter().flatten().enumerate() {
        let salt = u64::try_from(index).unwrap_or(0);
        let choices = property.get("enum").and_then(Value::as_array);
        let value = match (choices.and_then(|all| all.first()), property.get("type")) {
            (Some(first), _) => first.clone(),
            (None, Some(Value::String(kind))) => match kind.as_str() {
                "integer" | "number" => json!(Dice::new(seed ^ salt).between(1, 99)),
                "boolean" => json!(true),
                "array" => json!([]),
                "object" => arguments(property, language, seed ^ salt),
                "null" => Value::Null,
                _ => {
                    let words = WordSource::new(language, seed.wrapping_add(salt), TEXT_TOKENS);
                    json!(words.map(|fragment| fragment.text.as_str()).collect::<String>())
                }
            },
            (None, _) => json!("any"),
        };
        made.insert(name.clone(), value);
    }
    Value::Object(made)
}

/// A reply in the making: its choices take turns.
#[derive(Debug)]
pub(crate) struct Generation {
    choices: Vec<Choice>,
    turn: usize,
}

impl Generation {
    pub(crate) fn new(ask: &Ask, seed: u64, shows_reasoning: bool) -> Self {
        let choices =
            (0..ask.choices).map(|index| Choice::new(ask, seed, index, shows_reasoning)).collect();
        Self { choices, turn: 0 }
    }

    /// The next piece and the number of the choice that it belongs to.
    pub(crate) fn next(&mut self) -> Option<(usize, Piece)> {
        let count = self.choices.len();
        for _ in 0..count {
            let index = self.turn % count;
            self.turn = index + 1;
            if let Some(piece) = self.choices.get_mut(index).and_then(Choice::next) {
                return Some((index, piece));
            }
        }
        None
    }

    pub(crate) fn choices(&self) -> &[Choice] {
        &self.choices
    }
}
