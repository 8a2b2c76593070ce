//! How the sending of webhooks fares.

use chrono::{DateTime, Utc};
use permille_ledger::WebhookBacklog;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use crate::metrics::kept;

/// Seconds of one attempt: from 10 ms to its longest.
const ATTEMPT_BUCKETS: [f64; 8] = [0.01, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0, 15.0];

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebhookOutcome {
    /// The endpoint has the event.
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not.
    Dead,
}

impl WebhookOutcome {
    const ALL: [Self; 3] = [Self::Delivered, Self::Failed, Self::Dead];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// Metrics of webhooks.
pub(crate) struct WebhookMetrics {
    attempts: IntCounterVec,
    pub(crate) attempt_seconds: Histogram,
    pending: IntGauge,
    dead: IntGauge,
    oldest_seconds: Gauge,
}

impl WebhookMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let attempts = kept(
            registry,
            IntCounterVec::new(
                Opts::new(
                    "permille_webhook_attempts_total",
                    "Attempts to deliver an event, by what became of them.",
                ),
                &["outcome"],
            )?,
        )?;
        for outcome in WebhookOutcome::ALL {
            // An increase is seen only in a series that was there before it.
            attempts.with_label_values(&[outcome.as_str()]);
        }
        let seconds = HistogramOpts::new(
            "permille_webhook_attempt_seconds",
            "Seconds of one attempt to deliver an event.",
        )
        .buckets(ATTEMPT_BUCKETS.to_vec());
        let gauge = |name: &str, help: &str| kept(registry, IntGauge::new(name, help)?);
        let oldest = Gauge::new(
            "permille_webhook_oldest_pending_seconds",
            "Age of the oldest event that is still to be delivered, in seconds; 0 without one.",
        )?;
        Ok(Self {
            attempts,
            attempt_seconds: kept(registry, Histogram::with_opts(seconds)?)?,
            pending: gauge(
                "permille_webhook_pending_deliveries",
                "Events on their way to an endpoint.",
            )?,
            dead: gauge(
                "permille_webhook_dead_deliveries",
                "Events that were given up and not sent again since.",
            )?,
            oldest_seconds: kept(registry, oldest)?,
        })
    }

    pub(crate) fn attempted(&self, outcome: WebhookOutcome) {
        self.attempts.with_label_values(&[outcome.as_str()]).inc();
    }

    pub(crate) fn measured(&self, backlog: &WebhookBacklog, now: DateTime<Utc>) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.pending.set(count(backlog.pending));
        self.dead.set(count(backlog.dead));
        let age = backlog.oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64());
        self.oldest_seconds.set(age.max(0.0));
    }
}
