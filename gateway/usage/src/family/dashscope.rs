//! Alibaba `DashScope`'s native format: text and multimodal generation, embeddings.
//!
//! Source: Alibaba Cloud Model Studio, "`DashScope` API reference", "Streaming output", "Context
//! cache"; types of the official Python SDK 2.0 and Java SDK. Every event repeats usage, as a
//! running count: of its own choice where there are several, so that the reply's output is their
//! sum (`merge_single_response` of the Python SDK). There is no terminal mark: the reply has ended
//! where all of its choices have.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher},
};

use super::{
    Verdict, WireFamily, common_keys, read_top_level,
    wire::{CacheCreation, ToolCalls, object},
};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Content, Count, Few, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::Raw,
    reading::Facts,
    text::{DeliveredText, TextSample},
};

/// Choices of one reply that are told apart. The API takes at most 4.
const CHOICES_MAX: usize = 16;

/// The codes of an error that is the content filter's, in a reply and in one of `OpenAI`'s shape.
///
/// Source: Alibaba Cloud Model Studio, "Error codes".
const FILTERED: [&str; 2] = ["DataInspectionFailed", "data_inspection_failed"];

/// The finish reason of a choice that goes on: a string, not a null.
const UNFINISHED: &str = "null";

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dashscope {
    choices: Vec<ChoiceState>,
    /// What each choice has said so far, by its index.
    said: Vec<(u64, Said)>,
}

/// What one choice has said so far, by kind.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    visible: Progress,
    reasoning: Progress,
    calls: Progress,
}

/// How the events of a stream tell a text that grows.
#[derive(Debug, Clone, Copy, Default)]
enum Progress {
    /// There was none yet.
    #[default]
    Nothing,
    /// Each repeats the text so far, as without `incremental_output`: its length and digest.
    Repeated(usize, u64),
    /// Each brings what is new.
    Incremental,
}

impl Progress {
    /// What of `text` is new. The first event that does not repeat the one before shows that none
    /// does.
    fn new_of<'t>(&mut self, text: &'t str) -> &'t str {
        if text.is_empty() {
            return text;
        }
        let new = match *self {
            Self::Incremental => return text,
            Self::Nothing => text,
            Self::Repeated(bytes, before) => match text.split_at_checked(bytes) {
                Some((begin, new)) if digest(begin) == before => new,
                _ => {
                    *self = Self::Incremental;
                    return text;
                }
            },
        };
        *self = Self::Repeated(text.len(), digest(text));
        new
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// What is known of one choice of a stream.
#[derive(Debug, Clone)]
struct ChoiceState {
    index: u64,
    /// Its own output.
    output: Parts,
    finished: bool,
}

objects! {
    /// One event of a stream, or a whole reply: the two share their shape.
    struct Reply<'a> {
        request_id: Text<'a>,
        output: Object<Output<'a>>,
        usage: Object<WireUsage>,
        /// Of an error, in any form.
        code: Raw<'a>,
    }

    struct Output<'a> {
        text: Text<'a>,
        finish_reason: Text<'a>,
        choices: Few<Choice<'a>>,
    }

    struct Choice<'a> {
        index: Count,
        finish_reason: Text<'a>,
        message: Object<Message<'a>>,
    }

    struct Message<'a> {
        /// Text, or the parts of a multimodal answer.
        content: Content<'a>,
        reasoning_content: Text<'a>,
        tool_calls: ToolCalls<'a>,
    }

    struct WireUsage {
        input_tokens: Count,
        output_tokens: Count,
        total_tokens: Count,
        prompt_tokens_details: Object<CacheDetails>,
        input_tokens_details: Object<Modalities>,
        output_tokens_details: Object<OutputDetails>,
        // Where older multimodal models put what newer ones put into `input_tokens_details`.
        image_tokens: Count,
        audio_tokens: Count,
        video_tokens: Count,
        plugins: Object<Plugins>,
    }

    struct CacheDetails {
        cached_tokens: Count,
        /// Set where the request marked what is to be cached: reads then cost half of what they
        /// cost where the provider caches of its own accord.
        cache_type: Present,
        cache_creation_input_tokens: Count,
        cache_creation: Object<CacheCreation>,
    }

    #[derive(Clone, Copy)]
    #[expect(clippy::struct_field_names, reason = "the names on the wire")]
    struct Modalities {
        image_tokens: Count,
        audio_tokens: Count,
        video_tokens: Count,
    }

    struct OutputDetails {
        reasoning_tokens: Count,
        audio_tokens: Count,
    }

    struct Plugins {
        search: Object<Search>,
    }

    struct Search {
        count: Count,
    }
}

