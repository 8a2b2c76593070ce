//! Billing in process: the two traits that gateways know it by.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use permille_documents::Issuer;
use permille_ledger::{
    Instruction, Ledger, LedgerError, Quarantined, Rerated, ThresholdsSeen, Told,
};
use permille_types::{
    Ack, Batch, ControlError, ControlPlane, CustomerId, Intake, SessionId, Snapshot, SpendQuery,
    Spent, StoredResponse, USAGE_STREAM,
};
use prometheus::Registry;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::{
    console::Visits,
    export::{Exports, frozen},
    metrics::{Budget, Metrics},
    webhooks::{WebhookSettings, Webhooks},
};

/// How long a request for a newer snapshot is held open: long enough that idle gateways ask
/// seldom, short enough for every proxy's idle limit.
const SNAPSHOT_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long an answer waits for the gateway beside it; it takes a millisecond or two.
const GATEWAY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Customers that metrics count by name from a start on: those that cost most in so many days. Of
/// the 500 names the others are left to whoever comes.
const DEAREST_MAX: u32 = 400;
/// A month.
const DEAREST_DAYS: u32 = 30;

/// Summaries of sessions that are made at once: each reads up to a million rows, or as many as were
/// asked for.
const SUMMARIES_MAX: usize = 1;
/// How long a summary waits for the one before it.
const SUMMARY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Billing: the ledger and its metrics. Clones share both.
#[derive(Clone)]
pub struct Billing {
    pub(crate) ledger: Ledger,
    pub(crate) exports: Arc<Exports>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) webhooks: Arc<Webhooks>,
    /// The snapshot version of the gateway in this process, where there is one.
    gateway: Arc<OnceLock<watch::Receiver<u64>>>,
    summaries: Arc<Semaphore>,
    /// Who has signed in to the console of this process.
    pub(crate) visits: Arc<Visits>,
}

impl Billing {
    /// Billing over `ledger`, with its metrics on `registry`.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a metric of that name is there already.
    pub fn new(ledger: Ledger, registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Arc::new(Metrics::register(registry)?);
        let exports = Arc::new(Exports::new(Issuer::default(), Vec::new()));
        let summaries = Arc::new(Semaphore::new(SUMMARIES_MAX));
        let webhooks = Arc::new(Webhooks::new(WebhookSettings::default()));
        Ok(Self {
            ledger,
            exports,
            metrics,
            webhooks,
            gateway: Arc::default(),
            summaries,
            visits: Arc::default(),
        })
    }

    /// The same, whose webhooks are sent as `settings` say.
    #[must_use]
    pub fn telling(self, settings: WebhookSettings) -> Self {
        Self { webhooks: Arc::new(Webhooks::new(settings)), ..self }
    }

    /// Sends webhooks as they become due, until `stop`.
    pub async fn send_webhooks(&self, stop: impl Future<Output = ()>) {
        let (ledger, metrics) = (self.ledger.clone(), Arc::clone(&self.metrics));
        Arc::clone(&self.webhooks).run(ledger, metrics, stop).await;
    }

    /// The same, whose documents are issued by `issuer` and, as PDF, set in the fonts of the files
    /// and folders `fonts`, then in those of the system.
    #[must_use]
    pub fn issuing(self, issuer: Issuer, fonts: Vec<PathBuf>) -> Self {
        let ledger = self.ledger.issuing(frozen(&issuer));
        Self { ledger, exports: Arc::new(Exports::new(issuer, fonts)), ..self }
    }

