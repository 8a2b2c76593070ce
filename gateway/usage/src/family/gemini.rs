//! Gemini: `generateContent` and its relatives, on the Gemini API and on Vertex AI.
//!
//! Source: Gemini API reference, "Generating content", `GenerateContentResponse` and
//! `UsageMetadata`; field meanings as in the official Python SDK.

use permille_types::TokenCount;

use super::{Verdict, WireFamily, read_top_level, wire::object};
use crate::{
    document::Document,
    event::Event,
    from_json::{self, objects},
    lenient::{Count, Few, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::{Raw, RawText},
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply: the last report of each number that is summed with another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gemini {
    prompt: Option<TokenCount>,
    tool_use: Option<TokenCount>,
    output: Option<TokenCount>,
    /// More than one candidate was seen: a candidate's end is not the reply's.
    several_candidates: bool,
    /// A candidate has ended.
    finish_seen: bool,
}

objects! {
    /// One chunk of a stream, or a whole reply: they have the same shape.
    struct Reply<'a> {
        response_id: Text<'a> = "responseId",
        model_version: Text<'a> = "modelVersion",
        candidates: Few<Candidate<'a>>,
        usage_metadata: Object<WireUsage<'a>> = "usageMetadata",
        prompt_feedback: Object<PromptFeedback<'a>> = "promptFeedback",
        error: Present,
    }

    struct Candidate<'a> {
        index: Count,
        content: Object<Content<'a>>,
        finish_reason: Text<'a> = "finishReason",
        grounding_metadata: Object<Grounding<'a>> = "groundingMetadata",
    }

    struct Content<'a> {
        parts: Few<Part<'a>>,
    }

    struct Part<'a> {
        text: RawText<'a>,
        /// The text is a summary of the model's thoughts.
        thought: Present,
        function_call: Object<FunctionCall<'a>> = "functionCall",
    }

    struct FunctionCall<'a> {
        name: Text<'a>,
        args: Raw<'a>,
    }

    struct Grounding<'a> {
        web_search_queries: Few<Text<'a>> = "webSearchQueries",
    }

    struct PromptFeedback<'a> {
        block_reason: Text<'a> = "blockReason",
    }

    struct WireUsage<'a> {
        prompt_token_count: Count = "promptTokenCount",
        tool_use_prompt_token_count: Count = "toolUsePromptTokenCount",
        cached_content_token_count: Count = "cachedContentTokenCount",
        candidates_token_count: Count = "candidatesTokenCount",
        thoughts_token_count: Count = "thoughtsTokenCount",
        total_token_count: Count = "totalTokenCount",
        prompt_tokens_details: Few<Object<OfModality<'a>>> = "promptTokensDetails",
        tool_use_prompt_tokens_details: Few<Object<OfModality<'a>>> = "toolUsePromptTokensDetails",
        cache_tokens_details: Few<Object<OfModality<'a>>> = "cacheTokensDetails",
        candidates_tokens_details: Few<Object<OfModality<'a>>> = "candidatesTokensDetails",
        traffic_type: Text<'a> = "trafficType",
    }

    struct OfModality<'a> {
        modality: Text<'a>,
        token_count: Count = "tokenCount",
    }
}

impl WireFamily for Gemini {
    /// `promptTokenCount` holds cached tokens; tokens of tool use come on top of it.
    /// `candidatesTokenCount` holds no thoughts: they come on top.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: false };
    const KEYS: &'static [&'static str] =
        &["responseId", "modelVersion", "candidates", "usageMetadata", "error"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data.map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else {
            return Verdict::Plain;
        };
        if let Some(reply) = object::<Reply<'_>>(data) {
            self.reply(reply, facts);
            return Verdict::Plain;
        }
        read_top_level(self, event, facts)
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        facts.note_id(&document.text("responseId").unwrap_or_default());
        facts.note_model(&document.text("modelVersion").unwrap_or_default());
        facts.tap_error |= document.is_broken() || document.is_too_large("usageMetadata");
        facts.error |= document.value("error").is_some();
        if let Some(Ok(candidates)) = document.value("candidates").map(from_json::read) {
            self.candidates(&candidates, facts);
        }
        if let Some(raw) = document.value("usageMetadata") {
            match from_json::read::<Object<WireUsage<'_>>>(raw) {
                Ok(usage) => self.usage(usage, facts),
                Err(_) => facts.parts.bad = true,
            }
        }
        Verdict::Plain
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            reply_text(&reply, text);
        }
    }
}

impl Gemini {
    fn reply(&mut self, reply: Reply<'_>, facts: &mut Facts) {
        facts.note_id(reply.response_id.as_str());
        facts.note_model(reply.model_version.as_str());
        facts.error |= reply.error.is_present();
        self.candidates(&reply.candidates, facts);
        reply_text(&reply, &mut facts.text);
        self.finish_seen |= is_blocked(&reply);
        // No event says that the stream is complete; a finish reason says it of a candidate.
        facts.terminal |= self.finish_seen;
        if reply.usage_metadata.is_present() {
            self.usage(reply.usage_metadata, facts);
        }
        facts.output_final = self.finish_seen && !self.several_candidates;
    }

