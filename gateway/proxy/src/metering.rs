//! What every metered request shares: the journal, the bounds, the counters.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use permille_journal::Journal;
use permille_limits::Budget;
use permille_otlp::Telemetry;
use permille_session::Recogniser;
use permille_types::{ControlPlane, Ended};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auditor::Auditor, config::GatewayConfig, limiter::Limiter, metrics::Metrics, policy::Policies,
    stored::StoredResponses,
};

/// Progress records, and pieces of long replies that are counted, under way at once. Each copies
/// and tokenizes up to 256 KiB of text for some ten milliseconds: thousands of streams must neither
/// fill the memory with copies nor take every core.
const PROGRESSES_MAX: u64 = 2;

/// Shared by all requests of one gateway.
pub(crate) struct Metering {
    pub(crate) journal: Journal,
    /// Those of the configuration in force.
    pub(crate) policies: ArcSwap<Policies>,
    /// Counts replies again that report, and knows how to estimate those that do not.
    pub(crate) auditor: Auditor,
    /// How long the end of a reply may wait for the journal.
    pub(crate) hold_max: Duration,
    /// From admission to the end of the reply.
    pub(crate) deadline: Duration,
    /// Places for drains.
    pub(crate) drains: Arc<Budget>,
    /// Places for progress records.
    pub(crate) progresses: Arc<Budget>,
    /// Open exchanges, and work that goes on after them: drains and counting. Awaited at shutdown.
    pub(crate) tasks: TaskTracker,
    /// The runtime that started the gateway: what may outlast the threads that serve goes on there.
    pub(crate) runtime: Handle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stored: StoredResponses,
    pub(crate) limiter: Limiter,
    /// What OpenTelemetry is told through; absent where it is told nothing.
    pub(crate) telemetry: Option<Telemetry>,
    /// The conversations that are open.
    pub(crate) recogniser: Arc<Recogniser>,
    /// Cancelled when the grace of a shutdown is over: nothing is read on any more.
    pub(crate) cut: CancellationToken,
}

/// What metering is made of beside the journal.
pub(crate) struct Parts {
    pub(crate) policies: Policies,
    pub(crate) auditor: Auditor,
    pub(crate) limiter: Limiter,
    pub(crate) recogniser: Recogniser,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) telemetry: Option<Telemetry>,
}

impl Metering {
    pub(crate) fn new(
        journal: Journal,
        control: Arc<dyn ControlPlane>,
        config: &GatewayConfig,
        parts: Parts,
    ) -> Arc<Self> {
        let Parts { policies, auditor, limiter, recogniser, metrics, telemetry } = parts;
        Arc::new(Self {
            stored: StoredResponses::new(control, journal.clone()),
            journal,
            drains: Budget::new(config.metering.drains_max.into()),
            progresses: Budget::new(PROGRESSES_MAX),
            policies: ArcSwap::from_pointee(policies),
            auditor,
            limiter,
            hold_max: config.hold_max,
            deadline: Duration::from_secs(config.gateway.deadline_seconds.into()),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            metrics,
            telemetry,
            recogniser: Arc::new(recogniser),
            cut: CancellationToken::new(),
        })
    }

    /// Begins what takes long on a thread of the runtime that started the gateway, off the threads
    /// that serve. Awaited at shutdown.
    pub(crate) fn off_the_loop<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_blocking_on(work, &self.runtime)
    }

    /// Why a reply that is dropped now has ended.
    pub(crate) fn ending_of_a_dropped_reply(&self) -> Ended {
        if self.cut.is_cancelled() { Ended::Shutdown } else { Ended::ClientGone }
    }
}
