//! What has become of what was to be sent, for `/metrics`.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Spans and exports of metrics, by what has become of them.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Spans that the collector took.
    pub(crate) spans_sent: IntCounter,
    /// Spans of exports that failed.
    pub(crate) spans_failed: IntCounter,
    /// Spans for which there was no room.
    pub(crate) spans_dropped: IntCounter,
    /// Exports of metrics that the collector took.
    pub(crate) metrics_sent: IntCounter,
    /// Exports of metrics that failed; the next one has what they had.
    pub(crate) metrics_failed: IntCounter,
}

impl Counters {
    /// Registers all of them on `registry`, at 0.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a metric of that name is there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &["result"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let spans = counters(
            "permille_otlp_spans_total",
            "Spans for the OpenTelemetry collector: sent, failed with their export, or dropped for \
             want of room.",
        )?;
        let exports = counters(
            "permille_otlp_metric_exports_total",
            "Exports of metrics to the OpenTelemetry collector: sent or failed.",
        )?;
        Ok(Self {
            spans_sent: spans.with_label_values(&["sent"]),
            spans_failed: spans.with_label_values(&["failed"]),
            spans_dropped: spans.with_label_values(&["dropped"]),
            metrics_sent: exports.with_label_values(&["sent"]),
            metrics_failed: exports.with_label_values(&["failed"]),
        })
    }
}
