//! `OpenAI` responses, on `OpenAI`, on Azure and on the servers of that shape.
//!
//! Source: `OpenAI` API reference, "Responses", "Streaming events", "Background mode"; field
//! meanings as in the official Python SDK's `ResponseUsage`.

use permille_types::Unit;

use super::{
    Verdict, WireFamily, read_top_level,
    wire::{CacheWrites, Failure, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::{self, objects},
    lenient::{Count, Few, Object, Text},
    parts::{Convention, Parts},
    raw_text::RawText,
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply. Each report is of the whole reply: nothing has to be remembered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Responses;

/// Where a whole reply has its id, model, tier, status, usage and error, and where an event has.
const WHOLE: [&str; 6] = ["id", "model", "service_tier", "status", "usage", "error"];
const IN_EVENT: [&str; 6] = [
    "response.id",
    "response.model",
    "response.service_tier",
    "response.status",
    "response.usage",
    "response.error",
];

objects! {
    /// Any event of a stream; each uses some of the fields.
    struct StreamEvent<'a> {
        kind: Text<'a> = "type",
        response: Object<Response<'a>>,
        item: Object<Item<'a>>,
        delta: RawText<'a>,
    }

    /// A response: a whole reply, or a part of an event.
    struct Response<'a> {
        id: Text<'a>,
        model: Text<'a>,
        service_tier: Text<'a>,
        status: Text<'a>,
        usage: Object<WireUsage>,
        error: Failure<'a>,
        output: Few<Item<'a>>,
        incomplete_details: Object<Incomplete<'a>>,
    }

    struct Incomplete<'a> {
        reason: Text<'a>,
    }

    struct Item<'a> {
        kind: Text<'a> = "type",
        name: Text<'a>,
        arguments: Text<'a>,
        input: Text<'a>,
        content: Few<Content<'a>>,
        summary: Few<Content<'a>>,
    }

    struct Content<'a> {
        text: Text<'a>,
        refusal: Text<'a>,
    }

    struct WireUsage {
        input_tokens: Count,
        output_tokens: Count,
        total_tokens: Count,
        input_tokens_details: Object<InputDetails>,
        output_tokens_details: Object<OutputDetails>,
    }

    struct InputDetails {
        cached_tokens: Count,
        cache_write_tokens: Count,
        cache_write_tokens_details: Object<CacheWrites>,
    }

    struct OutputDetails {
        reasoning_tokens: Count,
    }
}

impl WireFamily for Responses {
    /// `input_tokens` holds cached and written tokens, `output_tokens` holds reasoning.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &[
        "type",
        "id",
        "model",
        "service_tier",
        "status",
        "usage",
        "error",
        "output",
        "response.id",
        "response.model",
        "response.service_tier",
        "response.status",
        "response.usage",
        "response.error",
    ];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let name = event.name.unwrap_or_default();
        let Some(data) = event.data.map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else {
            return named(name, facts);
        };
        if let Some(read) = object::<StreamEvent<'_>>(data) {
            let kind = read.kind.as_str();
            event_text(&read, &mut facts.text);
            if kind == "response.output_item.done" && read.item.get().is_some_and(is_search) {
                let searches = facts.parts.units.entry(Unit::Searches).or_default();
                *searches = searches.saturating_add(1);
            }
            let verdict = named(if kind.is_empty() { name } else { kind.as_bytes() }, facts);
            if let Object::Value(response) = read.response {
                take(response, facts);
            }
            return verdict;
        }
        read_top_level(self, event, facts)
    }

    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict {
        let kind = document.text("type").unwrap_or_default();
        let kind = if kind.is_empty() { name } else { kind.as_bytes() };
        facts.tap_error |= document.is_broken();
        for [id, model, tier, status, usage, error] in [WHOLE, IN_EVENT] {
            let text = |key| document.text(key).unwrap_or_default();
            facts.note_id(&text(id));
            facts.note_model(&text(model));
            facts.note_tier(&text(tier));
            facts.tap_error |= document.is_too_large(usage);
            let usage = document.read(usage, &mut facts.parts.bad);
            state(&text(status), document.value(error).is_some(), usage, facts);
        }
        let output = document.value("output").map(from_json::read::<Few<Item<'_>>>);
        if let Some(Ok(output)) = output {
            searches(&output, facts);
        }
        let status = document.text("status").unwrap_or_default();
        facts.pending |= matches!(status.as_str(), "queued" | "in_progress");
        named(kind, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(response) = object::<Response<'_>>(json) {
            response.output.iter().for_each(|item| item_text(item, text));
            stop_of(&response, text);
        }
        if let Some(event) = object::<StreamEvent<'_>>(json) {
            event_text(&event, text);
        }
    }
}

