//! The data plane with its journal, its hand-over to billing and, if need be, a provider.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use permille_journal::{Journal, RealFs, ship};
use permille_proxy::{
    Foundation, Gateway, Readiness, Reload, Reloaded,
    config::{GatewayConfig, LimitsConfig, UpstreamConfig, UpstreamSection},
};
use permille_types::{ControlPlane, Family, Intake, NodeId, SystemClock};
use prometheus::Registry;
use secrecy::SecretString;

use super::{ServeError, http::bind, part::Part, simulated::SimulatedProvider};
use crate::{
    config::Config,
    data_folder::{DataFolder, FolderLock},
    error::CliError,
};

/// The other half, as this one needs it.
pub(super) struct OtherHalf {
    pub(super) control: Arc<dyn ControlPlane>,
    pub(super) intake: Arc<dyn Intake>,
    /// Whether it is in this process: then usage goes there, whatever way others take.
    pub(super) in_process: bool,
}

/// The running data plane.
pub(super) struct GatewayPart {
    pub(super) address: SocketAddr,
    pub(super) readiness: Readiness,
    /// The version of keys and prices that it serves by.
    pub(super) snapshot_versions: tokio::sync::watch::Receiver<u64>,
    reload: Reload,
    journal: Journal,
    serving: Part,
    shipping: Part,
    provider: Option<SimulatedProvider>,
}

impl GatewayPart {
    /// Starts it.
    ///
    /// # Errors
    /// [`CliError`] when a credential is missing, the address is taken, the journal cannot be
    /// opened or the simulated provider does not start.
    pub(super) async fn start(
        config: &Config,
        folder: &DataFolder,
        lock: &FolderLock,
        billing: OtherHalf,
        registry: &Registry,
    ) -> Result<Self, CliError> {
        let settings = &config.settings;
        let mut upstreams = config.upstreams()?;
        let (listener, address) = bind("gateway", settings.gateway.listen).await?;
        let provider = if upstreams.is_empty() {
            Some(SimulatedProvider::start(&folder.simulator_books()).await?)
        } else {
            None
        };
        if let Some(provider) = &provider {
            upstreams = simulated_upstreams(provider.address())?;
        }
        let node = folder.node(lock)?;
        let otlp = config.otlp(node.to_string())?;
        let journal = open_journal(config, folder, node).await?;
        let gateway_config = GatewayConfig {
            gateway: settings.gateway.clone(),
            upstreams,
            aliases: settings.alias.clone(),
            routing: settings.routing.clone(),
            pricing: settings.pricing,
            metering: settings.metering.clone(),
            policies: settings.policy.clone(),
            limits: LimitsConfig {
                section: settings.limits.clone(),
                redis_url: settings.redis.as_ref().map(|redis| redis.url.secret()),
            },
            hold_max: Duration::from_millis(settings.journal.hold_max_ms),
            conversation_idle_max: settings.session.remember(),
            sharing: settings.redis.as_ref().map(|redis| settings.session.sharing(redis)),
            otlp,
        };
        let foundation = Foundation {
            journal: journal.clone(),
            control: billing.control,
            clock: Arc::new(SystemClock),
            registry,
            folder: folder.path(),
        };
        let gateway = Gateway::new(gateway_config, foundation)
            .map_err(|cause| ServeError::start("the gateway", cause))?;
        let (readiness, reload) = (gateway.readiness(), gateway.reload());
        let snapshot_versions = gateway.snapshot_versions();
        let stream = settings.usage_stream_url().filter(|_| !billing.in_process);
        let intake = match stream {
            Some(url) => gateway
                .through_stream(&url, settings.usage_stream.batches_max)
                .map_err(|cause| ServeError::start("the usage stream", cause))?,
            None => billing.intake,
        };
        let (shipped, intake) = (journal.clone(), gateway.told_first(intake));
        let shipping = Part::start("the hand-over of usage", |stop| async move {
            if let Err(error) = ship(shipped, intake, stop.cancelled_owned()).await {
                tracing::error!(%error, "usage is no longer handed over");
            }
        });
        let serving = Part::start("the gateway", |stop| gateway.run(listener, stop));
        Ok(Self {
            address,
            readiness,
            snapshot_versions,
            reload,
            journal,
            serving,
            shipping,
            provider,
        })
    }

