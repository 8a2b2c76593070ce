//! Baidu Qianfan's first, native format: ERNIE chat, completions and embeddings of private
//! installations and archives. Baidu's own service of it ended on 2026-08-31.
//!
//! Source: Baidu Qianfan documentation, "ERNIE-4.0-8K", "Embedding-V1", "Error codes"; field names
//! as in the official Python SDK 0.4. Every event repeats usage, as a running count.

use super::{
    Verdict, WireFamily, common_keys, read_top_level,
    wire::{Function, object},
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
pub(crate) struct QianfanV1;

objects! {
    /// One event of a stream, or a whole reply: the two share their shape.
    struct Reply<'a> {
        id: Text<'a>,
        result: RawText<'a>,
        function_call: Object<Function<'a>>,
        finish_reason: Text<'a>,
        is_end: Present,
        usage: Object<WireUsage>,
        error_code: Present,
    }

    struct WireUsage {
        prompt_tokens: Count,
        completion_tokens: Count,
        total_tokens: Count,
        prompt_tokens_details: Object<InputDetails>,
    }

    struct InputDetails {
        cached_tokens: Count,
    }
}

impl WireFamily for QianfanV1 {
    /// `prompt_tokens` holds cached tokens. Reasoning is not reported.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &["id", "usage", "is_end", "finish_reason", "error_code"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data else { return Verdict::Plain };
        match object(data) {
            Some(reply) => note(reply, facts),
            None => read_top_level(self, event, facts),
        }
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        let bad = &mut facts.parts.bad;
        let reply = Reply {
            usage: document.read("usage", bad),
            is_end: document.read("is_end", bad),
            finish_reason: document.read("finish_reason", bad),
            error_code: document.read("error_code", bad),
            ..Reply::default()
        };
        note(reply, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            reply_text(&reply, text);
        }
    }
}

fn note(reply: Reply<'_>, facts: &mut Facts) -> Verdict {
    facts.note_id(reply.id.as_str());
    reply_text(&reply, &mut facts.text);
    facts.parts.merge(&usage_parts(reply.usage));
    // `is_end` closes every stream that does not fail; there is no other mark.
    facts.close(reply.error_code.is_present(), reply.is_end.is_present())
}

fn reply_text(reply: &Reply<'_>, text: &mut DeliveredText) {
    text.note_stop(reply.finish_reason.as_str());
    reply.result.push_to(&mut text.visible);
    if let Some(function) = reply.function_call.get() {
        function.push_to(&mut text.visible);
    }
}

fn usage_parts(usage: Object<WireUsage>) -> Parts {
    let mut bad = false;
    let usage = usage.read(&mut bad);
    let input = usage.prompt_tokens.read(&mut bad);
    let total = usage.total_tokens.read(&mut bad);
    let output = usage.completion_tokens.read(&mut bad).or_else(|| {
        // Early models report only the sum of both.
        let output = total?.checked_sub(input?);
        bad |= output.is_none();
        output
    });
    let cache_read = usage.prompt_tokens_details.read(&mut bad).cached_tokens.read(&mut bad);
    Parts { input, output, total, cache_read, bad, ..Parts::default() }
}
