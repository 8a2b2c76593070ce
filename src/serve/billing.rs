//! Billing: the ledger and the API on the console listener.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chrono::TimeDelta;
use permille_ledger::ThresholdsSeen;
use permille_service::{UsageStreamReader, UsageStreamSettings};
use prometheus::Registry;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    ServeError, days,
    gateway::OtherHalf,
    http::{bind, serve},
    observe::Readiness,
    part::Part,
};
use crate::{
    config::Config,
    data_folder::{DataFolder, FolderLock},
    error::CliError,
    store::Store,
};

/// Between two looks for sessions that have ended: four within a scrape of a minute.
const ENDED_EVERY: Duration = Duration::from_secs(15);
/// Between two looks for what other processes changed of a shared store: a key that one of them
/// revoked stops here within this and the time that a gateway takes to hear of it.
const CHANGES_EVERY: Duration = Duration::from_secs(1);
/// Between two looks for plans whose threshold is reached: what is used in a minute is little
/// beside an invoice, and a look costs nothing where no plan has one.
const THRESHOLDS_EVERY: Duration = Duration::from_mins(1);
/// Between two looks for balances that time has changed: credit that has ended is served for so
/// long, and the time that a gateway takes to hear of it.
const BALANCES_EVERY: Duration = Duration::from_secs(1);
/// Supervisors ask every few seconds and give up as soon.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// The running half.
pub(super) struct BillingPart {
    pub(super) address: SocketAddr,
    /// Of role admin, for local commands.
    pub(super) token: SecretString,
    billing: permille_service::Billing,
    serving: Part,
    ending: Part,
    telling: Part,
    keeping: Part,
    drafting: Part,
    balancing: Part,
    /// Where other processes may change the store.
    following: Option<Part>,
    /// Where gateways hand usage over through Redis.
    reading: Option<Part>,
}

impl BillingPart {
    /// Starts it.
    ///
    /// # Errors
    /// [`CliError`] when the address is taken or the store cannot be opened.
    pub(super) async fn start(
        config: &Config,
        folder: &DataFolder,
        lock: &FolderLock,
        registry: &Registry,
    ) -> Result<Self, CliError> {
        let (listener, address) = bind("console", config.settings.console.listen).await?;
        config.check_fonts()?;
        let Store { ledger, token } = Store::open(folder, lock, config).await?;
        let billing = permille_service::Billing::new(ledger, registry)
            .map_err(|cause| ServeError::start("billing", cause))?
            .issuing(config.issuer()?, config.fonts())
            .telling(config.settings.webhooks.settings());
        billing.watch_budgets(&config.budgets()?).await;
        if let Err(error) = billing.name_dearest().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "metrics name the customers who come first, not the dearest");
        }
        if let Err(error) = billing.watch_reconciliations().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the drift of reconciliations is not exported");
        }
        let router = permille_service::router(billing.clone());
        let serving = Part::start("the console listener", |stop| serve(listener, router, stop));
        let idle = TimeDelta::seconds(config.settings.session.idle_seconds.into());
        let counted = billing.clone();
        let ending =
            Part::start("the count of ended sessions", move |stop| count(counted, idle, stop));
        let told = billing.clone();
        let telling = Part::start("the sending of webhooks", move |stop| async move {
            told.send_webhooks(stop.cancelled()).await;
        });
        let (kept, retention) = (billing.clone(), config.settings.store.retention()?);
        let keeping = Part::start("the look after days of usage", move |stop| {
            days::keep(kept, retention, stop)
        });
        let drafted = billing.clone();
        let drafting =
            Part::start("the look for thresholds", move |stop| watch_thresholds(drafted, stop));
        let balanced = billing.clone();
        let balancing =
            Part::start("the look after balances", move |stop| follow_balances(balanced, stop));
        let following = billing.ledger().is_shared().then(|| {
            let billing = billing.clone();
            Part::start("the look for changes", move |stop| follow_changes(billing, stop))
        });
        let reading = config.settings.usage_stream_url().map(|url| {
            let consumer = folder.node(lock)?;
            let reclaim = config.settings.usage_stream_reclaim();
            let settings = UsageStreamSettings { url, consumer, reclaim };
            let reader = UsageStreamReader::open(&billing, settings)
                .map_err(|cause| ServeError::start("the usage stream", cause))?;
            let part = Part::start("the usage stream", |stop| reader.run(stop.cancelled_owned()));
            Ok::<_, CliError>(part)
        });
        let reading = reading.transpose()?;
        Ok(Self {
            address,
            token,
            billing,
            serving,
            ending,
            telling,
            keeping,
            drafting,
            balancing,
            following,
            reading,
        })
    }

    /// What a gateway in the same process needs of it.
    pub(super) fn as_other_half(&self) -> OtherHalf {
        let billing = Arc::new(self.billing.clone());
        OtherHalf { control: Arc::clone(&billing) as _, intake: billing, in_process: true }
    }

    /// From now on a new or revoked key is answered once the gateway beside it knows.
    pub(super) fn serve_gateway(&self, versions: tokio::sync::watch::Receiver<u64>) {
        self.billing.serve_gateway(versions);
    }

    /// Whether the store answers, and answers in time.
    pub(super) fn readiness(&self) -> Readiness {
        let billing = self.billing.clone();
        Arc::new(move || {
            let billing = billing.clone();
            Box::pin(async move {
                match tokio::time::timeout(STORE_TIME_MAX, billing.ledger().ping()).await {
                    Ok(Ok(())) => None,
                    Ok(Err(cause)) => Some(format!("the store cannot be read: {cause}")),
                    Err(_) => Some("the store does not answer".to_owned()),
                }
            })
        })
    }

    /// Waits until it has ended by itself.
    pub(super) async fn failed(&mut self) -> ServeError {
        tokio::select! {
            error = self.serving.failed() => error,
            error = self.ending.failed() => error,
            error = self.telling.failed() => error,
            error = self.keeping.failed() => error,
            error = self.drafting.failed() => error,
            error = self.balancing.failed() => error,
            error = failed(self.following.as_mut()) => error,
            error = failed(self.reading.as_mut()) => error,
        }
    }

    /// Finishes open requests and closes the store.
    pub(super) async fn stop(mut self) {
        self.serving.stop().await;
        self.ending.stop().await;
        self.telling.stop().await;
        self.keeping.stop().await;
        self.drafting.stop().await;
        self.balancing.stop().await;
        for mut part in [self.following, self.reading].into_iter().flatten() {
            part.stop().await;
        }
        self.billing.ledger().close().await;
    }
}

