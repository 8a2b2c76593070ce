//! How usage comes through the stream.

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};

use crate::metrics::kept;

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryOutcome {
    /// It is committed.
    Committed,
    /// Billing would refuse it again: its gateway keeps it.
    Refused,
    /// It is no batch and nobody waits for it: it is in quarantine.
    Unreadable,
    /// It was taken from a process of billing that had it for too long.
    Reclaimed,
}

impl EntryOutcome {
    const ALL: [Self; 4] = [Self::Committed, Self::Refused, Self::Unreadable, Self::Reclaimed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Reclaimed => "reclaimed",
        }
    }
}

/// Metrics of the usage stream.
pub(crate) struct UsageStreamMetrics {
    entries: IntCounterVec,
    length: IntGauge,
    oldest_seconds: Gauge,
    away: IntGauge,
}

impl UsageStreamMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let entries = kept(
            registry,
            IntCounterVec::new(
                Opts::new(
                    "permille_usage_stream_batches_total",
                    "Batches of the usage stream that this process took, by what became of them.",
                ),
                &["result"],
            )?,
        )?;
        for outcome in EntryOutcome::ALL {
            // An increase is seen only in a series that was there before it.
            entries.with_label_values(&[outcome.as_str()]);
        }
        let gauge = |name: &str, help: &str| kept(registry, IntGauge::new(name, help)?);
        let oldest = Gauge::new(
            "permille_usage_stream_oldest_seconds",
            "Age of the oldest batch in the usage stream, in seconds; 0 without one.",
        )?;
        Ok(Self {
            entries,
            length: gauge(
                "permille_usage_stream_waiting_batches",
                "Batches in the usage stream that are not committed yet.",
            )?,
            oldest_seconds: kept(registry, oldest)?,
            away: gauge(
                "permille_usage_stream_away",
                "1 while the Redis of the usage stream does not answer, else 0.",
            )?,
        })
    }

    pub(crate) fn took(&self, outcome: EntryOutcome) {
        self.entries.with_label_values(&[outcome.as_str()]).inc();
    }

    pub(crate) fn away(&self, away: bool) {
        self.away.set(i64::from(away));
    }

    #[expect(clippy::cast_precision_loss, reason = "an age has far fewer than 52 bits")]
    pub(crate) fn measured(&self, (entries, oldest_ms): (i64, i64)) {
        self.length.set(entries);
        self.oldest_seconds.set(oldest_ms.max(0) as f64 / 1_000.0);
    }
}