    /// Waits, within a bound, until no other summary is being made.
    pub(crate) async fn turn_to_summarise(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(SUMMARY_WAIT_MAX, self.summaries.acquire()).await.ok()?.ok()
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Exports what customers are expected to spend, for alerts.
    pub async fn watch_budgets(&self, budgets: &[Budget]) {
        for Budget { customer, monthly } in budgets {
            let known = self.ledger.customer(customer).await;
            let other = known.ok().filter(|known| known.currency != monthly.currency());
            if let Some(other) = other {
                let (own, of) = (other.currency.code(), monthly.currency().code());
                tracing::warn!(%customer, own, of, "a budget in another currency alerts of nothing");
            }
        }
        self.metrics.watch(budgets);
    }

    /// Counts the customers that cost most lately by name, whoever comes first after a start.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails.
    pub async fn name_dearest(&self) -> Result<(), LedgerError> {
        let dearest = self.ledger.dearest_customers(DEAREST_DAYS, DEAREST_MAX).await?;
        self.metrics.name(&dearest);
        Ok(())
    }

    /// Exports what the last reconciliation of each provider came to.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails.
    pub async fn watch_reconciliations(&self) -> Result<(), LedgerError> {
        self.metrics.reconciled(&self.ledger.last_reconciliations().await?);
        Ok(())
    }

    /// Exports the monthly budgets that limits of customers give, where anything has changed since
    /// `seen`; gives the version that they are of.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails; then they are as they were.
    pub async fn watch_limits(&self, seen: Option<u64>) -> Result<u64, LedgerError> {
        let version = self.ledger.snapshot_version();
        if seen != Some(version) {
            self.metrics.watch_limits(self.ledger.monthly_budgets().await?);
        }
        Ok(version)
    }

    /// From now on a change of keys is answered once the gateway in this process has it.
    pub fn serve_gateway(&self, versions: watch::Receiver<u64>) {
        if self.gateway.set(versions).is_err() {
            tracing::warn!("a second gateway in this process is not waited for");
        }
    }

    /// Waits, within a bound, until the gateway in this process knows every key.
    pub(crate) async fn until_gateway_knows(&self) {
        let Some(versions) = self.gateway.get() else { return };
        let newest = self.ledger.snapshot_version();
        let mut versions = versions.clone();
        let known = versions.wait_for(|version| *version >= newest);
        if tokio::time::timeout(GATEWAY_WAIT_MAX, known).await.is_err() {
            tracing::warn!(newest, "the gateway does not have the newest keys yet");
        }
    }

    /// Counts what an import of prices has billed of held usage.
    pub fn count_rerated(&self, rerated: &Rerated) {
        for billed in &rerated.billed {
            self.metrics.billed(billed);
        }
    }

    /// Drafts interim invoices for everyone who has reached the threshold of their plan. `seen` is
    /// what earlier looks of this process found.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails; what was drafted before it stays drafted.
    pub async fn draft_over_thresholds(
        &self,
        seen: &mut ThresholdsSeen,
    ) -> Result<(), LedgerError> {
        let sweep = self.ledger.draft_over_thresholds(seen).await?;
        for draft in &sweep.drafted {
            let invoice = draft.id.as_ref().map(ToString::to_string);
            let (customer, total) = (&draft.customer.id, draft.total);
            let currency = draft.currency.code();
            tracing::info!(invoice, %customer, %total, currency, "a threshold was reached");
        }
        for (customer, error) in &sweep.failed {
            let error: &dyn std::error::Error = error;
            tracing::warn!(%customer, error, "no interim invoice is drafted; looked at again when something changes");
        }
        Ok(())
    }

    /// Computes the prepaid balances that time may have changed.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails; what was computed before it holds.
    pub async fn follow_balances(&self) -> Result<(), LedgerError> {
        let sweep = self.ledger.follow_balances().await?;
        for (customer, error) in &sweep.failed {
            let error: &dyn std::error::Error = error;
            tracing::warn!(%customer, error, "the prepaid balance stays what it was for an hour");
        }
        Ok(())
    }

    /// Counts the sessions that have been silent for `idle` since they were last counted.
    ///
    /// # Errors
    /// [`LedgerError`] when the store fails; what was counted before it stays counted.
    pub async fn count_ended_sessions(&self, idle: TimeDelta) -> Result<(), LedgerError> {
        loop {
            let ended = self.ledger.end_sessions(idle).await?;
            if ended.is_empty() {
                return Ok(());
            }
            for session in &ended {
                self.metrics.ended(session);
            }
        }
    }

    /// Counts what somebody said of a session.
    pub(crate) fn count_told(&self, told: &Told) {
        if told.changed {
            self.metrics.told(told);
        }
    }

    async fn book(&self, batch: Batch) -> Result<Ack, ControlError> {
        const OPERATION: &str = "take usage in";
        let timer = self.metrics.batch_seconds.start_timer();
        let accepted = match self.ledger.accept(&batch).await {
            Ok(accepted) => accepted,
            Err(cause @ LedgerError::Invalid { .. }) => {
                timer.stop_and_discard();
                return Err(ControlError::Refused {
                    operation: OPERATION,
                    reason: cause.to_string(),
                });
            }
            Err(cause) => {
                timer.stop_and_discard();
                return Err(ControlError::Unavailable {
                    operation: OPERATION,
                    cause: Box::new(cause),
                });
            }
        };
        timer.observe_duration();
        self.metrics.accepted(&accepted);
        if accepted.conflicts > 0 || accepted.quarantined > 0 {
            tracing::error!(
                node = %batch.node,
                conflicts = accepted.conflicts,
                quarantined = accepted.quarantined,
                "usage events are in quarantine: see GET /api/v1/usage/quarantine"
            );
        }
        Ok(accepted.ack)
    }

    /// Books what is in quarantine, now that it can be.
    pub(crate) async fn book_quarantined(
        &self,
        id: &str,
        instruction: &Instruction,
    ) -> Result<Quarantined, LedgerError> {
        let (booked, accepted) = self.ledger.book_quarantined(id, instruction).await?;
        self.metrics.accepted(&accepted);
        Ok(booked)
    }

    /// Quarantines what came through the usage stream and is no batch.
    pub(crate) async fn set_aside(&self, payload: &[u8]) -> Result<(), LedgerError> {
        if self.ledger.set_aside(USAGE_STREAM, payload).await? {
            self.metrics.quarantined();
        }
        Ok(())
    }

    async fn newer_snapshot(&self, known: Option<u64>) -> Result<Option<Snapshot>, ControlError> {
        // Who knows more than this process has it from another one, or the store was restored. An
        // older snapshot would bring a revoked key back into force, so the store is asked which.
        if known.is_some_and(|known| known > self.ledger.snapshot_version()) {
            self.ledger.ping().await.map_err(|cause| ControlError::Unavailable {
                operation: "look for a newer snapshot",
                cause: Box::new(cause),
            })?;
        }
        // Before the look: a change between the two is then noticed.
        let mut changes = self.ledger.snapshot_changes();
        let newer = async {
            loop {
                if let Some(snapshot) = self.ledger.snapshot(known) {
                    return snapshot;
                }
                changes.changed().await;
            }
        };
        Ok(tokio::time::timeout(SNAPSHOT_WAIT_MAX, newer).await.ok())
    }
}

impl Intake for Billing {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        Box::pin(self.book(batch))
    }
}

impl ControlPlane for Billing {
    fn snapshot(
        &self,
        known: Option<u64>,
    ) -> BoxFuture<'_, Result<Option<Snapshot>, ControlError>> {
        Box::pin(self.newer_snapshot(known))
    }

    fn last_turn<'a>(
        &'a self,
        customer: &'a CustomerId,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<u32, ControlError>> {
        Box::pin(async move {
            self.ledger.last_turn(customer, session).await.map_err(|cause| {
                ControlError::Unavailable { operation: "last turn", cause: Box::new(cause) }
            })
        })
    }

    fn stored_response<'a>(
        &'a self,
        customer: &'a CustomerId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredResponse>, ControlError>> {
        Box::pin(async move {
            self.ledger.stored_response(customer, id).await.map_err(|cause| {
                ControlError::Unavailable { operation: "stored response", cause: Box::new(cause) }
            })
        })
    }

    fn spent<'a>(&'a self, query: &'a SpendQuery) -> BoxFuture<'a, Result<Spent, ControlError>> {
        Box::pin(async move {
            self.ledger.spent(query).await.map_err(|cause| ControlError::Unavailable {
                operation: "spending",
                cause: Box::new(cause),
            })
        })
    }
}
