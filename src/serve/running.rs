//! A running server: its parts, how to reach it, how it ends.

use std::{net::SocketAddr, sync::Arc};

use permille_types::{Clock, Intake, SystemClock};
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::{
    ServeError, Signals,
    billing::BillingPart,
    gateway::{GatewayPart, OtherHalf},
    http::bind,
    observe::{Observed, Readiness, observe},
    part::Part,
};
use crate::{
    api::Api,
    config::Config,
    data_folder::{DataFolder, DataFolderError, FolderLock, ServerRecord},
    error::CliError,
};

/// Which parts a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Both halves.
    All,
    /// The data plane.
    Gateway,
    /// The API and the store.
    Billing,
}

/// How to reach a server with both halves.
#[derive(Debug)]
pub(crate) struct Access {
    /// The data plane.
    pub(crate) gateway: SocketAddr,
    /// API and pages.
    pub(crate) console: SocketAddr,
    /// Metrics and health.
    pub(crate) metrics: SocketAddr,
    /// A client of its API with an admin token.
    pub(crate) api: Api,
}

/// A running server. It holds the data folder's lock.
pub(crate) struct Running {
    gateway: Option<GatewayPart>,
    billing: Option<BillingPart>,
    metrics: SocketAddr,
    observing: Part,
    folder: DataFolder,
    lock: FolderLock,
}

impl Running {
    /// Starts every part and tells local commands where they are.
    ///
    /// # Errors
    /// [`CliError`] names the part that cannot start.
    pub(crate) async fn start(
        config: &Config,
        folder: &DataFolder,
        shape: Shape,
    ) -> Result<Self, CliError> {
        let lock = folder
            .try_lock()?
            .ok_or_else(|| DataFolderError::InUse { folder: folder.path().to_owned() })?;
        // A record of a server that crashed would lead commands astray.
        folder.withdraw(&lock)?;
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .map_err(|cause| ServeError::start("the metrics of the process", cause))?;
        registry
            .register(Box::new(build()?))
            .map_err(|cause| ServeError::start("the version among the metrics", cause))?;
        let (listener, metrics) = bind("metrics", config.settings.metrics.listen).await?;
        let billing = match shape {
            Shape::Gateway => None,
            _ => Some(BillingPart::start(config, folder, &lock, &registry).await?),
        };
        let other_half = match (shape, &billing) {
            (Shape::Billing, _) => None,
            (_, Some(billing)) => Some(billing.as_other_half()),
            (_, None) => Some(remote_half(config)?),
        };
        let gateway = match other_half {
            Some(other) => Some(GatewayPart::start(config, folder, &lock, other, &registry).await?),
            None => None,
        };
        if let (Some(billing), Some(gateway)) = (&billing, &gateway) {
            billing.serve_gateway(gateway.snapshot_versions.clone());
        }
        let readiness = readiness(gateway.as_ref(), billing.as_ref());
        let observed = Observed { registry, readiness };
        let observing =
            Part::start("the metrics listener", |stop| observe(listener, observed, stop));
        let running = Self { gateway, billing, metrics, observing, folder: folder.clone(), lock };
        running.publish()?;
        Ok(running)
    }

    fn publish(&self) -> Result<(), DataFolderError> {
        let record = ServerRecord {
            pid: std::process::id(),
            started: SystemClock.now(),
            gateway: self.gateway.as_ref().map(|gateway| gateway.address),
            console: self.billing.as_ref().map(|billing| billing.address),
            metrics: Some(self.metrics),
            simulator: self.gateway.as_ref().and_then(GatewayPart::simulator),
        };
        tracing::info!(
            gateway = record.gateway.map(tracing::field::display),
            console = record.console.map(tracing::field::display),
            metrics = record.metrics.map(tracing::field::display),
            simulated = record.simulator.is_some(),
            "listening"
        );
        self.folder.publish(&self.lock, &record)
    }

    /// How to reach it; `None` for half a server.
    pub(crate) fn access(&self) -> Option<Access> {
        let billing = self.billing.as_ref()?;
        Some(Access {
            gateway: self.gateway.as_ref()?.address,
            console: billing.address,
            metrics: self.metrics,
            api: Api::at(billing.address, billing.token.clone()),
        })
    }

    /// A client of its API; `None` for a gateway alone.
    pub(crate) fn api(&self) -> Option<Api> {
        let billing = self.billing.as_ref()?;
        Some(Api::at(billing.address, billing.token.clone()))
    }