impl WireFamily for Dashscope {
    /// `input_tokens` holds what was read from and written to a cache, and every modality;
    /// `output_tokens` holds reasoning.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &["request_id", "output", "usage", "code"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        facts.error |= event.name == Some(b"error");
        let Some(data) = event.data else { return Verdict::Plain };
        let Some(reply) = object::<Reply<'_>>(data) else {
            return read_top_level(self, event, facts);
        };
        self.reply_text(&reply, &mut facts.text);
        self.reply(reply, facts)
    }

    fn document(&mut self, document: &Document, name: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        facts.error |= name == b"error";
        let bad = &mut facts.parts.bad;
        let reply = Reply {
            request_id: document.read("request_id", bad),
            output: document.read("output", bad),
            usage: document.read("usage", bad),
            code: document.read("code", bad),
        };
        self.reply(reply, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            self.reply_text(&reply, text);
        }
    }
}

impl Dashscope {
    fn reply(&mut self, reply: Reply<'_>, facts: &mut Facts) -> Verdict {
        facts.note_id(reply.request_id.as_str());
        if reply.code.read().is_some_and(Present::is_present) {
            facts.parts.merge(&usage_parts(reply.usage));
            return facts.fail();
        }
        let several = reply.output.get().is_some_and(|output| output.choices.iter().count() > 1);
        let parts = usage_parts(reply.usage);
        if several {
            // All of the choices at once: the usage beside them is all of theirs.
            facts.parts.merge(&parts);
            let mut choices =
                reply.output.get().into_iter().flat_map(|output| output.choices.iter());
            let is_end = choices.all(|choice| ends(&choice.finish_reason));
            (facts.terminal, facts.output_final) = (is_end, is_end);
            return Verdict::Plain;
        }
        let (index, finished) = match reply.output.get() {
            Some(output) => position(output),
            None => (0, false),
        };
        self.note(index, finished, &parts);
        facts.parts.merge(&self.whole(parts));
        let is_end = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished);
        facts.terminal = is_end;
        facts.output_final = is_end;
        Verdict::Plain
    }

    /// Appends what is new of the text, and notes why it ends.
    fn reply_text(&mut self, reply: &Reply<'_>, text: &mut DeliveredText) {
        if reply.code.read::<Text<'_>>().is_some_and(|code| FILTERED.contains(&code.as_str())) {
            text.note_stop("content_filter");
        }
        let Some(output) = reply.output.get() else { return };
        text.note_stop(output.finish_reason.as_str());
        let (visible, reasoning) = (&mut text.visible, &mut text.reasoning);
        visible.push(self.new_of(0, |said| &mut said.visible, output.text.as_str()));
        for choice in output.choices.iter() {
            let Some(message) = choice.message.get() else { continue };
            let (index, thoughts) = (choice.place(), message.reasoning_content.as_str());
            visible.push(self.new_of(index, |said| &mut said.visible, &joined(&message.content)));
            reasoning.push(self.new_of(index, |said| &mut said.reasoning, thoughts));
            let mut calls = TextSample::default();
            message.tool_calls.push_to(&mut calls);
            visible.push(self.new_of(index, |said| &mut said.calls, calls.kept()));
        }
        output.choices.iter().for_each(|choice| text.note_stop(choice.finish_reason.as_str()));
    }

    /// What of `text` is new to a choice. Of choices beyond the bound nothing is known.
    fn new_of<'t>(
        &mut self,
        index: u64,
        kind: fn(&mut Said) -> &mut Progress,
        text: &'t str,
    ) -> &'t str {
        let known = self.said.iter().position(|(of, _)| *of == index);
        let place = known.unwrap_or(self.said.len());
        if known.is_none() && place < CHOICES_MAX {
            self.said.push((index, Said::default()));
        }
        match self.said.get_mut(place) {
            Some((_, said)) => kind(said).new_of(text),
            None => text,
        }
    }

    /// Takes the usage of one choice over.
    fn note(&mut self, index: u64, finished: bool, parts: &Parts) {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let place = known.unwrap_or(self.choices.len());
        if known.is_none() && place < CHOICES_MAX {
            self.choices.push(ChoiceState { index, output: Parts::default(), finished: false });
        }
        if let Some(choice) = self.choices.get_mut(place) {
            choice.finished |= finished;
            choice.output.merge(&Parts {
                output: parts.output,
                reasoning: parts.reasoning,
                audio_out: parts.audio_out,
                ..Parts::default()
            });
        }
    }

    /// `parts`, with the output of all choices.
    fn whole(&self, parts: Parts) -> Parts {
        if self.choices.len() < 2 {
            return parts;
        }
        let mut output = Parts::default();
        self.choices.iter().for_each(|choice| output.add(&choice.output));
        // The sum beside them is of one choice only.
        Parts {
            output: output.output,
            reasoning: output.reasoning,
            audio_out: output.audio_out,
            total: None,
            ..parts
        }
    }
}

