//! Counters of the data plane. Labels are bounded by construction: families, endings, classes and
//! codes are closed sets, upstreams are configured, models beyond a bound are `other`. What is
//! counted per customer is exported by billing.

mod children;
mod conversations;
mod limited;

use std::collections::HashSet;

use http::StatusCode;
use parking_lot::Mutex;
use permille_journal::Stats;
use permille_types::{Endpoint, Family, Flag, ModelName, UpstreamName, UsageEvent};
use permille_usage::{Audit, Compared};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, core::Collector,
};

use children::{Answered, Settled};
use conversations::Conversations;
use limited::Limited;

use crate::refusal;

/// Seconds, for what the gateway adds itself: from 50 µs to 1 s.
const OVERHEAD_BUCKETS: [f64; 12] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0];
/// Seconds, for what models take: from 50 ms to 2 minutes.
const MODEL_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Reported ÷ counted: a tenth too much is in another bucket than nothing.
const DRIFT_BUCKETS: [f64; 12] = [0.5, 0.75, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.2, 1.35, 1.6, 2.5];
/// Statuses of answers that are exported of a configured family from the start: what rules ask for.
const STATUSES: [StatusCode; 6] = [
    StatusCode::OK,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
/// Models at upstreams whose audits are counted by name, some 40 series each; every further one is
/// counted as the model `other`.
const AUDITED_MAX: usize = 100;

/// The data plane's metrics.
pub struct Metrics {
    requests: IntCounterVec,
    refused: IntCounterVec,
    ended: IntCounterVec,
    tokens: IntCounterVec,
    turns: IntCounterVec,
    calls: IntCounterVec,
    retries: IntCounterVec,
    pub(crate) retries_over_budget: IntCounter,
    pub(crate) circuits_opened: IntCounterVec,
    answered_well: Answered,
    settled: Settled,
    mismatched: IntCounter,
    tap_errors: IntCounter,
    pub(crate) audits: Audits,
    pub(crate) streams_in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) drains: IntGauge,
    journal: Journaled,
    pub(crate) limits: Limited,
    conversations: Conversations,
    pub(crate) usage_stream_lost: IntCounter,
    pub(crate) hold_exceeded: IntCounter,
    pub(crate) hold_seconds: Histogram,
    pub(crate) overhead_seconds: Histogram,
    pub(crate) first_byte_seconds: Histogram,
}

