//! Counters of the data plane. Labels are bounded by construction: families, endings, classes and
//! codes are closed sets, upstreams are configured. What is counted per customer is exported by
//! billing.

use http::StatusCode;
use permille_types::{Family, Flag, UpstreamName, UsageEvent};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// Seconds, for what the gateway adds itself: from 50 µs to 1 s.
const OVERHEAD_BUCKETS: [f64; 12] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0];
/// Seconds, for what models take: from 50 ms to 2 minutes.
const MODEL_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The data plane's metrics.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    refused: IntCounterVec,
    ended: IntCounterVec,
    tokens: IntCounterVec,
    retries: IntCounterVec,
    pub(crate) retries_over_budget: IntCounter,
    pub(crate) circuits_opened: IntCounterVec,
    mismatched: IntCounter,
    tap_errors: IntCounter,
    pub(crate) streams_in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) drains: IntGauge,
    pub(crate) journal_lag_events: IntGauge,
    pub(crate) journal_lag_bytes: IntGauge,
    pub(crate) journal_admitting: IntGauge,
    pub(crate) hold_exceeded: IntCounter,
    pub(crate) hold_seconds: Histogram,
    pub(crate) overhead_seconds: Histogram,
    pub(crate) first_byte_seconds: Histogram,
}

impl Metrics {
    /// Registers everything on `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
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
            refused: counters(
                "permille_requests_refused_total",
                "Requests that Permille answered itself, by reason.",
                &["code"],
            )?,
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
            mismatched: counter(
                "permille_metered_mismatch_total",
                "Replies whose token classes do not add up to the provider's total.",
            )?,
            tap_errors: counter(
                "permille_tap_errors_total",
                "Replies that the tap could not read in full; their bytes passed unchanged.",
            )?,
            streams_in_flight: gauge(
                "permille_streams_in_flight",
                "Requests whose reply has not ended.",
            )?,
            connections: gauge("permille_connections", "Open client connections.")?,
            drains: gauge(
                "permille_drains_in_flight",
                "Replies that are read on after their client has left.",
            )?,
            journal_lag_events: gauge(
                "permille_journal_lag_events",
                "Settled records that billing has not acknowledged.",
            )?,
            journal_lag_bytes: gauge(
                "permille_journal_lag_bytes",
                "Bytes of journal segments that billing has not acknowledged.",
            )?,
            journal_admitting: gauge(
                "permille_journal_admitting",
                "1 while the journal takes new requests, 0 when it is full or failed.",
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

    pub(crate) fn answered(&self, family: Family, status: StatusCode) {
        self.requests.with_label_values(&[family.as_str(), status.as_str()]).inc();
    }

    pub(crate) fn refused(&self, code: &str) {
        self.refused.with_label_values(&[code]).inc();
    }

    pub(crate) fn retried(&self, upstream: &UpstreamName) {
        self.retries.with_label_values(&[upstream.as_str()]).inc();
    }

    /// Counts a settled request.
    pub(crate) fn settled(&self, event: &UsageEvent) {
        let family = event.family.as_str();
        self.ended
            .with_label_values(&[family, event.endpoint.as_str(), event.ended.as_str()])
            .inc();
        for (class, tokens) in &event.tokens {
            self.tokens
                .with_label_values(&[family, class.as_str(), event.source.as_str()])
                .inc_by(*tokens);
        }
        for flag in &event.flags {
            match flag {
                Flag::UsageMismatch => self.mismatched.inc(),
                Flag::TapError => self.tap_errors.inc(),
                _ => {}
            }
        }
    }
}

fn kept<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