/// What an event's type says by itself.
fn named(kind: &[u8], facts: &mut Facts) -> Verdict {
    match kind {
        b"response.completed" | b"response.incomplete" | b"response.cancelled" => {}
        b"response.failed" => facts.error = true,
        b"error" => {
            facts.error = true;
            return Verdict::Plain;
        }
        _ => return Verdict::Plain,
    }
    facts.terminal = true;
    Verdict::Terminal
}

fn is_search(item: &Item<'_>) -> bool {
    item.kind.as_str() == "web_search_call"
}

/// Searches that the provider ran: a whole output lists them all.
fn searches(output: &Few<Item<'_>>, facts: &mut Facts) {
    let searches = output.iter().filter(|item| is_search(item)).count();
    if searches > 0 {
        facts.parts.units.extend(Parts::searches(searches.try_into().ok()));
    }
}

fn take(response: Response<'_>, facts: &mut Facts) {
    searches(&response.output, facts);
    stop_of(&response, &mut facts.text);
    facts.note_id(response.id.as_str());
    facts.note_model(response.model.as_str());
    facts.note_tier(response.service_tier.as_str());
    state(response.status.as_str(), response.error.is_present(), response.usage, facts);
}

fn stop_of(response: &Response<'_>, text: &mut DeliveredText) {
    response.error.note_stop(text);
    if let Some(incomplete) = response.incomplete_details.get() {
        text.note_stop(incomplete.reason.as_str());
    }
}

/// Takes over how far a response is and what it consumed.
fn state(status: &str, error: bool, usage: Object<WireUsage>, facts: &mut Facts) {
    facts.error |= error || status == "failed";
    if usage.is_present() {
        facts.parts.merge(&usage_parts(usage));
        facts.output_final = true;
    }
}

/// Text of the events that bring it first; those that repeat it bring nothing new.
fn event_text(event: &StreamEvent<'_>, text: &mut DeliveredText) {
    let kind = event.kind.as_str();
    if kind.rsplit('.').next() == Some("delta") {
        let reasoning = kind.starts_with("response.reasoning");
        let sample = if reasoning { &mut text.reasoning } else { &mut text.visible };
        event.delta.push_to(sample);
    }
    if kind == "response.refusal.delta" {
        text.note_stop("refusal");
    }
    if kind == "response.output_item.added"
        && let Some(item) = event.item.get()
    {
        text.visible.push(item.name.as_str());
    }
}

fn item_text(item: &Item<'_>, text: &mut DeliveredText) {
    if item.content.iter().any(|part| !part.refusal.as_str().is_empty()) {
        text.note_stop("refusal");
    }
    let reasoning = item.kind.as_str() == "reasoning";
    let sample = if reasoning { &mut text.reasoning } else { &mut text.visible };
    for part in item.content.iter().chain(item.summary.iter()) {
        sample.push(part.text.as_str());
        sample.push(part.refusal.as_str());
    }
    sample.push(item.name.as_str());
    sample.push(item.arguments.as_str());
    sample.push(item.input.as_str());
}

fn usage_parts(usage: Object<WireUsage>) -> Parts {
    let mut bad = false;
    let usage = usage.read(&mut bad);
    let input = usage.input_tokens_details.read(&mut bad);
    let writes = input.cache_write_tokens_details.read(&mut bad);
    let output = usage.output_tokens_details.read(&mut bad);
    Parts {
        input: usage.input_tokens.read(&mut bad),
        output: usage.output_tokens.read(&mut bad),
        total: usage.total_tokens.read(&mut bad),
        cache_read: input.cached_tokens.read(&mut bad),
        cache_write: input.cache_write_tokens.read(&mut bad),
        cache_write_30m: writes.ttl_30m_tokens.read(&mut bad),
        cache_write_12h: writes.ttl_12h_tokens.read(&mut bad),
        reasoning: output.reasoning_tokens.read(&mut bad),
        bad,
        ..Parts::default()
    }
}