impl Metrics {
    /// Registers everything on `registry`.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a metric of that name is there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| counters(registry, name, help, labels);
        let counter = |name: &str, help: &str| kept(registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| kept(registry, IntGauge::new(name, help)?);
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            kept(registry, Histogram::with_opts(options)?)
        };
        Ok(Self {
            requests: counters(
                "permille_requests_total",
                "Requests answered, by wire family and status.",
                &["family", "status"],
            )?,
            refused: refusals(registry)?,
            ended: counters(
                "permille_requests_ended_total",
                "Settled requests, by wire family, endpoint and ending.",
                &["family", "endpoint", "ended"],
            )?,
            tokens: counters(
                "permille_metered_tokens_total",
                "Tokens metered by the gateway, by wire family, class and source.",
                &["family", "class", "source"],
            )?,
            turns: counters(
                "permille_turns_total",
                "Settled requests that models answer, by how their turn came about.",
                &["kind"],
            )?,
            calls: counters(
                "permille_upstream_calls_total",
                "Calls of settled requests, by upstream, the status of the answer or none, and \
                 ending.",
                &["upstream", "status", "ended"],
            )?,
            retries: counters(
                "permille_retries_total",
                "Upstream calls that failed and were followed by another one, by upstream.",
                &["upstream"],
            )?,
            retries_over_budget: counter(
                "permille_retries_over_budget_total",
                "Failed calls that were not followed by another one because of the budget.",
            )?,
            circuits_opened: counters(
                "permille_upstream_circuits_opened_total",
                "Times that an upstream was left alone after failures in a row.",
                &["upstream"],
            )?,
            answered_well: Answered::default(),
            settled: Settled::default(),
            mismatched: counter(
                "permille_metered_mismatch_total",
                "Replies whose token classes do not add up to the provider's total.",
            )?,
            tap_errors: counter(
                "permille_tap_errors_total",
                "Replies that the tap could not read in full; their bytes passed unchanged.",
            )?,
            audits: Audits::register(registry)?,
            streams_in_flight: gauge(
                "permille_streams_in_flight",
                "Requests whose reply has not ended.",
            )?,
            connections: gauge("permille_connections", "Open client connections.")?,
            drains: gauge("permille_drains_in_flight", "Replies read on after their client left.")?,
            journal: Journaled::register(registry)?,
            limits: Limited::register(registry)?,
            conversations: Conversations::register(registry)?,
            usage_stream_lost: counter(
                "permille_usage_stream_lost_total",
                "Batches that Redis lost before billing had answered; they were added again.",
            )?,
            hold_exceeded: counter(
                "permille_hold_exceeded_total",
                "Ends of replies released before the journal had synced them.",
            )?,
            hold_seconds: histogram(
                "permille_hold_seconds",
                "Seconds that the end of a reply waited for the journal.",
                &OVERHEAD_BUCKETS,
            )?,
            overhead_seconds: histogram(
                "permille_overhead_seconds",
                "Seconds from a request's arrival to the upstream call.",
                &OVERHEAD_BUCKETS,
            )?,
            first_byte_seconds: histogram(
                "permille_first_token_seconds",
                "Seconds from a request's arrival to the first byte of its reply's body.",
                &MODEL_BUCKETS,
            )?,
        })
    }

    /// Counts an answer.
    pub fn answered(&self, family: Family, status: StatusCode) {
        if status == StatusCode::OK {
            return self.answered_well.count(&self.requests, family);
        }
        self.requests.with_label_values(&[family.as_str(), status.as_str()]).inc();
    }

    /// Counts a request that was answered here.
    pub fn refused(&self, code: &str) {
        self.refused.with_label_values(&[code]).inc();
    }

    /// Exports the series of a configured upstream and its family from the start: an increase is
    /// seen only in a series that was there before it.
    pub fn knows(&self, upstream: &UpstreamName, family: Family) {
        for status in &STATUSES {
            self.requests.with_label_values(&[family.as_str(), status.as_str()]);
        }
        self.retries.with_label_values(&[upstream.as_str()]);
        self.circuits_opened.with_label_values(&[upstream.as_str()]);
    }

    /// Counts an audited reply.
    pub fn audited(&self, upstream: &UpstreamName, model: &ModelName, audit: &Audit) {
        self.audits.found(upstream, model, audit);
    }

    /// Copies how the shared conversations fare.
    pub(crate) fn conversations(&self, health: permille_session::Health) {
        self.conversations.fare(health);
    }

    /// Copies the figures of the journal.
    pub(crate) fn journal(&self, stats: &Stats, is_admitting: bool) {
        self.journal.copy(stats, is_admitting);
    }

    pub(crate) fn retried(&self, upstream: &UpstreamName) {
        self.retries.with_label_values(&[upstream.as_str()]).inc();
    }

    /// Counts a settled request.
    pub fn settled(&self, event: &UsageEvent) {
        let UsageEvent { family, endpoint, ended, source, .. } = *event;
        self.settled.ended(&self.ended, (family, endpoint, ended));
        // A settlement is of the turn of the request that it settles, which was counted.
        if endpoint.is_metered() && endpoint != Endpoint::StoredResponse {
            self.settled.turn(&self.turns, event.turn_kind);
        }
        for (class, tokens) in &event.tokens {
            self.settled.tokens(&self.tokens, (family, class, source), *tokens);
        }
        for flag in &event.flags {
            match flag {
                Flag::UsageMismatch => self.mismatched.inc(),
                Flag::TapError => self.tap_errors.inc(),
                _ => {}
            }
        }
    }

    /// Counts the upstream calls of a request that has ended. A settlement of another request has
    /// none of its own.
    pub fn called(&self, event: &UsageEvent) {
        for call in &event.attempts {
            let code = call.status.and_then(|status| StatusCode::from_u16(status).ok());
            let status = code.as_ref().map_or("none", StatusCode::as_str);
            let labels = [call.upstream.as_str(), status, call.ended.as_str()];
            self.calls.with_label_values(&labels).inc();
        }
    }
}

/// The figures of the journal.
struct Journaled {
    admitting: IntGauge,
    lag_events: IntGauge,
    lag_bytes: IntGauge,
    lag_seconds: Gauge,
    segment_bytes: IntGauge,
    segment_bytes_max: IntGauge,
    batches_refused: IntCounter,
}

impl Journaled {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| kept(registry, IntGauge::new(name, help)?);
        let lag_seconds = Gauge::new(
            "permille_journal_lag_seconds",
            "Age of the oldest settled record that billing has not acknowledged; 0 without one.",
        )?;
        let batches_refused = IntCounter::new(
            "permille_journal_batches_refused_total",
            "Batches of usage that billing refused; they are sent again.",
        )?;
        Ok(Self {
            admitting: gauge(
                "permille_journal_admitting",
                "1 while the journal takes new requests, 0 when it is full or failed.",
            )?,
            lag_events: gauge(
                "permille_journal_lag_events",
                "Settled records that billing has not acknowledged.",
            )?,
            lag_bytes: gauge(
                "permille_journal_lag_bytes",
                "Payload bytes of the records that billing has not acknowledged.",
            )?,
            lag_seconds: kept(registry, lag_seconds)?,
            segment_bytes: gauge(
                "permille_journal_segment_bytes",
                "Bytes that the journal's segment files take, prepared ones included.",
            )?,
            segment_bytes_max: gauge(
                "permille_journal_segment_bytes_max",
                "Bytes that they may take: at this bound no new request is taken.",
            )?,
            batches_refused: kept(registry, batches_refused)?,
        })
    }

    fn copy(&self, stats: &Stats, is_admitting: bool) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.admitting.set(i64::from(is_admitting));
        self.lag_events.set(gauge(stats.lag_records));
        self.lag_bytes.set(gauge(stats.lag_bytes));
        self.lag_seconds.set(stats.oldest_unacknowledged.unwrap_or_default().as_secs_f64());
        self.segment_bytes.set(gauge(stats.segment_bytes));
        self.segment_bytes_max.set(gauge(stats.segment_bytes_max));
        let refused = stats.batches_refused_total.saturating_sub(self.batches_refused.get());
        self.batches_refused.inc_by(refused);
    }
}

