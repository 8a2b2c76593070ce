//! The usage record of one request: opened before the upstream call, settled exactly once (M1).

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use permille_journal::{JournalError, Settled};
use permille_types::{
    Attempt, Ended, Flag, Intent, ModelName, Progress, Source, TokenCounts, USAGE_EVENT_VERSION,
    UnitCounts, UsageEvent,
};
use permille_usage::{Counted, Reading, count};

use crate::{context::InSession, metering::Metering, refusal::Refusal};

/// Headers in which providers name a request, in order of preference.
const PROVIDER_REQUEST_ID: [&str; 3] = ["x-request-id", "request-id", "x-tc-requestid"];
/// Longest provider id that is kept, in bytes.
const PROVIDER_ID_BYTES_MAX: usize = 128;
/// Stands in the row of an endpoint that takes no model, such as the models list.
const NO_MODEL: &str = "(none)";

/// An open request. Its intent is in the journal; [`Record::settle`] closes it.
pub(crate) struct Record {
    event: UsageEvent,
    attempt: Attempt,
    request_body: Bytes,
    started: Instant,
    metering: Arc<Metering>,
}

impl Record {
    /// Writes the intent: from here on the request exists, whatever crashes.
    pub(crate) async fn open(
        metering: Arc<Metering>,
        request: &InSession,
    ) -> Result<Self, Refusal> {
        let record = Self::new(metering, request)?;
        let intent = Intent {
            event: record.event.clone(),
            request_bytes: u64::try_from(record.request_body.len()).unwrap_or(u64::MAX),
        };
        let admitted =
            record.metering.journal.admit_durable(&intent).map_err(|cause| unrecordable(&cause))?;
        let mut unsent = Unsent(Some(record));
        admitted.await.map_err(|cause| unrecordable(&cause))?;
        let gone = || Refusal::JournalUnavailable { reason: "the record is gone".to_owned() };
        unsent.0.take().ok_or_else(gone)
    }

    fn new(metering: Arc<Metering>, request: &InSession) -> Result<Self, Refusal> {
        let classified = &request.targeted.classified;
        let head = &classified.routed;
        let upstream = &request.targeted.upstream;
        let facts = classified.facts.as_ref();
        let model_requested = match facts {
            Some(facts) => facts.model.clone(),
            None => NO_MODEL
                .parse()
                .map_err(|cause| Refusal::InvalidRequest(format!("no model name: {cause}")))?,
        };
        let event = UsageEvent {
            version: USAGE_EVENT_VERSION,
            request_id: head.id,
            at: head.at,
            customer: head.key.customer.clone(),
            project: head.key.project.clone(),
            key: head.key.key.clone(),
            session: request.session.clone(),
            session_explicit: request.explicit,
            turn: request.turn,
            family: upstream.family,
            endpoint: head.endpoint,
            model_requested,
            model_served: None,
            service_tier: None,
            upstream: Some(upstream.name.clone()),
            status: None,
            streamed: facts.is_some_and(|facts| facts.stream),
            ended: Ended::Orphaned,
            source: Source::Missing,
            tokens: TokenCounts::new(),
            input_total: None,
            output_total: None,
            units: UnitCounts::new(),
            attempts: Vec::new(),
            latency_ms: 0,
            first_token_ms: None,
            flags: if upstream.simulated { vec![Flag::Simulated] } else { Vec::new() },
        };
        let attempt = Attempt {
            upstream: upstream.name.clone(),
            status: None,
            provider_id: None,
            provider_request_id: None,
            ended: Ended::Orphaned,
            tokens: TokenCounts::new(),
        };
        let request_body = classified.body.clone();
        Ok(Self { event, attempt, request_body, started: head.started, metering })
    }

    /// Time since the request arrived.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// The upstream answered with this head.
    pub(crate) fn answered(&mut self, status: http::StatusCode, headers: &HeaderMap) {
        self.event.status = Some(status.as_u16());
        self.attempt.status = Some(status.as_u16());
        self.attempt.provider_request_id = PROVIDER_REQUEST_ID
            .iter()
            .find_map(|name| headers.get(*name))
            .and_then(|value| value.to_str().ok())
            .map(bounded);
    }

