//! The way to the collector: a bounded queue of spans, and exports that are counted and can be cut
//! short.
//!
//! The SDK gathers batches on threads of its own, which know nothing of the runtime that sockets
//! and timers need: exports are polled within it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio_util::{context::TokioContext, sync::CancellationToken};

use crate::counters::Counters;

/// Spans of one export.
const BATCH_MAX: usize = 512;
/// How long spans wait for others to share their export.
const GATHER: Duration = Duration::from_secs(1);

/// Spans on their way: queued, or in an export.
#[derive(Debug, Default)]
struct Waiting(AtomicUsize);

impl Waiting {
    /// Whether there was room for one more.
    fn enter(&self, most: usize) -> bool {
        let more = |waiting| (waiting < most).then_some(waiting + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn leave(&self, spans: usize) {
        self.0.fetch_sub(spans, Ordering::AcqRel);
    }
}

/// Where and how exports are made.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) runtime: Handle,
    /// Ends every export: the process must not wait for a collector.
    pub(crate) cut: CancellationToken,
}

impl Ground {
    async fn export(&self, export: impl Future<Output = OTelSdkResult> + Send) -> OTelSdkResult {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(OTelSdkError::AlreadyShutdown),
            result = TokioContext::new(export, self.runtime.clone()) => result,
        }
    }
}

/// Hands spans over without waiting; those for which there is no room are dropped and counted.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: BatchSpanProcessor,
    waiting: Arc<Waiting>,
    most: usize,
    dropped: IntCounter,
}

impl Queue {
    /// At most `most` spans wait for `exporter`.
    pub(crate) fn new<E: SpanExporter + 'static>(
        exporter: E,
        ground: Ground,
        most: usize,
        counters: &Counters,
    ) -> Self {
        let waiting = Arc::new(Waiting::default());
        let exporter = CountedSpans {
            exporter,
            ground,
            waiting: Arc::clone(&waiting),
            outcome: Outcome::of("spans", &counters.spans_sent, &counters.spans_failed),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(most)
            .with_max_export_batch_size(BATCH_MAX.min(most))
            .with_scheduled_delay(GATHER)
            .build();
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        Self { inner, waiting, most, dropped: counters.spans_dropped.clone() }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // The queue behind it is as long: what enters here is never dropped there.
        if self.waiting.enter(self.most) {
            self.inner.on_end(span);
        } else {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what exports come to, and says so once when they begin to fail.
#[derive(Debug)]
struct Outcome {
    what: &'static str,
    sent: IntCounter,
    failed: IntCounter,
    failing: AtomicBool,
}

impl Outcome {
    fn of(what: &'static str, sent: &IntCounter, failed: &IntCounter) -> Self {
        let (sent, failed) = (sent.clone(), failed.clone());
        Self { what, sent, failed, failing: AtomicBool::new(false) }
    }

    fn note(&self, result: &OTelSdkResult, number: u64) {
        let what = self.what;
        match result {
            Ok(()) => {
                self.sent.inc_by(number);
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(what, "the OpenTelemetry collector takes exports again");
                }
            }
            Err(cause) => {
                self.failed.inc_by(number);
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(what, %cause, "an export to the OpenTelemetry collector failed");
                }
            }
        }
    }
}

#[derive(Debug)]
struct CountedSpans<E> {
    exporter: E,
    ground: Ground,
    waiting: Arc<Waiting>,
    outcome: Outcome,
}

impl<E: SpanExporter> SpanExporter for CountedSpans<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.ground.export(self.exporter.export(batch)).await;
        self.waiting.leave(spans);
        self.outcome.note(&result, u64::try_from(spans).unwrap_or(u64::MAX));
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Exports metrics, and counts the exports.
pub(crate) struct CountedMetrics<E> {
    exporter: E,
    ground: Ground,
    outcome: Outcome,
}

impl<E> CountedMetrics<E> {
    pub(crate) fn new(exporter: E, ground: Ground, counters: &Counters) -> Self {
        let outcome = Outcome::of("metrics", &counters.metrics_sent, &counters.metrics_failed);
        Self { exporter, ground, outcome }
    }
}

impl<E: PushMetricExporter> PushMetricExporter for CountedMetrics<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.ground.export(self.exporter.export(metrics)).await;
        self.outcome.note(&result, 1);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
