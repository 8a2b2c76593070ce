//! The names of OpenTelemetry's conventions for generative AI, and what of a usage event goes by
//! them. All of them have the status "development": they may still change.
//!
//! Source: open-telemetry/semantic-conventions-genai, `docs/gen-ai/client-inference.md` and
//! `gen-ai-token-metrics.md` at commit 024a4f94 (2026-11, not released, on conventions v1.44.0).

use std::time::Duration;

use opentelemetry::{KeyValue, Value};
use permille_types::{Ended, Endpoint, ModelName, Source, TokenClass, UsageEvent};

use crate::telemetry::Server;

/// Bounds of the tokens of one operation, as the convention gives them.
pub(crate) const TOKEN_BOUNDS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Bounds of the durations, as the convention gives them. Seconds.
pub(crate) const SECOND_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The operation that infers nothing: its metrics have other names.
pub(crate) const EMBEDDINGS: &str = "embeddings";

/// The convention's word for what an endpoint does; absent where nothing is generated.
pub(crate) fn operation(endpoint: Endpoint) -> Option<&'static str> {
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Chat
        | Endpoint::Generation => Some("chat"),
        Endpoint::Completions | Endpoint::Generate | Endpoint::GenerateStream => {
            Some("text_completion")
        }
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => Some("generate_content"),
        Endpoint::Embeddings | Endpoint::EmbedContent | Endpoint::Embed => Some(EMBEDDINGS),
        // Lists, counts, reads and access tokens.
        _ => None,
    }
}

/// The convention's word for a provider; ours where it has none.
fn provider(name: &str) -> String {
    let known = match name {
        "azure-openai" => "azure.ai.openai",
        "gemini" => "gcp.gemini",
        "vertex" | "vertex-ai" => "gcp.vertex_ai",
        "bedrock" => "aws.bedrock",
        "mistral" => "mistral_ai",
        "moonshot" | "kimi" => "moonshot_ai",
        "xai" => "x_ai",
        other => other,
    };
    known.to_owned()
}

/// What metrics and spans have in common: few values each.
pub(crate) fn common(
    operation: &'static str,
    event: &UsageEvent,
    server: Option<&Server<'_>>,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", operation),
        KeyValue::new("gen_ai.request.model", model(event).to_string()),
    ];
    if let Some(served) = &event.model_served {
        attributes.push(KeyValue::new("gen_ai.response.model", served.to_string()));
    }
    if let Some(server) = server {
        attributes.push(KeyValue::new("gen_ai.provider.name", provider(server.provider)));
        attributes.push(KeyValue::new("server.address", server.address.to_owned()));
        attributes.push(KeyValue::new("server.port", i64::from(server.port)));
    } else {
        attributes.push(KeyValue::new("gen_ai.provider.name", provider(event.family.as_str())));
    }
    attributes
}

/// The model that the upstream was asked for.
pub(crate) fn model(event: &UsageEvent) -> &ModelName {
    let asked = event.attempts.last().and_then(|call| call.model.as_ref());
    asked.unwrap_or(&event.model_requested)
}

/// The class of error that an operation ended with: the provider's status, else how it ended. A
/// client that leaves is none.
pub(crate) fn error(event: &UsageEvent) -> Option<String> {
    if let Some(status) = event.status.filter(|status| *status >= 400) {
        return Some(status.to_string());
    }
    match event.ended {
        Ended::Complete | Ended::ClientGone => None,
        Ended::Deadline => Some("timeout".to_owned()),
        Ended::UpstreamError | Ended::Shutdown | Ended::Orphaned | Ended::Budget => {
            Some(event.ended.as_str().to_owned())
        }
    }
}

/// What a span has beside [`common`].
pub(crate) fn of_span(event: &UsageEvent) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("gen_ai.conversation.id", event.session.to_string()),
        KeyValue::new("permille.request.id", event.request_id.to_string()),
        KeyValue::new("permille.customer", event.customer.to_string()),
        KeyValue::new("permille.project", event.project.to_string()),
        KeyValue::new("permille.turn", i64::from(event.turn)),
        KeyValue::new("permille.ended", event.ended.as_str()),
        KeyValue::new("permille.usage.source", event.source.as_str()),
        KeyValue::new("permille.calls", count(event.attempts.len())),
    ];
    let mut has = |key: &'static str, value: Option<Value>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    has("gen_ai.request.stream", event.streamed.then(|| true.into()));
    let last = event.attempts.last();
    has("gen_ai.response.id", last.and_then(|call| call.provider_id.clone()).map(Value::from));
    has("permille.upstream", event.upstream.as_ref().map(|name| name.to_string().into()));
    has("permille.turn.kind", event.turn_kind.map(|kind| kind.as_str().into()));
    has("permille.resent_tokens", event.resent_tokens.map(count).map(Value::from));
    has(
        "gen_ai.response.time_to_first_chunk",
        first_chunk(event).map(|time| time.as_secs_f64().into()),
    );
    has("gen_ai.usage.input_tokens", event.input_total.map(count).map(Value::from));
    has("gen_ai.usage.output_tokens", event.output_total.map(count).map(Value::from));
    for (key, tokens) in classes(event) {
        has(key, Some(count(tokens).into()));
    }
    attributes
}