    /// The first byte of the reply's body is here.
    pub(crate) fn first_byte(&mut self) {
        if self.event.first_token_ms.is_none() {
            let elapsed = self.started.elapsed();
            self.event.first_token_ms = Some(milliseconds(elapsed));
            self.metering.metrics.first_byte_seconds.observe(elapsed.as_secs_f64());
        }
    }

    /// Whether settling this reading must tokenise text, which is no work for the event loop.
    pub(crate) fn must_count(reading: &Reading) -> bool {
        !reading.error && !reading.usage.as_ref().is_some_and(permille_usage::Usage::is_complete)
    }

    /// Writes the settled record. `reading` is absent where nothing of the reply is counted:
    /// error bodies (M8), free endpoints, calls that never answered.
    pub(crate) fn settle(
        mut self,
        ended: Ended,
        reading: Option<&Reading>,
        flags: &[Flag],
    ) -> Result<Settled, JournalError> {
        let counted = reading.map_or_else(nothing, |reading| {
            count(reading, self.event.endpoint, &self.request_body)
        });
        for flag in counted.flags.iter().chain(flags) {
            self.event.flag(*flag);
        }
        if let Some(reading) = reading {
            self.event.model_served = reading.model.as_deref().and_then(|name| name.parse().ok());
            self.event.service_tier.clone_from(&reading.service_tier);
            self.attempt.provider_id = reading.provider_id.as_deref().map(bounded);
        }
        let read_to_its_end = reading.is_some_and(|reading| reading.terminal && !reading.error);
        self.attempt.ended = if read_to_its_end { Ended::Complete } else { ended };
        self.attempt.tokens.clone_from(&counted.tokens);
        self.event.ended = ended;
        self.event.source = counted.source;
        self.event.tokens = counted.tokens;
        self.event.input_total = counted.input_total;
        self.event.output_total = counted.output_total;
        self.event.units = counted.units;
        self.event.latency_ms = milliseconds(self.started.elapsed());
        self.event.attempts.push(self.attempt);
        self.metering.metrics.settled(&self.event);
        self.metering.journal.settle(&self.event)
    }

    /// Work that writes what is known so far, for the case that the gateway dies.
    pub(crate) fn progress(&self, reading: Reading) -> impl FnOnce() + Send + use<> {
        let (endpoint, body) = (self.event.endpoint, self.request_body.clone());
        let (request_id, metering) = (self.event.request_id, Arc::clone(&self.metering));
        move || {
            let counted = count(&reading, endpoint, &body);
            let progress = Progress {
                request_id,
                tokens: counted.tokens,
                source: counted.source,
                input_total: counted.input_total,
                output_total: counted.output_total,
                model_served: reading.model.and_then(|name| name.parse::<ModelName>().ok()),
            };
            if let Err(cause) = metering.journal.progress(&progress) {
                tracing::debug!(%request_id, %cause, "progress not written");
            }
        }
    }
}

/// A record whose request has not been sent. Dropped, it is settled with nothing: the client has
/// left while its intent was being synced.
struct Unsent(Option<Record>);

impl Drop for Unsent {
    fn drop(&mut self) {
        let Some(record) = self.0.take() else { return };
        let ended = record.metering.ending_of_a_dropped_reply();
        if let Err(cause) = record.settle(ended, None, &[]) {
            tracing::error!(error = %crate::known::chain(&cause), "an unsent request not recorded");
        }
    }
}

fn nothing() -> Counted {
    Counted {
        tokens: TokenCounts::new(),
        input_total: None,
        output_total: None,
        units: UnitCounts::new(),
        source: Source::Missing,
        flags: Vec::new(),
    }
}

fn unrecordable(cause: &JournalError) -> Refusal {
    tracing::error!(error = %crate::known::chain(cause), "intent not written");
    Refusal::JournalUnavailable { reason: cause.to_string() }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bounded(id: &str) -> String {
    id.chars().take(PROVIDER_ID_BYTES_MAX).collect()
}
