//! How the conversations that gateways share fare.

use permille_session::Health;
use prometheus::{IntCounter, IntGauge, Registry};

use super::kept;

/// What sharing costs and misses.
pub(crate) struct Conversations {
    away: IntGauge,
    alone: IntCounter,
    dropped: IntCounter,
}

impl Conversations {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| kept(registry, IntCounter::new(name, help)?);
        Ok(Self {
            away: kept(
                registry,
                IntGauge::new(
                    "permille_sessions_away",
                    "Whether the Redis that conversations are shared in is away.",
                )?,
            )?,
            alone: counter(
                "permille_sessions_alone_total",
                "Requests whose place the gateway found by itself, for want of Redis.",
            )?,
            dropped: counter(
                "permille_sessions_untold_total",
                "Turns that other gateways will never know, for want of room or of Redis.",
            )?,
        })
    }

    pub(crate) fn fare(&self, Health { away, alone, dropped, .. }: Health) {
        self.away.set(away.into());
        self.alone.inc_by(alone.saturating_sub(self.alone.get()));
        self.dropped.inc_by(dropped.saturating_sub(self.dropped.get()));
    }
}
