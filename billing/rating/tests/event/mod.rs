//! A usage event to start from.

use chrono::{DateTime, Utc};
use permille_types::{
    Ended, Endpoint, Family, RequestId, Source, TokenClass, TokenCounts, UnitCounts, UsageEvent,
};

/// The instant of every event that does not say otherwise.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A complete, reported event of `model` with these tokens.
pub(crate) fn event(model: &str, tokens: &[(&str, u64)]) -> UsageEvent {
    let counts: TokenCounts =
        tokens.iter().map(|(class, count)| (TokenClass::named(class), *count)).collect();
    UsageEvent {
        version: permille_types::USAGE_EVENT_VERSION,
        request_id: RequestId::new(noon()),
        at: noon(),
        customer: "acme".parse().unwrap(),
        project: "web".parse().unwrap(),
        key: "key-1".parse().unwrap(),
        session: "chat-1".parse().unwrap(),
        session_explicit: true,
        turn: 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: model.parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: None,
        status: Some(200),
        streamed: false,
        ended: Ended::Complete,
        source: Source::Reported,
        tokens: counts,
        input_total: None,
        output_total: None,
        estimate_error_permille: None,
        units: UnitCounts::new(),
        attempts: Vec::new(),
        latency_ms: 1,
        first_token_ms: None,
        flags: Vec::new(),
    }
}
