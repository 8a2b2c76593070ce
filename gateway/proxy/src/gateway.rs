//! The data plane as the program runs it.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use permille_journal::{Health, Journal};
use permille_limits::{Budget, SharedError};
use permille_otlp::{Counters, OtlpError, Telemetry};
use permille_session::{Bounds, Recogniser};
use permille_types::{Ack, Batch, Clock, ControlError, ControlPlane, Intake};
use prometheus::Registry;
use secrecy::SecretString;
use tokio::{net::TcpListener, runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    auditor::Auditor,
    config::GatewayConfig,
    control::OnRuntime,
    known::Knowledge,
    limiter::{Ground, Limiter},
    metering::{Metering, Parts},
    metrics::Metrics,
    policy::{Policies, PolicyError},
    reload::Reload,
    server::Server,
    stack::Shared,
    upstream::UpstreamError,
    usage_stream::{UsageStreamError, UsageStreamIntake},
    workers::Workers,
};

/// How often the journal's state is copied into the metrics.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often what was learnt of models is kept. What a crash loses of it is learnt again.
const KEEP_EVERY: Duration = Duration::from_mins(1);

/// What a request may take beyond its deadline and its drain until it has settled.
const TIDY_UP: Duration = Duration::from_mins(10);

/// Why a gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An upstream's configuration cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A metering policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The books of limits cannot be used.
    #[error("open the books of limits")]
    Limits(#[from] SharedError),
    /// The conversations that gateways share cannot be used.
    #[error("open the shared conversations")]
    Sessions(#[from] permille_session::SharedError),
    /// Two routes contradict each other.
    #[error("build the routes")]
    Routes(#[from] matchit::InsertError),
    /// Nothing can be sent to the OpenTelemetry collector.
    #[error("start OpenTelemetry as [otlp] says")]
    Otlp(#[from] OtlpError),
    /// The machine has no room for the threads that serve.
    #[error("start the threads that serve connections")]
    Threads(#[source] io::Error),
    /// A metric is registered twice.
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
}

/// What a gateway stands on.
pub struct Foundation<'a> {
    /// Where usage is recorded.
    pub journal: Journal,
    /// Where keys, prices and sessions come from.
    pub control: Arc<dyn ControlPlane>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where metrics are registered.
    pub registry: &'a Registry,
    /// Folder in which the last snapshot is kept.
    pub folder: &'a Path,
}

/// The data plane, ready to serve.
pub struct Gateway {
    shared: Arc<Shared>,
    server: Server,
    reload: Reload,
}

impl Gateway {
    /// Builds the stack and starts the threads that will serve it; nothing is served yet.
    ///
    /// # Errors
    /// [`GatewayError`] when an upstream cannot be used or a metric exists already.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: GatewayConfig, foundation: Foundation<'_>) -> Result<Self, GatewayError> {
        let runtime = Handle::current();
        let metrics = Arc::new(Metrics::register(foundation.registry)?);
        let control: Arc<dyn ControlPlane> =
            Arc::new(OnRuntime { control: foundation.control, runtime: runtime.clone() });
        let knowledge = Knowledge::open(foundation.folder);
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let ground = Ground {
            control: Arc::clone(&control),
            knowledge: knowledge.clone(),
            journal: foundation.journal.clone(),
            metrics: Arc::clone(&metrics),
            longest: seconds(config.gateway.deadline_seconds)
                + seconds(config.metering.drain_seconds_max)
                + TIDY_UP,
        };
        let counters = Counters::register(foundation.registry)?;
        let otlp = config.otlp.as_ref();
        let telemetry = otlp.map(|otlp| Telemetry::start(otlp, &counters)).transpose()?;
        let bounds = Bounds { idle_max: config.conversation_idle_max, ..Bounds::default() };
        let metering = Metering::new(
            foundation.journal,
            Arc::clone(&control),
            &config,
            Parts {
                policies: Policies::new(&config.metering, &config.policies)?,
                auditor: Auditor::open(config.metering.audit_sample, foundation.folder),
                limiter: Limiter::new(&config.limits, ground)?,
                recogniser: match &config.sharing {
                    Some(sharing) => Recogniser::sharing(bounds, sharing)?,
                    None => Recogniser::alone(bounds),
                },
                metrics: Arc::clone(&metrics),
                telemetry,
            },
        );
        let shared = Arc::new(Shared {
            clock: foundation.clock,
            control,
            knowledge,
            metering: Arc::clone(&metering),
            places: Budget::new(config.gateway.in_flight_max.into()),
            bodies: Budget::new(config.gateway.body_bytes_total_max),
        });
        let (reload, stacks) = Reload::start(config, Arc::clone(&shared))?;
        let config = reload.config();
        // As many as the runtime that starts them has.
        let threads = runtime.metrics().num_workers();
        let server = Server {
            workers: Workers::start(threads).map_err(GatewayError::Threads)?,
            stacks,
            metrics,
            header_time_max: Duration::from_secs(config.gateway.request_seconds_max.into()),
            grace: Duration::from_secs(config.gateway.grace_seconds.into()),
            cut: metering.cut.clone(),
        };
        Ok(Self { shared, server, reload })
    }

    /// Puts another configuration in force while this gateway serves.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// What tells whether this gateway takes requests.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness { shared: Arc::clone(&self.shared) }
    }

    /// Tells the version of the snapshot in force; 0 while there is none.
    #[must_use]
    pub fn snapshot_versions(&self) -> watch::Receiver<u64> {
        self.shared.knowledge.versions()
    }

    /// Billing behind a stream in Redis; what Redis loses is counted among this gateway's metrics.
    ///
    /// # Errors
    /// [`UsageStreamError`] when the URL cannot be used.
    pub fn through_stream(
        &self,
        url: &SecretString,
        batches_max: u32,
    ) -> Result<Arc<dyn Intake>, UsageStreamError> {
        let lost = self.server.metrics.usage_stream_lost.clone();
        Ok(Arc::new(UsageStreamIntake::open(url, batches_max, lost)?))
    }

    /// The same intake, which gets usage once the gateways that share limits can count it: what
    /// billing has and they lack, a crash would leave out of their budgets.
    #[must_use]
    pub fn told_first(&self, intake: Arc<dyn Intake>) -> Arc<dyn Intake> {
        Arc::new(ToldFirst { shared: Arc::clone(&self.shared), intake })
    }

    /// Where the configuration wants it to listen.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.reload.config().gateway.listen
    }

    /// Serves until `stop`, then finishes or settles every open reply. On return every record is
    /// written; the journal's last sync is the caller's.
    ///
    /// The future is boxed so that all that a request runs is compiled with this crate, optimised,
    /// and not with the one that awaits it.
    #[must_use]
    pub fn run(self, listener: TcpListener, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.serve(listener, stop))
    }

    async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let shared = self.shared;
        let background = CancellationToken::new();
        let follow = tokio::spawn(
            shared.knowledge.clone().follow(Arc::clone(&shared.control), background.clone()),
        );
        let watch = tokio::spawn(watch(Arc::clone(&shared), background.clone()));
        let (limited, until) = (Arc::clone(&shared), background.clone());
        let limits = tokio::spawn(async move {
            limited.metering.limiter.tend(limited.clock.as_ref(), until).await;
        });
        shared.metering.recogniser.connect().await;
        let (together, until) = (Arc::clone(&shared.metering.recogniser), background.clone());
        let sessions = tokio::spawn(async move { together.tend(until).await });
        let (grace_left, threads) = self.server.run(listener, stop).await;
        let tasks = &shared.metering.tasks;
        tasks.close();
        if tokio::time::timeout(grace_left, tasks.wait()).await.is_err() {
            // What is still being drained is settled as it is.
            shared.metering.cut.cancel();
            tasks.wait().await;
        }
        background.cancel();
        let keeper = Arc::clone(&shared);
        let keep = tokio::task::spawn_blocking(move || keeper.metering.auditor.keep());
        for task in [follow, watch, limits, sessions, keep] {
            if let Err(cause) = task.await {
                tracing::error!(%cause, "a background task failed");
            }
        }
        threads.end().await;
        if let Some(telemetry) = &shared.metering.telemetry {
            telemetry.clone().stop().await;
        }
    }
}

