//! `OpenAI` chat completions, completions and embeddings, and the many servers of that shape.
//!
//! Source: `OpenAI` API reference, "Chat", "Completions", "Embeddings"; field meanings as in the
//! official Python SDK's `CompletionUsage`.

use super::{
    Verdict, WireFamily, common_keys, read_top_level,
    wire::{CacheCreation, CacheWrites, DONE, Failure, Function, Said, ToolCalls, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Count, Few, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::RawText,
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenAi {
    /// More than one choice was seen: a choice's end is not the reply's.
    several_choices: bool,
    /// A choice has ended.
    finish_seen: bool,
    /// Usage came in a chunk of its own: it is the whole reply's.
    whole_seen: bool,
    /// How many chunks brought usage beside a choice. Several are running counts, and those of
    /// vLLM are each choice's own.
    reports: u64,
}

objects! {
    /// One chunk of a stream, or a whole reply: the two share their shape but for `delta`.
    struct Chunk<'a> {
        id: Text<'a>,
        model: Text<'a>,
        service_tier: Text<'a>,
        choices: Few<Choice<'a>>,
        usage: Object<Box<WireUsage>>,
        error: Failure<'a>,
        /// The same of Baidu, with status 200, and of Huawei Pangu: `PANGU.3318`.
        error_code: Present,
    }

    struct Choice<'a> {
        index: Count,
        delta: Object<Message<'a>>,
        message: Object<Message<'a>>,
        text: RawText<'a>,
        finish_reason: Text<'a>,
        /// Moonshot reports a stream's usage here.
        usage: Object<Box<WireUsage>>,
    }

    struct Message<'a> {
        content: Said<'a>,
        refusal: RawText<'a>,
        // Two names for the same text; no server sends both.
        reasoning_content: RawText<'a>,
        reasoning: RawText<'a>,
        tool_calls: ToolCalls<'a>,
        function_call: Object<Function<'a>>,
    }

    /// In a box wherever it may stand: most chunks have none, and all are copied as they are read.
    struct WireUsage {
        prompt_tokens: Count,
        completion_tokens: Count,
        total_tokens: Count,
        prompt_tokens_details: Object<InputDetails>,
        completion_tokens_details: Object<OutputDetails>,
        // Names that servers of this shape use outside the details: DeepSeek, Qianfan, SGLang.
        prompt_cache_hit_tokens: Count,
        cached_tokens: Count,
        reasoning_tokens: Count,
    }

    struct InputDetails {
        cached_tokens: Count,
        cache_write_tokens: Count,
        cache_write_tokens_details: Object<CacheWrites>,
        // DashScope's names for what it writes to its explicit cache.
        cache_creation_input_tokens: Count,
        cache_creation: Object<CacheCreation>,
        /// Of `DashScope`: the request marked what to cache, and such reads have their own price.
        cache_type: Present,
        audio_tokens: Count,
        image_tokens: Count,
    }

    #[expect(clippy::struct_field_names, reason = "the names on the wire")]
    struct OutputDetails {
        reasoning_tokens: Count,
        audio_tokens: Count,
        image_tokens: Count,
    }
}

impl WireFamily for OpenAi {
    /// `prompt_tokens` holds cached and written tokens, `completion_tokens` holds reasoning (and
    /// rejected predictions, which are billed as output).
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] =
        &["id", "model", "service_tier", "usage", "error", "error_code"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        facts.error |= event.name == Some(b"error");
        let Some(data) = event.data.map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else {
            return Verdict::Plain;
        };
        if data == DONE {
            facts.terminal = true;
            facts.output_final = self.whole_seen || !self.several_choices || self.reports < 2;
            return Verdict::Terminal;
        }
        if let Some(chunk) = object::<Chunk<'_>>(data) {
            return self.chunk(chunk, facts);
        }
        read_top_level(self, event, facts)
    }

    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        facts.error |= name == b"error";
        facts.error |= document.value("error").is_some() && document.value("usage").is_none();
        facts.error |= document.read::<Present>("error_code", &mut facts.parts.bad).is_present();
        let usage = document.read("usage", &mut facts.parts.bad);
        facts.parts.merge(&usage_parts(usage));
        Verdict::Plain
    }

    fn whole_document(&mut self, json: &[u8], facts: &mut Facts) -> bool {
        let Some(reply) = object::<Chunk<'_>>(json) else { return false };
        facts.note_id(reply.id.as_str());
        facts.note_model(reply.model.as_str());
        facts.note_tier(reply.service_tier.as_str());
        facts.error |= reply.error.is_given() && !reply.usage.is_present();
        facts.error |= reply.error_code.is_present();
        if reply.usage.is_present() {
            facts.parts.merge(&usage_parts(reply.usage));
        }
        reply.error.note_stop(&mut facts.text);
        reply.choices.iter().for_each(|choice| choice_text(choice, &mut facts.text));
        true
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(chunk) = object::<Chunk<'_>>(json) {
            chunk.error.note_stop(text);
            chunk.choices.iter().for_each(|choice| choice_text(choice, text));
        }
    }
}