    /// Whether its models are simulated.
    pub(crate) fn is_simulated(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.simulator().is_some())
    }

    /// Puts what can change of another configuration in force.
    ///
    /// # Errors
    /// [`CliError`] as its gateway says; [`ServeError::Setting`] where there is none.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), CliError> {
        let Some(gateway) = &self.gateway else {
            let nothing = "billing alone takes its whole configuration at its start: restart it";
            return Err(ServeError::Setting(nothing.to_owned()).into());
        };
        gateway.reload(config)
    }

    /// Waits until a part has ended by itself, which none should.
    pub(crate) async fn failed(&mut self) -> ServeError {
        let gateway = async {
            match &mut self.gateway {
                Some(gateway) => gateway.failed().await,
                None => std::future::pending().await,
            }
        };
        let billing = async {
            match &mut self.billing {
                Some(billing) => billing.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = gateway => error,
            error = billing => error,
            error = self.observing.failed() => error,
        }
    }

    /// Ends it gracefully; a signal forces it.
    ///
    /// # Errors
    /// [`CliError::Interrupted`] when a signal forced it, else what the journal says.
    pub(crate) async fn stop(self, signals: &mut Signals) -> Result<(), CliError> {
        tokio::select! {
            stopped = self.stop_in_order() => stopped,
            () = signals.next() => Err(CliError::Interrupted),
        }
    }

    async fn stop_in_order(mut self) -> Result<(), CliError> {
        let journal = match self.gateway.take() {
            Some(gateway) => gateway.stop().await,
            None => Ok(()),
        };
        if let Some(billing) = self.billing.take() {
            billing.stop().await;
        }
        self.observing.stop().await;
        self.folder.withdraw(&self.lock)?;
        Ok(journal?)
    }
}

/// 1, with the version of this program: a deploy is seen where the version changes.
fn build() -> Result<IntGaugeVec, ServeError> {
    let options = Opts::new("permille_build_info", "1, by the version of the program that runs.");
    let build = IntGaugeVec::new(options, &["version"])
        .map_err(|cause| ServeError::start("the version among the metrics", cause))?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(build)
}

/// A gateway is ready when it admits requests: it serves on while billing is away. Billing alone
/// is ready when its store answers.
fn readiness(gateway: Option<&GatewayPart>, billing: Option<&BillingPart>) -> Readiness {
    match (gateway, billing) {
        (Some(gateway), _) => {
            let gateway = gateway.readiness.clone();
            Arc::new(move || Box::pin(std::future::ready(gateway.obstacle())))
        }
        (None, Some(billing)) => billing.readiness(),
        (None, None) => Arc::new(|| Box::pin(std::future::ready(None))),
    }
}

/// Billing in another process, as a gateway needs it.
fn remote_half(config: &Config) -> Result<OtherHalf, CliError> {
    let Some(remote) = remote_billing(config)? else {
        return Err(ServeError::Setting(
            "`permille gateway` needs billing.url, give --billing URL or [billing] url".to_owned(),
        )
        .into());
    };
    Ok(OtherHalf { control: Arc::clone(&remote) as _, intake: remote, in_process: false })
}

/// The way of usage to billing through Redis, if the configuration names it.
///
/// # Errors
/// [`CliError`] when its URL cannot be used.
pub(crate) fn usage_stream(config: &Config) -> Result<Option<Arc<dyn Intake>>, CliError> {
    let Some(url) = config.settings.usage_stream_url() else { return Ok(None) };
    let batches_max = config.settings.usage_stream.batches_max;
    let stream = permille_proxy::UsageStreamIntake::alone(&url, batches_max)
        .map_err(|cause| ServeError::start("the usage stream", cause))?;
    Ok(Some(Arc::new(stream)))
}

/// Billing in another process, if the configuration names one.
///
/// # Errors
/// [`CliError`] when its token cannot be read or its URL not be used.
pub(crate) fn remote_billing(
    config: &Config,
) -> Result<Option<Arc<permille_proxy::RemoteBilling>>, CliError> {
    let Some(url) = &config.settings.billing.url else { return Ok(None) };
    let remote = permille_proxy::RemoteBilling::new(url, &config.billing_token()?)
        .map_err(|cause| ServeError::start("the connection to billing", cause))?;
    Ok(Some(Arc::new(remote)))
}