/// Whether a gateway takes requests.
#[derive(Clone)]
pub struct Readiness {
    shared: Arc<Shared>,
}

impl Readiness {
    /// Why it does not, if so.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if self.shared.knowledge.current().is_none() {
            return Some("no snapshot of keys and prices yet".to_owned());
        }
        match self.shared.metering.journal.health() {
            Health::Ok => None,
            unwell => Some(format!("the journal takes no new requests: {unwell:?}")),
        }
    }
}

/// See [`Gateway::told_first`].
struct ToldFirst {
    shared: Arc<Shared>,
    intake: Arc<dyn Intake>,
}

impl Intake for ToldFirst {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        Box::pin(async move {
            let last = batch.events.last().map_or(0, |event| event.sequence);
            self.shared.metering.limiter.told_up_to(last).await;
            self.intake.accept(batch).await
        })
    }
}

/// Copies what changes by itself into the metrics.
async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut every = tokio::time::interval(WATCH_EVERY);
    let mut kept = (Instant::now(), 0);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        let lessons = shared.metering.auditor.corrections.lessons();
        if lessons != kept.1 && kept.0.elapsed() >= KEEP_EVERY {
            kept = (Instant::now(), lessons);
            let shared = Arc::clone(&shared);
            drop(tokio::task::spawn_blocking(move || shared.metering.auditor.keep()));
        }
        let metrics = &shared.metering.metrics;
        let stats = shared.metering.journal.stats();
        metrics.streams_in_flight.set(gauge(shared.places.used()));
        metrics.drains.set(gauge(shared.metering.drains.used()));
        metrics.journal(&stats, shared.metering.journal.is_admitting());
        let limiter = &shared.metering.limiter;
        limiter.acknowledged(stats.acknowledged_sequence, Instant::now());
        metrics.limits.fare(limiter.health());
        metrics.conversations(shared.metering.recogniser.health().unwrap_or_default());
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
