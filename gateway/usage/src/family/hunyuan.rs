//! Tencent Hunyuan's native format: `ChatCompletions`, `GetEmbedding`. Tencent's own service of it
//! ended on 2026-09-30; its successor `TokenHub` has `OpenAI` shape.
//!
//! Source: Tencent Cloud API 3.0, "hunyuan" 2023-09-01, data types as in the official Python SDK
//! 3.1. A whole reply is wrapped in `Response`, the events of a stream are not. Every event
//! repeats usage, as a running count. Errors come with status 200.

use super::{
    Verdict, WireFamily, read_top_level,
    wire::{DONE, ToolCalls, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::{FromJson, objects},
    lenient::{Count, Few, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::RawText,
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hunyuan;

objects! {
    /// A whole reply.
    struct Wrapped<'a> {
        response: Object<Reply<'a>> = "Response",
    }

    /// One event of a stream, or what is wrapped.
    struct Reply<'a> {
        id: Text<'a> = "Id",
        choices: Few<Choice<'a>> = "Choices",
        usage: Object<WireUsage> = "Usage",
        error: Present = "Error",
        error_msg: Present = "ErrorMsg",
    }

    struct Choice<'a> {
        delta: Object<Message<'a>> = "Delta",
        message: Object<Message<'a>> = "Message",
        /// Empty until the end.
        finish_reason: Text<'a> = "FinishReason",
    }

    struct Message<'a> {
        content: RawText<'a> = "Content",
        reasoning_content: RawText<'a> = "ReasoningContent",
        tool_calls: ToolCalls<'a> = "ToolCalls",
    }

    struct WireUsage {
        prompt_tokens: Count = "PromptTokens",
        completion_tokens: Count = "CompletionTokens",
        total_tokens: Count = "TotalTokens",
        prompt_tokens_details: Object<InputDetails> = "PromptTokensDetails",
    }

    struct InputDetails {
        cached_tokens: Count = "CachedTokens",
    }
}

impl WireFamily for Hunyuan {
    /// `PromptTokens` holds cached tokens, `CompletionTokens` holds reasoning; how much of it is
    /// reasoning is not told.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &[
        "Response.Id",
        "Response.Usage",
        "Response.Error",
        "Response.ErrorMsg",
        "Id",
        "Usage",
        "Error",
        "ErrorMsg",
    ];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data.map(<[u8]>::trim_ascii) else { return Verdict::Plain };
        // Not every version sends it.
        if data == DONE {
            return facts.end();
        }
        match object(data) {
            Some(reply) => note(reply, facts),
            None => read_top_level(self, event, facts),
        }
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        facts.tap_error |= document.is_broken();
        let bad = &mut facts.parts.bad;
        let reply = Reply {
            id: either(document, ["Response.Id", "Id"], bad),
            usage: either(document, ["Response.Usage", "Usage"], bad),
            error: either(document, ["Response.Error", "Error"], bad),
            error_msg: either(document, ["Response.ErrorMsg", "ErrorMsg"], bad),
            ..Reply::default()
        };
        note(reply, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        let reply = match object::<Wrapped<'_>>(json) {
            Some(Wrapped { response: Object::Value(reply) }) => Some(reply),
            _ => object(json),
        };
        reply.unwrap_or_default().choices.iter().for_each(|choice| choice_text(choice, text));
    }
}

/// The value of the wrapped key, or of the other one where nothing is wrapped.
fn either<'d, T: FromJson<'d>>(
    document: &'d Document,
    [wrapped, key]: [&str; 2],
    bad: &mut bool,
) -> T {
    let key = if document.value(wrapped).is_some() { wrapped } else { key };
    document.read(key, bad)
}

fn note(reply: Reply<'_>, facts: &mut Facts) -> Verdict {
    facts.note_id(reply.id.as_str());
    for choice in reply.choices.iter() {
        choice_text(choice, &mut facts.text);
        // The end of the only choice ends the reply, though more events may follow it.
        if !choice.finish_reason.as_str().is_empty() {
            facts.end();
        }
    }
    facts.parts.merge(&usage_parts(reply.usage));
    let failed = reply.error.is_present() || reply.error_msg.is_present();
    if failed { facts.fail() } else { Verdict::Plain }
}

fn choice_text(choice: &Choice<'_>, text: &mut DeliveredText) {
    text.note_stop(choice.finish_reason.as_str());
    for message in choice.delta.get().into_iter().chain(choice.message.get()) {
        message.content.push_to(&mut text.visible);
        message.reasoning_content.push_to(&mut text.reasoning);
        message.tool_calls.push_to(&mut text.visible);
    }
}

fn usage_parts(usage: Object<WireUsage>) -> Parts {
    let mut bad = false;
    let usage = usage.read(&mut bad);
    Parts {
        input: usage.prompt_tokens.read(&mut bad),
        output: usage.completion_tokens.read(&mut bad),
        total: usage.total_tokens.read(&mut bad),
        cache_read: usage.prompt_tokens_details.read(&mut bad).cached_tokens.read(&mut bad),
        bad,
        ..Parts::default()
    }
}
