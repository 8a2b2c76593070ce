//! Ollama's native format: one JSON document per line, or one for all of the reply.
//!
//! Source: Ollama API documentation, "Generate a chat completion", "Generate a completion",
//! "Generate embeddings"; `Metrics` in Ollama's `api/types.go`. Counts come with the line that
//! says `done` and are left out where they are 0, so an absent one is not known.

use super::{
    Verdict, WireFamily, common_keys, read_top_level,
    wire::{ToolCalls, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Count, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::RawText,
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ollama;

objects! {
    /// One line of a stream, or a whole reply: the two share their shape.
    struct Reply<'a> {
        model: Text<'a>,
        message: Object<Message<'a>>,
        response: RawText<'a>,
        thinking: RawText<'a>,
        error: Present,
        done: Present,
        done_reason: Text<'a>,
        prompt_eval_count: Count,
        prompt_eval_cached_count: Count,
        eval_count: Count,
    }

    struct Message<'a> {
        content: RawText<'a>,
        thinking: RawText<'a>,
        tool_calls: ToolCalls<'a>,
    }
}

impl WireFamily for Ollama {
    /// `prompt_eval_count` holds what was read from the cache (`prompt_eval_cached_count`, told
    /// since 0.12), `eval_count` holds thinking.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &[
        "model",
        "error",
        "done",
        "done_reason",
        "prompt_eval_count",
        "prompt_eval_cached_count",
        "eval_count",
    ];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data else { return Verdict::Plain };
        match object(data) {
            Some(reply) => note(&reply, facts),
            None => read_top_level(self, event, facts),
        }
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        let bad = &mut facts.parts.bad;
        let reply = Reply {
            error: document.read("error", bad),
            done: document.read("done", bad),
            done_reason: document.read("done_reason", bad),
            prompt_eval_count: document.read("prompt_eval_count", bad),
            prompt_eval_cached_count: document.read("prompt_eval_cached_count", bad),
            eval_count: document.read("eval_count", bad),
            ..Reply::default()
        };
        note(&reply, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            reply_text(&reply, text);
        }
    }
}

fn note(reply: &Reply<'_>, facts: &mut Facts) -> Verdict {
    facts.note_model(reply.model.as_str());
    reply_text(reply, &mut facts.text);
    let mut parts = Parts::default();
    parts.input = reply.prompt_eval_count.read(&mut parts.bad);
    parts.cache_read = reply.prompt_eval_cached_count.read(&mut parts.bad);
    parts.output = reply.eval_count.read(&mut parts.bad);
    if matches!(reply.done_reason.as_str(), "load" | "unload") {
        // A request without a prompt only moves the model into or out of memory.
        parts.input = parts.input.or(Some(0));
        parts.output = parts.output.or(Some(0));
    }
    facts.parts.merge(&parts);
    facts.close(reply.error.is_present(), reply.done.is_present())
}

fn reply_text(reply: &Reply<'_>, text: &mut DeliveredText) {
    reply.response.push_to(&mut text.visible);
    reply.thinking.push_to(&mut text.reasoning);
    let Some(message) = reply.message.get() else { return };
    message.content.push_to(&mut text.visible);
    message.thinking.push_to(&mut text.reasoning);
    message.tool_calls.push_to(&mut text.visible);
}