/// What audits have found.
pub(crate) struct Audits {
    /// Models at upstreams that are counted by name.
    known: Mutex<HashSet<(UpstreamName, ModelName)>>,
    replies: IntCounterVec,
    reported: IntCounterVec,
    counted: IntCounterVec,
    drift: HistogramVec,
    pub(crate) skipped: IntCounter,
}

impl Audits {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| counters(registry, name, help, labels);
        let drift = HistogramOpts::new(
            "permille_audit_drift_ratio",
            "Text tokens that an audited reply reported, divided by our own count.",
        );
        let drift = drift.buckets(DRIFT_BUCKETS.to_vec());
        let skipped = IntCounter::new(
            "permille_audits_skipped_total",
            "Replies of the audit's sample that were left out because others were under way.",
        )?;
        Ok(Self {
            known: Mutex::default(),
            replies: counters(
                "permille_audited_replies_total",
                "Replies that report usage and were counted here too, by upstream, model and \
                 vocabulary: own, or stand_in where the model's is not public.",
                &["upstream", "model", "vocabulary"],
            )?,
            reported: counters(
                "permille_audited_reported_tokens_total",
                "Text tokens that audited replies reported.",
                &["upstream", "model", "direction"],
            )?,
            counted: counters(
                "permille_audited_counted_tokens_total",
                "Text tokens of audited replies by our own count.",
                &["upstream", "model", "direction"],
            )?,
            drift: kept(registry, HistogramVec::new(drift, &["upstream", "model", "direction"])?)?,
            skipped: kept(registry, skipped)?,
        })
    }

    /// Counts an audited reply.
    pub(crate) fn found(&self, upstream: &UpstreamName, model: &ModelName, audit: &Audit) {
        let model = self.name(upstream, model);
        let upstream = upstream.as_str();
        let vocabulary = if audit.is_own_vocabulary { "own" } else { "stand_in" };
        self.replies.with_label_values(&[upstream, model, vocabulary]).inc();
        for (direction, compared) in [("input", audit.input), ("output", audit.output)] {
            let Some(Compared { reported, counted, .. }) = compared else { continue };
            let labels = [upstream, model, direction];
            self.reported.with_label_values(&labels).inc_by(reported);
            self.counted.with_label_values(&labels).inc_by(counted);
            if let (Ok(reported), Ok(counted @ 1..)) =
                (u32::try_from(reported), u32::try_from(counted))
            {
                let drift = f64::from(reported) / f64::from(counted);
                self.drift.with_label_values(&labels).observe(drift);
            }
        }
    }

    /// The label of `model` at `upstream`.
    fn name<'a>(&self, upstream: &UpstreamName, model: &'a ModelName) -> &'a str {
        let mut known = self.known.lock();
        let pair = (upstream.clone(), model.clone());
        if known.contains(&pair) || (known.len() < AUDITED_MAX && known.insert(pair)) {
            model.as_str()
        } else {
            "other"
        }
    }
}

/// Refusals, of every code from the start: an increase is seen only in a series that was there
/// before it.
fn refusals(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let refused = counters(
        registry,
        "permille_requests_refused_total",
        "Requests that Permille answered itself, by reason.",
        &["code"],
    )?;
    for code in refusal::CODES {
        refused.with_label_values(&[code]);
    }
    Ok(refused)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn kept<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_and_answered_is_there_before_the_first_request() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.knows(&"u".parse().unwrap(), Family::Anthropic);

        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let lines: HashSet<&str> = text.lines().collect();

        for code in refusal::CODES {
            let line = format!("permille_requests_refused_total{{code=\"{code}\"}} 0");
            assert!(lines.contains(&*line), "{line}");
        }
        for status in ["200", "429", "500", "502", "503", "504"] {
            let labels = format!("family=\"anthropic\",status=\"{status}\"");
            let line = format!("permille_requests_total{{{labels}}} 0");
            assert!(lines.contains(&*line), "{line}");
        }
    }

    #[test]
    fn models_beyond_the_bound_are_audited_as_other() {
        let audits = Audits::register(&Registry::new()).unwrap();
        let upstream: UpstreamName = "u".parse().unwrap();
        let names: HashSet<String> = (0..1_000)
            .map(|n| format!("m{n}").parse::<ModelName>().unwrap())
            .map(|model| audits.name(&upstream, &model).to_owned())
            .collect();

        assert_eq!(names.len(), AUDITED_MAX + 1);
        assert!(names.contains("m7") && names.contains("other"));
        assert_eq!(audits.name(&upstream, &"m7".parse().unwrap()), "m7");
    }
}
