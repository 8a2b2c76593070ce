//! Counters of limits. Whose limit it was stands in the refusal, never in a label.

use permille_limits::Health;
use permille_types::{Level, Limit, Measure};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Registry};

use super::{OVERHEAD_BUCKETS, counters, kept};

/// What limits refuse, warn of and cost.
pub(crate) struct Limited {
    refused: IntCounterVec,
    near: IntCounterVec,
    /// Requests that used more than was reserved.
    pub(crate) overages: IntCounter,
    pub(crate) reserve_seconds: Histogram,
    away: IntGauge,
    untold: IntGauge,
    dropped: IntGauge,
}

const LEVELS: [Level; 4] = [Level::Customer, Level::Project, Level::Key, Level::Session];
const MEASURES: [Measure; 6] = [
    Measure::RequestsPerMinute,
    Measure::TokensPerMinute,
    Measure::OpenRequests,
    Measure::SpendPerDay,
    Measure::SpendPerMonth,
    Measure::Spend,
];

impl Limited {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| kept(registry, IntGauge::new(name, help)?);
        let seconds = HistogramOpts::new(
            "permille_limit_reserve_seconds",
            "Seconds that a request with limits waited for its reservation.",
        )
        .buckets(OVERHEAD_BUCKETS.to_vec());
        let refused = counters(
            registry,
            "permille_limit_refused_total",
            "Requests that a limit refused, by its level and measure.",
            &["level", "measure"],
        )?;
        let near = counters(
            registry,
            "permille_limit_near_total",
            "Requests that were served with a limit nearly used, by its level and measure.",
            &["level", "measure"],
        )?;
        for (level, measure) in LEVELS.iter().flat_map(|l| MEASURES.iter().map(move |m| (l, m))) {
            // An increase is seen only in a series that was there before it.
            refused.with_label_values(&[level.as_str(), measure.as_str()]);
            near.with_label_values(&[level.as_str(), measure.as_str()]);
        }
        Ok(Self {
            refused,
            near,
            overages: kept(
                registry,
                IntCounter::new(
                    "permille_limit_overages_total",
                    "Requests that cost more than was reserved for them.",
                )?,
            )?,
            reserve_seconds: kept(registry, Histogram::with_opts(seconds)?)?,
            away: gauge(
                "permille_limits_away",
                "Whether the Redis that limits are shared in is away.",
            )?,
            untold: gauge(
                "permille_limits_untold_settlements",
                "Settled requests that the shared limits have not been told.",
            )?,
            dropped: gauge(
                "permille_limits_dropped_settlements",
                "Settled requests that the shared limits will never be told, for want of room.",
            )?,
        })
    }

    pub(crate) fn refused(&self, limit: &Limit) {
        self.refused.with_label_values(&[limit.level.as_str(), limit.measure.as_str()]).inc();
    }

    pub(crate) fn near(&self, limit: &Limit) {
        self.near.with_label_values(&[limit.level.as_str(), limit.measure.as_str()]).inc();
    }

    pub(crate) fn fare(&self, Health { away, waiting, dropped }: Health) {
        self.away.set(away.into());
        self.untold.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
    }
}