/// Time to the first byte of a streamed reply.
pub(crate) fn first_chunk(event: &UsageEvent) -> Option<Duration> {
    event.first_token_ms.filter(|_| event.streamed).map(Duration::from_millis)
}

/// The parts of input and output that have names of their own. Those of modalities only where the
/// provider reports them, as the convention wants it; it has no name for those of video.
fn classes(event: &UsageEvent) -> Vec<(&'static str, u64)> {
    let reported = |class| sum_of(event, class).filter(|_| event.source == Source::Reported);
    let found = [
        ("gen_ai.usage.cache_read.input_tokens", cache_read(event)),
        ("gen_ai.usage.cache_write.input_tokens", cache_write(event)),
        ("gen_ai.usage.reasoning.output_tokens", sum_of(event, &TokenClass::REASONING)),
        ("gen_ai.usage.audio.input_tokens", reported(&TokenClass::AUDIO_IN)),
        ("gen_ai.usage.image.input_tokens", reported(&TokenClass::IMAGE_IN)),
        ("permille.usage.video.input_tokens", reported(&TokenClass::VIDEO_IN)),
        ("gen_ai.usage.audio.output_tokens", reported(&TokenClass::AUDIO_OUT)),
        ("gen_ai.usage.image.output_tokens", reported(&TokenClass::IMAGE_OUT)),
    ];
    found.into_iter().filter_map(|(key, tokens)| Some((key, tokens?))).collect()
}

/// Input served from the provider's cache.
pub(crate) fn cache_read(event: &UsageEvent) -> Option<u64> {
    sum(event, |class| class.as_str().starts_with("cache_read"))
}

/// Input written to the provider's cache.
pub(crate) fn cache_write(event: &UsageEvent) -> Option<u64> {
    sum(event, |class| class.as_str().starts_with("cache_write_"))
}

/// Tokens of one class.
pub(crate) fn sum_of(event: &UsageEvent, class: &TokenClass) -> Option<u64> {
    sum(event, |other| other == class)
}

fn sum(event: &UsageEvent, is_part: impl Fn(&TokenClass) -> bool) -> Option<u64> {
    let parts = event.tokens.iter().filter(|(class, _)| is_part(class));
    parts.map(|(_, tokens)| *tokens).reduce(u64::saturating_add)
}

/// The modality that no reply tells.
pub(crate) const UNKNOWN: &str = "unknown";
/// The modality of replies, but for what is reported as another one.
pub(crate) const TEXT: &str = "text";

/// All input by modality. What is not reported as another one may be text, or images that the
/// provider counts with it. Without input, none of it is.
pub(crate) fn input(event: &UsageEvent) -> Vec<(&'static str, u64)> {
    let named = [
        ("audio", TokenClass::AUDIO_IN),
        ("image", TokenClass::IMAGE_IN),
        ("video", TokenClass::VIDEO_IN),
    ];
    by_modality(event, event.input_total, &named, UNKNOWN)
}

/// All output by modality.
pub(crate) fn output(event: &UsageEvent) -> Vec<(&'static str, u64)> {
    let named = [("audio", TokenClass::AUDIO_OUT), ("image", TokenClass::IMAGE_OUT)];
    by_modality(event, event.output_total, &named, TEXT)
}

fn by_modality(
    event: &UsageEvent,
    total: Option<u64>,
    named: &[(&'static str, TokenClass)],
    rest: &'static str,
) -> Vec<(&'static str, u64)> {
    let Some(total) = total else { return vec![(UNKNOWN, 0)] };
    let part = |(name, class): &(&'static str, TokenClass)| Some((*name, sum_of(event, class)?));
    let mut parts: Vec<_> = named.iter().filter_map(part).collect();
    let sum = parts.iter().fold(0_u64, |sum, (_, tokens)| sum.saturating_add(*tokens));
    match total.checked_sub(sum) {
        Some(left) => parts.push((rest, left)),
        // They contradict each other, and the row is flagged: the total is what is billed.
        None => parts = vec![(UNKNOWN, total)],
    }
    parts
}

/// A number as OpenTelemetry has them.
fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