/// Whether a choice with this finish reason goes on no more.
fn ends(reason: &Text<'_>) -> bool {
    !matches!(reason.as_str(), "" | UNFINISHED)
}

/// Which choice an event is about, and whether it ends there.
fn position(output: &Output<'_>) -> (u64, bool) {
    match output.choices.iter().next() {
        Some(choice) => (choice.place(), ends(&choice.finish_reason)),
        None => (0, ends(&output.finish_reason)),
    }
}

impl Choice<'_> {
    /// Which of several it is.
    fn place(&self) -> u64 {
        if let Count::Value(index) = self.index { index } else { 0 }
    }
}

/// The texts of a message as one.
fn joined<'m>(content: &'m Content<'_>) -> Cow<'m, str> {
    content
        .iter()
        .map(|part| Cow::Borrowed(part.as_str()))
        .reduce(|all, part| all + part)
        .unwrap_or_default()
}

fn usage_parts(usage: Object<WireUsage>) -> Parts {
    let mut bad = false;
    let usage = usage.read(&mut bad);
    let cache = usage.prompt_tokens_details.read(&mut bad);
    let writes = cache.cache_creation.read(&mut bad);
    let modalities = usage.input_tokens_details.read(&mut bad);
    let output = usage.output_tokens_details.read(&mut bad);
    let search = usage.plugins.read(&mut bad).search.read(&mut bad);
    let cached = cache.cached_tokens.read(&mut bad);
    let is_explicit = cache.cache_type.is_present();
    let total = usage.total_tokens.read(&mut bad);
    let output_tokens = usage.output_tokens.read(&mut bad);
    // Embeddings report only a sum, which is their input.
    let only_sum = if output_tokens.is_none() { total } else { None };
    Parts {
        input: usage.input_tokens.read(&mut bad).or(only_sum),
        output: output_tokens,
        total,
        cache_read: if is_explicit { None } else { cached },
        cache_read_explicit: if is_explicit { cached } else { None },
        cache_write: cache.cache_creation_input_tokens.read(&mut bad),
        cache_write_5m: writes.ephemeral_5m_input_tokens.read(&mut bad),
        cache_write_1h: writes.ephemeral_1h_input_tokens.read(&mut bad),
        image_in: modalities.image_tokens.or(usage.image_tokens).read(&mut bad),
        audio_in: modalities.audio_tokens.or(usage.audio_tokens).read(&mut bad),
        video_in: modalities.video_tokens.or(usage.video_tokens).read(&mut bad),
        reasoning: output.reasoning_tokens.read(&mut bad),
        audio_out: output.audio_tokens.read(&mut bad),
        units: Parts::searches(search.count.read(&mut bad)),
        bad,
        ..Parts::default()
    }
}
