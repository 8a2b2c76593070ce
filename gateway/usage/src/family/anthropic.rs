//! Anthropic messages.
//!
//! Source: Anthropic API reference, "Messages", "Streaming messages", "Prompt caching",
//! "Compaction".

use super::{
    Verdict, WireFamily, common_keys, read_top_level,
    wire::{CacheCreation, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Count, Few, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::{Raw, RawText},
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Anthropic {
    /// The top-level numbers, last report of each.
    message: Parts,
    /// Compaction iterations, summed; the top-level numbers leave them out.
    compaction: Parts,
}

objects! {
    /// Any event of a stream; each uses some of the fields.
    struct StreamEvent<'a> {
        kind: Text<'a> = "type",
        message: Object<Reply<'a>>,
        content_block: Object<Block<'a>>,
        delta: Object<Delta<'a>>,
        usage: Object<WireUsage<'a>>,
        error: Present,
    }

    struct Reply<'a> {
        id: Text<'a>,
        model: Text<'a>,
        content: Few<Block<'a>>,
        stop_reason: Text<'a>,
        usage: Object<WireUsage<'a>>,
    }

    struct Block<'a> {
        name: Text<'a>,
        text: RawText<'a>,
        thinking: RawText<'a>,
        /// A tool's arguments. A stream opens with an empty object and sends the rest as deltas.
        input: Raw<'a>,
    }

    struct Delta<'a> {
        text: RawText<'a>,
        thinking: RawText<'a>,
        partial_json: RawText<'a>,
        stop_reason: Text<'a>,
    }

    struct WireUsage<'a> {
        service_tier: Text<'a>,
        input_tokens: Count,
        output_tokens: Count,
        cache_read_input_tokens: Count,
        cache_creation_input_tokens: Count,
        cache_creation: Object<CacheCreation>,
        output_tokens_details: Object<OutputDetails>,
        server_tool_use: Object<ServerTools>,
        iterations: Few<Object<Iteration<'a>>>,
    }

    struct OutputDetails {
        thinking_tokens: Count,
    }

    struct ServerTools {
        web_search_requests: Count,
    }

    struct Iteration<'a> {
        kind: Text<'a> = "type",
        input_tokens: Count,
        output_tokens: Count,
        cache_read_input_tokens: Count,
        cache_creation_input_tokens: Count,
        cache_creation: Object<CacheCreation>,
    }
}

impl WireFamily for Anthropic {
    /// `input_tokens` is what follows the last cache breakpoint: cache reads and writes come on
    /// top. `output_tokens` holds thinking.
    const CONVENTION: Convention =
        Convention { input_includes_cache: false, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &["id", "model", "usage", "error", "type", "message"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let name = event.name.unwrap_or_default();
        let Some(data) = event.data else { return named(name, facts) };
        if let Some(read) = object::<StreamEvent<'_>>(data) {
            return self.stream_event(read, name, facts);
        }
        read_top_level(self, event, facts)
    }

    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        let kind = document.text("type").unwrap_or_default();
        let usage = document.value("usage");
        facts.error |= kind == "error" || (document.value("error").is_some() && usage.is_none());
        self.start(document.read("message", &mut facts.parts.bad), facts);
        self.usage(document.read("usage", &mut facts.parts.bad), true, facts);
        named(if name.is_empty() { kind.as_bytes() } else { name }, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            reply.content.iter().for_each(|block| block_text(block, text));
            text.note_stop(reply.stop_reason.as_str());
        }
        if let Some(event) = object::<StreamEvent<'_>>(json) {
            event_text(&event, text);
        }
    }
}

impl Anthropic {
    fn stream_event(&mut self, event: StreamEvent<'_>, name: &[u8], facts: &mut Facts) -> Verdict {
        event_text(&event, &mut facts.text);
        facts.error |= event.error.is_present();
        let reason = event.delta.get().map(|delta| delta.stop_reason.as_str());
        facts.finish_seen |= reason.is_some_and(|reason| !reason.is_empty());
        let kind = event.kind.as_str().as_bytes();
        let verdict = named(if kind.is_empty() { name } else { kind }, facts);
        self.start(event.message, facts);
        self.usage(event.usage, true, facts);
        verdict
    }

