//! The one door: a call begins and ends.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    metrics::MeterProvider as _,
    propagation::TextMapPropagator as _,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use permille_types::{Endpoint, UsageEvent};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    batches::{CountedMetrics, Ground, Queue},
    config::OtlpConfig,
    convention,
    counters::Counters,
    exporters::{OtlpError, exporters},
    instruments::Instruments,
    sampler::Sampled,
};

/// Who makes what is sent.
const SCOPE: &str = "permille";
/// The header of W3C Trace Context that is left out when it has nothing to say.
const TRACESTATE: &str = "tracestate";

/// What OpenTelemetry is told through.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    tracer: SdkTracer,
    spans: SdkTracerProvider,
    instruments: Instruments,
    metrics: SdkMeterProvider,
    timeout: Duration,
    cut: CancellationToken,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Which provider a call went to.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// The provider, as configured.
    pub provider: &'a str,
    /// Its host.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
}

/// The span of a call that has not ended.
#[derive(Debug)]
pub struct Trace {
    span: Span,
    started: SystemTime,
}

impl Telemetry {
    /// Sends what it is told from now on. Must be called within the runtime that exports are to
    /// run on.
    ///
    /// # Errors
    /// [`OtlpError`] when the configuration cannot be used. That the collector does not answer is
    /// no error.
    pub fn start(config: &OtlpConfig, counters: &Counters) -> Result<Self, OtlpError> {
        let section = &config.section;
        let (span_exporter, metric_exporter) = exporters(config)?;
        let cut = CancellationToken::new();
        let ground = Ground { runtime: Handle::current(), cut: cut.clone() };
        let resource = Resource::builder()
            .with_service_name(section.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", config.version),
                KeyValue::new("service.instance.id", config.instance.clone()),
            ])
            .build();
        let most = usize::try_from(section.spans_max).unwrap_or(usize::MAX);
        let spans = SdkTracerProvider::builder()
            .with_sampler(Sampled::new(section.sample_ratio))
            .with_resource(resource.clone())
            .with_span_processor(Queue::new(span_exporter, ground.clone(), most, counters))
            .build();
        let reader =
            PeriodicReader::builder(CountedMetrics::new(metric_exporter, ground, counters))
                .with_interval(Duration::from_secs(section.metrics_seconds.into()))
                .build();
        let metrics =
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        Ok(Self(Arc::new(Inner {
            tracer: spans.tracer(SCOPE),
            spans,
            instruments: Instruments::new(&metrics.meter(SCOPE)),
            metrics,
            timeout: section.timeout(),
            cut,
        })))
    }

    /// A call of `endpoint` begins, which arrived at `at`. Its span goes on from the caller's, as
    /// `headers` say, and `headers` then name it for the upstream. Without a span of its own
    /// `headers` stay as they are.
    #[must_use]
    pub fn begin(
        &self,
        endpoint: Endpoint,
        at: DateTime<Utc>,
        headers: &mut HeaderMap,
    ) -> Option<Trace> {
        let operation = convention::operation(endpoint)?;
        let propagator = TraceContextPropagator::new();
        let caller = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let started = SystemTime::from(at);
        let span = self.0.tracer.span_builder(operation).with_kind(SpanKind::Client);
        let span = span.with_start_time(started).start_with_context(&self.0.tracer, &caller);
        if !span.is_recording() {
            return None;
        }
        let named = Context::new().with_remote_span_context(span.span_context().clone());
        propagator.inject_context(&named, &mut HeaderInjector(headers));
        if headers.get(TRACESTATE).is_some_and(http::HeaderValue::is_empty) {
            headers.remove(TRACESTATE);
        }
        Some(Trace { span, started })
    }

    /// A call has ended as `event` says. `server` is where it went last.
    pub fn end(&self, trace: Option<Trace>, event: &UsageEvent, server: Option<&Server<'_>>) {
        let Some(operation) = convention::operation(event.endpoint) else { return };
        let common = convention::common(operation, event, server);
        self.0.instruments.ended(operation, event, &common);
        let Some(Trace { mut span, started }) = trace else { return };
        span.update_name(format!("{operation} {}", convention::model(event)));
        if let Some(class) = convention::error(event) {
            span.set_status(Status::error(class.clone()));
            span.set_attribute(KeyValue::new("error.type", class));
        }
        span.set_attributes(common);
        span.set_attributes(convention::of_span(event));
        span.end_with_timestamp(started + Duration::from_millis(event.latency_ms));
    }

    /// Sends what is left, within the time of one export; what then is left is lost.
    pub async fn stop(self) {
        let inner = Arc::clone(&self.0);
        // The SDK waits for its threads.
        let mut stopping = tokio::task::spawn_blocking(move || {
            let spans = inner.spans.shutdown_with_timeout(inner.timeout);
            spans.and_then(|()| inner.metrics.shutdown_with_timeout(inner.timeout))
        });
        let in_time = tokio::time::timeout(self.0.timeout, &mut stopping).await;
        let stopped = if let Ok(stopped) = in_time {
            stopped
        } else {
            self.0.cut.cancel();
            stopping.await
        };
        match stopped {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => tracing::warn!(%cause, "the last telemetry was not sent"),
            Err(cause) => tracing::error!(%cause, "the end of telemetry failed"),
        }
    }
}