    fn candidates(&mut self, candidates: &Few<Candidate<'_>>, facts: &mut Facts) {
        let mut searches = 0;
        for candidate in candidates.iter() {
            self.several_candidates |= !matches!(candidate.index, Count::Absent | Count::Value(0));
            self.finish_seen |= !candidate.finish_reason.as_str().is_empty();
            let grounding = candidate.grounding_metadata.get();
            searches += grounding.map_or(0, |found| found.web_search_queries.iter().count());
        }
        if searches > 0 {
            facts.parts.units = Parts::searches(searches.try_into().ok());
        }
    }

    fn usage(&mut self, usage: Object<WireUsage<'_>>, facts: &mut Facts) {
        let mut bad = false;
        let usage = usage.read(&mut bad);
        facts.note_tier(usage.traffic_type.as_str());
        let thoughts = usage.thoughts_token_count.read(&mut bad);
        let total = usage.total_token_count.read(&mut bad);
        self.prompt = usage.prompt_token_count.read(&mut bad).or(self.prompt);
        self.tool_use = usage.tool_use_prompt_token_count.read(&mut bad).or(self.tool_use);
        self.output = usage.candidates_token_count.read(&mut bad).or(self.output);
        let input = self.prompt.map(|prompt| prompt.saturating_add(self.tool_use.unwrap_or(0)));
        // Zeros are left out of Google's JSON: the total tells a zero from a missing report.
        let told = thoughts.or(facts.parts.reasoning).unwrap_or(0);
        let told = told.saturating_add(input.unwrap_or(0));
        let output = self.output.or((total == Some(told)).then_some(0));
        let prompt = Modalities::of(&usage.prompt_tokens_details, &mut bad);
        let tool_use = Modalities::of(&usage.tool_use_prompt_tokens_details, &mut bad);
        let cached = Modalities::of(&usage.cache_tokens_details, &mut bad);
        let candidates = Modalities::of(&usage.candidates_tokens_details, &mut bad);
        let mut uncached = |of: fn(Modalities) -> Option<TokenCount>| {
            uncached(of(prompt), of(tool_use), of(cached), &mut bad)
        };
        let audio_in = uncached(|tokens| tokens.audio);
        let image_in = uncached(|tokens| tokens.image);
        let video_in = uncached(|tokens| tokens.video);
        facts.parts.merge(&Parts {
            input,
            output,
            total,
            cache_read: usage.cached_content_token_count.read(&mut bad),
            audio_in,
            image_in,
            video_in,
            reasoning: thoughts,
            audio_out: candidates.audio,
            image_out: candidates.image,
            bad,
            ..Parts::default()
        });
    }
}

/// Tokens by modality. Text and documents, which are billed as text, are what is left over.
#[derive(Debug, Clone, Copy, Default)]
struct Modalities {
    audio: Option<TokenCount>,
    image: Option<TokenCount>,
    video: Option<TokenCount>,
}

impl Modalities {
    fn of(details: &Few<Object<OfModality<'_>>>, bad: &mut bool) -> Self {
        let mut modalities = Self::default();
        for detail in details.iter() {
            let Some(detail) = detail.look(bad) else { continue };
            let slot = match detail.modality.as_str() {
                "AUDIO" => &mut modalities.audio,
                "IMAGE" => &mut modalities.image,
                "VIDEO" => &mut modalities.video,
                _ => continue,
            };
            *slot = detail.token_count.read(bad);
        }
        modalities
    }
}

/// What is neither text nor already counted as read from the cache.
fn uncached(
    prompt: Option<TokenCount>,
    tool_use: Option<TokenCount>,
    cached: Option<TokenCount>,
    bad: &mut bool,
) -> Option<TokenCount> {
    let told = match (prompt, tool_use) {
        (None, only) | (only, None) => only?,
        (Some(prompt), Some(tool_use)) => prompt.saturating_add(tool_use),
    };
    let rest = told.checked_sub(cached.unwrap_or(0));
    *bad |= rest.is_none();
    rest
}

fn reply_text(reply: &Reply<'_>, text: &mut DeliveredText) {
    reply.candidates.iter().for_each(|candidate| candidate_text(candidate, text));
    if is_blocked(reply) {
        text.note_stop("content_filter");
    }
}

/// Whether the prompt was not even answered.
fn is_blocked(reply: &Reply<'_>) -> bool {
    let feedback = reply.prompt_feedback.get();
    feedback.is_some_and(|feedback| !feedback.block_reason.as_str().is_empty())
}

fn candidate_text(candidate: &Candidate<'_>, text: &mut DeliveredText) {
    text.note_stop(candidate.finish_reason.as_str());
    for part in candidate.content.get().iter().flat_map(|content| content.parts.iter()) {
        let kind = if part.thought.is_present() { &mut text.reasoning } else { &mut text.visible };
        part.text.push_to(kind);
        if let Some(call) = part.function_call.get() {
            text.visible.push(call.name.as_str());
            text.visible.push(call.args.as_str());
        }
    }
}