    /// The message that opens a stream. Its output count is a placeholder of a few tokens.
    fn start(&mut self, message: Object<Reply<'_>>, facts: &mut Facts) {
        let Object::Value(message) = message else { return };
        facts.note_id(message.id.as_str());
        facts.note_model(message.model.as_str());
        self.usage(message.usage, false, facts);
    }

    fn usage(&mut self, usage: Object<WireUsage<'_>>, output_counts: bool, facts: &mut Facts) {
        let usage = match usage {
            Object::Absent => return,
            Object::Bad => {
                facts.parts.bad = true;
                return;
            }
            Object::Value(usage) => usage,
        };
        facts.note_tier(usage.service_tier.as_str());
        let bad = &mut facts.parts.bad;
        let mut iterations = usage.iterations.iter().filter_map(|one| one.look(bad)).peekable();
        if iterations.peek().is_some() {
            self.compaction = Parts::default();
        }
        iterations.for_each(|iteration| self.iteration(iteration));
        self.message.merge(&usage_parts(usage, output_counts));
        facts.output_final |= self.message.output.is_some();
        let bad = facts.parts.bad;
        facts.parts = self.message.clone();
        facts.parts.add(&self.compaction);
        facts.parts.bad |= bad;
    }

    fn iteration(&mut self, iteration: &Iteration<'_>) {
        let mut bad = false;
        let creation = iteration.cache_creation.get().copied().unwrap_or_default();
        let parts = Parts {
            input: iteration.input_tokens.read(&mut bad),
            output: iteration.output_tokens.read(&mut bad),
            cache_read: iteration.cache_read_input_tokens.read(&mut bad),
            cache_write: iteration.cache_creation_input_tokens.read(&mut bad),
            cache_write_5m: creation.ephemeral_5m_input_tokens.read(&mut bad),
            cache_write_1h: creation.ephemeral_1h_input_tokens.read(&mut bad),
            bad,
            ..Parts::default()
        };
        match iteration.kind.as_str() {
            "compaction" => self.compaction.add(&parts),
            // Already in the top-level numbers.
            "message" => {}
            // Another model's tokens (an advisor, a fallback): this row cannot price them, so
            // it must not look complete.
            _ => self.compaction.bad |= !parts.is_empty(),
        }
    }
}

/// What an event's type says by itself.
fn named(kind: &[u8], facts: &mut Facts) -> Verdict {
    facts.error |= kind == b"error";
    if kind == b"message_stop" {
        facts.terminal = true;
        return Verdict::Terminal;
    }
    Verdict::Plain
}

fn event_text(event: &StreamEvent<'_>, text: &mut DeliveredText) {
    if let Some(block) = event.content_block.get() {
        text.visible.push(block.name.as_str());
        block.text.push_to(&mut text.visible);
        block.thinking.push_to(&mut text.reasoning);
    }
    if let Some(delta) = event.delta.get() {
        delta.text.push_to(&mut text.visible);
        delta.partial_json.push_to(&mut text.visible);
        delta.thinking.push_to(&mut text.reasoning);
        text.note_stop(delta.stop_reason.as_str());
    }
}

fn block_text(block: &Block<'_>, text: &mut DeliveredText) {
    text.visible.push(block.name.as_str());
    block.text.push_to(&mut text.visible);
    text.visible.push(block.input.as_str());
    block.thinking.push_to(&mut text.reasoning);
}

fn usage_parts(usage: WireUsage<'_>, output_counts: bool) -> Parts {
    let mut bad = false;
    let creation = usage.cache_creation.read(&mut bad);
    let details = usage.output_tokens_details.read(&mut bad);
    let tools = usage.server_tool_use.read(&mut bad);
    let output = usage.output_tokens.read(&mut bad);
    Parts {
        input: usage.input_tokens.read(&mut bad),
        output: output.filter(|_| output_counts),
        cache_read: usage.cache_read_input_tokens.read(&mut bad),
        cache_write: usage.cache_creation_input_tokens.read(&mut bad),
        cache_write_5m: creation.ephemeral_5m_input_tokens.read(&mut bad),
        cache_write_1h: creation.ephemeral_1h_input_tokens.read(&mut bad),
        reasoning: details.thinking_tokens.read(&mut bad),
        units: Parts::searches(tools.web_search_requests.read(&mut bad)),
        bad,
        ..Parts::default()
    }
}