/// Waits until a part has ended by itself; for ever, if there is none.
async fn failed(part: Option<&mut Part>) -> ServeError {
    match part {
        Some(part) => part.failed().await,
        None => std::future::pending().await,
    }
}

/// Reads customers, projects, keys and prices anew whenever another process has changed them,
/// until it is told to stop.
async fn follow_changes(billing: permille_service::Billing, stop: CancellationToken) {
    let mut reached = true;
    loop {
        match billing.ledger().ping().await {
            Ok(()) => reached = true,
            Err(error) => {
                // Once an outage, not once a look.
                if std::mem::take(&mut reached) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "changes of other processes not seen");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHANGES_EVERY) => {}
        }
    }
}

/// Drafts interim invoices over reached thresholds, until it is told to stop.
async fn watch_thresholds(billing: permille_service::Billing, stop: CancellationToken) {
    let mut seen = ThresholdsSeen::default();
    loop {
        let look = billing.draft_over_thresholds(&mut seen);
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look => looked,
        };
        if let Err(error) = looked {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "thresholds not looked at");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(THRESHOLDS_EVERY) => {}
        }
    }
}

/// Computes prepaid balances anew whenever time has changed them, until it is told to stop.
async fn follow_balances(billing: permille_service::Billing, stop: CancellationToken) {
    let mut reached = true;
    let mut found = false;
    loop {
        let look = async {
            if !found {
                billing.ledger().find_balances().await?;
            }
            billing.follow_balances().await
        };
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look => looked,
        };
        match looked {
            Ok(()) => (reached, found) = (true, true),
            // Once an outage, not once a look.
            Err(error) if std::mem::take(&mut reached) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "prepaid balances not looked at");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BALANCES_EVERY) => {}
        }
    }
}

/// Counts sessions that have ended and exports the budgets of limits, until it is told to stop.
async fn count(billing: permille_service::Billing, idle: TimeDelta, stop: CancellationToken) {
    let mut seen = None;
    loop {
        match billing.watch_limits(seen).await {
            Ok(version) => seen = Some(version),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "budgets of limits not read");
            }
        }
        if let Err(error) = billing.count_ended_sessions(idle).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "ended sessions not counted");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ENDED_EVERY) => {}
        }
    }
}
