//! Usage events that a test makes up, and the bodies that carry them.

use bytes::Bytes;
use permille_types::{
    Attempt, Batch, Ended, Endpoint, Family, INTAKE_PATH, Sequenced, Source, TokenClass,
    TokenCounts, UsageEvent,
};
use serde_json::json;

use crate::support::{Api, Reply};

pub(crate) fn request_id(number: u32) -> String {
    format!("019a0000-0000-7000-8000-{number:012x}")
}

/// Event `number` of a customer: 1,000 tokens in and 500 out of ERNIE-Bot, 0.018 CNY. The same
/// number is the same event.
pub(crate) fn event(number: u32, customer: &str, key: &str) -> UsageEvent {
    let tokens =
        TokenCounts::from([(TokenClass::INPUT_UNCACHED, 1_000), (TokenClass::OUTPUT_TEXT, 500)]);
    UsageEvent {
        version: 1,
        request_id: request_id(number).parse().unwrap(),
        at: "2026-11-20T09:30:00Z".parse().unwrap(),
        customer: customer.parse().unwrap(),
        project: "default".parse().unwrap(),
        key: key.parse().unwrap(),
        session: "chat-1".parse().unwrap(),
        session_explicit: true,
        turn: number,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: "ERNIE-Bot".parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: Some("main".parse().unwrap()),
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        input_total: Some(1_000),
        output_total: Some(500),
        estimate_error_permille: None,
        units: permille_types::UnitCounts::new(),
        attempts: vec![Attempt {
            upstream: "main".parse().unwrap(),
            model: None,
            status: Some(200),
            provider_id: Some("chatcmpl-AbCdEfGhIjKlMnOpQrStUv".to_owned()),
            provider_request_id: None,
            ended: Ended::Complete,
            tokens: tokens.clone(),
        }],
        tokens,
        latency_ms: 1_234,
        first_token_ms: Some(321),
        flags: Vec::new(),
    }
}

pub(crate) fn payload(event: &UsageEvent) -> Vec<u8> {
    event.to_json().unwrap()
}

/// The body that a gateway sends for these payloads.
pub(crate) fn body(node: &str, first: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
    let events = payloads.iter().zip(first..).map(|(payload, sequence)| Sequenced {
        sequence,
        payload: Bytes::copy_from_slice(payload),
    });
    let batch = Batch { node: node.parse().unwrap(), events: events.collect() };
    batch.to_wire().to_vec()
}

/// A gateway: its token, and the node whose journal it ships.
pub(crate) struct Gateway<'a> {
    api: &'a Api,
    token: String,
    node: &'static str,
}

impl<'a> Gateway<'a> {
    pub(crate) async fn of(api: &'a Api, node: &'static str) -> Self {
        Self { api, token: api.token("gateway").await, node }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Reply {
        self.api.ask(http::Method::POST, &self.token, INTAKE_PATH, body).await
    }

    /// Ships payloads whose sequence numbers begin with `first`.
    pub(crate) async fn ship_bytes(&self, first: u64, payloads: &[Vec<u8>]) -> Reply {
        self.post(body(self.node, first, payloads)).await
    }

    /// Ships events, which must be acknowledged up to the last one.
    pub(crate) async fn ship(&self, first: u64, events: &[UsageEvent]) {
        let payloads: Vec<_> = events.iter().map(payload).collect();
        let reply = self.ship_bytes(first, &payloads).await;
        let last = first + u64::try_from(events.len()).unwrap() - 1;
        let told = reply.ok();
        assert_eq!((&told["version"], &told["sequence"]), (&json!(1), &json!(last)));
    }
}