    /// Puts what can change of another configuration in force, for requests that come from now on.
    ///
    /// # Errors
    /// [`CliError`] when a credential, an upstream or a policy cannot be used, or when models are
    /// simulated in one of both; nothing has changed then.
    pub(super) fn reload(&self, config: &Config) -> Result<(), CliError> {
        let upstreams = config.upstreams()?;
        if self.provider.is_some() || upstreams.is_empty() {
            let setting =
                "upstream: a server whose models are simulated is restarted, not reloaded";
            return Err(ServeError::Setting(setting.to_owned()).into());
        }
        let settings = &config.settings;
        let reloaded = Reloaded {
            upstreams,
            aliases: settings.alias.clone(),
            routing: settings.routing.clone(),
            pricing: settings.pricing,
            policies: settings.policy.clone(),
        };
        let applied = self.reload.apply(reloaded);
        applied.map_err(|cause| ServeError::start("the gateway", cause).into())
    }

    /// Where the simulated provider listens, when it is in use.
    pub(super) fn simulator(&self) -> Option<SocketAddr> {
        self.provider.as_ref().map(SimulatedProvider::address)
    }

    /// Waits until a part of it has ended by itself.
    pub(super) async fn failed(&mut self) -> ServeError {
        let provider = async {
            match &mut self.provider {
                Some(provider) => provider.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = self.serving.failed() => error,
            error = self.shipping.failed() => error,
            () = provider => ServeError::Ended { part: "the simulated provider" },
        }
    }

    /// Finishes or settles open replies, hands over what is settled, closes the journal.
    ///
    /// # Errors
    /// [`ServeError::Start`] when the journal's last sync fails.
    pub(super) async fn stop(mut self) -> Result<(), ServeError> {
        self.serving.stop().await;
        self.shipping.stop().await;
        let closed = self.journal.close().await;
        if let Some(provider) = self.provider {
            provider.stop().await;
        }
        closed.map_err(|cause| ServeError::Stop { part: "the journal", cause: Box::new(cause) })
    }
}

/// Opens the journal on a thread that may block; tells what recovery found.
async fn open_journal(
    config: &Config,
    folder: &DataFolder,
    node: NodeId,
) -> Result<Journal, ServeError> {
    let journal = config.settings.journal.config(folder.journal(), node);
    let part = "the journal";
    let open = move || Journal::open(Arc::new(RealFs), &journal, Arc::new(SystemClock));
    let opened = tokio::task::spawn_blocking(open)
        .await
        .map_err(|cause| ServeError::start(part, cause))?
        .map_err(|cause| ServeError::start(part, cause))?;
    let found = &opened.recovered;
    tracing::info!(
        records = found.records,
        to_ship = found.settled,
        orphans = found.orphans,
        torn_bytes = found.torn_bytes,
        "journal open"
    );
    for damage in &found.damage {
        tracing::error!(?damage, "the journal is damaged; what verifies was kept");
    }
    Ok(opened.journal)
}

/// The simulated provider as the upstream of both families.
fn simulated_upstreams(address: SocketAddr) -> Result<Vec<UpstreamConfig>, ServeError> {
    [(Family::OpenAi, "simulated-openai", "/v1"), (Family::Anthropic, "simulated-anthropic", "")]
        .into_iter()
        .map(|(family, name, path)| {
            let name = name.parse();
            let section = UpstreamSection {
                name: name.map_err(|cause| ServeError::start("the simulated provider", cause))?,
                family,
                base_url: format!("http://{address}{path}"),
                api_key_env: None,
                api_key_file: None,
                credential_in: None,
                provider: None,
                priority: 0,
                weight: 1,
                service_tier: None,
                region: None,
                ca_file: None,
                models: vec!["*".to_owned()],
                paths: Vec::new(),
                api: None,
                http2: false,
                connect_seconds_max: 10,
                idle_seconds_max: 600,
            };
            let credential = SecretString::from("sk-simulated".to_owned());
            Ok(UpstreamConfig { section, credential, simulated: true })
        })
        .collect()
}