impl OpenAi {
    fn chunk(&mut self, chunk: Chunk<'_>, facts: &mut Facts) -> Verdict {
        facts.note_id(chunk.id.as_str());
        facts.note_model(chunk.model.as_str());
        facts.note_tier(chunk.service_tier.as_str());
        facts.error |= chunk.error.is_present() || chunk.error_code.is_present();
        chunk.error.note_stop(&mut facts.text);
        for choice in chunk.choices.iter() {
            self.several_choices |= !matches!(choice.index, Count::Absent | Count::Value(0));
            self.finish_seen |= !choice.finish_reason.as_str().is_empty();
            choice_text(choice, &mut facts.text);
        }
        facts.finish_seen |= self.finish_seen;
        let usage_only = chunk.choices.is_empty_list()
            && chunk.usage.get().is_some()
            && !chunk.error.is_present();
        let usage = if chunk.usage.is_present() {
            chunk.usage
        } else {
            chunk.choices.into_last().map(|choice| choice.usage).unwrap_or_default()
        };
        // Ollama fills the chunks of a completion with zeros until it knows better.
        let placeholder =
            !usage_only && !self.finish_seen && usage.get().is_some_and(|usage| is_zero(usage));
        if usage.is_present() && !placeholder {
            self.whole_seen |= usage_only;
            self.reports = self.reports.saturating_add(u64::from(!usage_only));
            facts.parts.merge(&usage_parts(usage));
            // Usage in every chunk is a running count; at the end of the only choice it is whole.
            facts.output_final |= usage_only || self.finish_seen;
        }
        facts.output_final &= self.whole_seen || !self.several_choices;
        if usage_only { Verdict::UsageOnly } else { Verdict::Plain }
    }
}

fn choice_text(choice: &Choice<'_>, text: &mut DeliveredText) {
    choice.text.push_to(&mut text.visible);
    text.note_stop(choice.finish_reason.as_str());
    for message in choice.delta.get().into_iter().chain(choice.message.get()) {
        message.content.push_to(text);
        message.refusal.push_to(&mut text.visible);
        if !message.refusal.is_empty() {
            text.note_stop("refusal");
        }
        let reasoning = message.reasoning_content;
        let reasoning = if reasoning.is_empty() { message.reasoning } else { reasoning };
        reasoning.push_to(&mut text.reasoning);
        message.tool_calls.push_to(&mut text.visible);
        if let Some(call) = message.function_call.get() {
            call.push_to(&mut text.visible);
        }
    }
}

fn is_zero(usage: &WireUsage) -> bool {
    [usage.prompt_tokens, usage.completion_tokens].iter().all(|count| *count == Count::Value(0))
}

fn usage_parts(usage: Object<Box<WireUsage>>) -> Parts {
    let mut bad = false;
    let usage = *usage.read(&mut bad);
    let input = usage.prompt_tokens_details.read(&mut bad);
    let writes = input.cache_write_tokens_details.read(&mut bad);
    let creation = input.cache_creation.read(&mut bad);
    let written = input.cache_write_tokens.or(input.cache_creation_input_tokens);
    let output = usage.completion_tokens_details.read(&mut bad);
    let explicit = input.cache_type.is_present();
    let cached = input
        .cached_tokens
        .or(usage.prompt_cache_hit_tokens)
        .or(usage.cached_tokens)
        .read(&mut bad);
    Parts {
        input: usage.prompt_tokens.read(&mut bad),
        output: usage.completion_tokens.read(&mut bad),
        total: usage.total_tokens.read(&mut bad),
        cache_read: cached.filter(|_| !explicit),
        cache_read_explicit: cached.filter(|_| explicit),
        cache_write: written.read(&mut bad),
        cache_write_5m: creation.ephemeral_5m_input_tokens.read(&mut bad),
        cache_write_1h: creation.ephemeral_1h_input_tokens.read(&mut bad),
        cache_write_30m: writes.ttl_30m_tokens.read(&mut bad),
        cache_write_12h: writes.ttl_12h_tokens.read(&mut bad),
        audio_in: input.audio_tokens.read(&mut bad),
        image_in: input.image_tokens.read(&mut bad),
        reasoning: output.reasoning_tokens.or(usage.reasoning_tokens).read(&mut bad),
        audio_out: output.audio_tokens.read(&mut bad),
        image_out: output.image_tokens.read(&mut bad),
        bad,
        ..Parts::default()
    }
}
