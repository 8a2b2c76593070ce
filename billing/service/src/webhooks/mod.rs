//! Sending webhooks: what is due is leased from the ledger, signed, sent and settled.
//!
//! An event is sent at least once: whoever dies while sending lets its lease run out, and another
//! sends it again under the same `webhook-id`. Everything is bounded: attempts at once in all and
//! for each endpoint, the time of one, what is read of an answer. An endpoint that keeps failing is
//! paused, so that it costs one attempt now and then. Which changes are told is decided in
//! `permille-ledger`.

mod address;
mod metrics;
mod schedule;
mod send;
mod sign;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use parking_lot::Mutex;
use permille_ledger::{Attempted, DueDelivery, Ledger, LedgerError};
use tokio::task::JoinSet;

pub(crate) use address::Target;
pub use schedule::{RETRIES_MAX, Schedule};
use send::{ATTEMPT_MAX, Sender};

pub(crate) use metrics::WebhookMetrics;

use crate::metrics::Metrics;
use metrics::WebhookOutcome;

/// Attempts at once, over all endpoints: each holds a socket for as long as its endpoint takes.
const ATTEMPTS_MAX: usize = 32;
/// Attempts at once at one endpoint.
const ATTEMPTS_PER_ENDPOINT_MAX: usize = 4;
/// Failures after which an endpoint is paused and tried with one event at a time.
const FAILURES_MAX: u32 = 5;
/// Between two looks for what is due: as late as an event may be told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at what is left to tell, for metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How long an event waits for its turn at an endpoint that fails before it is given up: retries of
/// one end after three days.
const WAIT_DAYS: i64 = 7;
/// How long the log of deliveries is kept once they are settled.
const KEPT_DAYS: i64 = 90;
/// Between two times that older ones are forgotten.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// A lease outlives the longest attempt: what still holds one then was killed.
const LEASE: Duration = Duration::from_secs(ATTEMPT_MAX.as_secs() + 5);

/// How webhooks are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookSettings {
    /// Whether endpoints may be private, local or without TLS: for receivers inside one's own
    /// network. A customer who can add endpoints could else reach what only we can.
    pub allow_private: bool,
    /// When a failed attempt is made again.
    pub schedule: Schedule,
}

/// What sends.
pub(crate) struct Webhooks {
    settings: WebhookSettings,
    sender: Sender,
    /// Attempts that are under way, by endpoint.
    open: Mutex<HashMap<String, usize>>,
}

impl Webhooks {
    pub(crate) fn new(settings: WebhookSettings) -> Self {
        let sender = Sender::new(settings.allow_private);
        Self { settings, sender, open: Mutex::default() }
    }

    /// The URL of an endpoint, if anything would be sent there.
    pub(crate) fn target(&self, url: &str) -> Result<Target, address::BadUrl> {
        Target::parse(url, self.settings.allow_private)
    }

    /// Sends what becomes due until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        ledger: Ledger,
        metrics: Arc<Metrics>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut attempts = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = tokio::time::interval(COUNT_EVERY);
        count.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut forget = tokio::time::interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let failed = tokio::select! {
                () = &mut stop => break,
                Some(_) = attempts.join_next() => self.look(&ledger, &metrics, &mut attempts).await,
                _ = look.tick() => self.look(&ledger, &metrics, &mut attempts).await,
                _ = count.tick() => measure(&ledger, &metrics).await,
                _ = forget.tick() => forget_old(&ledger).await,
            };
            if let Err(error) = failed {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "webhooks are not sent: the store fails");
            }
        }
        // What is under way may end; what does not in time is sent again after the next start.
        let ended = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(ATTEMPT_MAX, ended).await.is_err() {
            tracing::warn!("webhooks were still being sent at the end");
        }
    }

    /// Leases what there is room for and starts to send it.
    async fn look(
        self: &Arc<Self>,
        ledger: &Ledger,
        metrics: &Arc<Metrics>,
        attempts: &mut JoinSet<()>,
    ) -> Result<(), LedgerError> {
        let free = ATTEMPTS_MAX.saturating_sub(attempts.len());
        if free == 0 {
            return Ok(());
        }
        let lease = TimeDelta::from_std(LEASE).unwrap_or_default();
        let room = |endpoint: &str, failures: u32| {
            let max = if failures >= FAILURES_MAX { 1 } else { ATTEMPTS_PER_ENDPOINT_MAX };
            max.saturating_sub(self.open.lock().get(endpoint).copied().unwrap_or_default())
        };
        for due in ledger.lease_deliveries(free, lease, room).await? {
            *self.open.lock().entry(due.endpoint.clone()).or_default() += 1;
            let this = Arc::clone(self);
            let (ledger, metrics) = (ledger.clone(), Arc::clone(metrics));
            attempts.spawn(async move { this.attempt(&ledger, &metrics, &due).await });
        }
        Ok(())
    }

    async fn attempt(&self, ledger: &Ledger, metrics: &Metrics, due: &DueDelivery) {
        let timer = metrics.webhooks.attempt_seconds.start_timer();
        let sent = self.sender.send(due).await;
        timer.observe_duration();
        let now = ledger.time();
        let attempted = match sent {
            Ok(status) => Attempted::Delivered { status },
            Err(cause) => {
                let wait = if cause.is_final() { None } else { self.settings.schedule.wait(due) };
                Attempted::Failed {
                    status: cause.status(),
                    error: cause.to_string(),
                    again_at: wait.map(|wait| now + wait),
                    pause_until: schedule::pause(due.failures).map(|pause| now + pause),
                }
            }
        };
        metrics.webhooks.attempted(match &attempted {
            Attempted::Delivered { .. } => WebhookOutcome::Delivered,
            Attempted::Failed { again_at: Some(_), .. } => WebhookOutcome::Failed,
            Attempted::Failed { again_at: None, .. } => WebhookOutcome::Dead,
        });
        if let Attempted::Failed { error, again_at, .. } = &attempted {
            let again_at = again_at.map(|at| at.to_rfc3339());
            let (webhook, event) = (&due.endpoint, &due.event);
            tracing::warn!(webhook, event, error, again_at, "a webhook was not delivered");
        }
        if let Err(error) = ledger.settle_delivery(due, &attempted).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "an attempt is not noted: its event is sent again");
        }
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&due.endpoint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&due.endpoint);
            }
        }
    }
}

async fn measure(ledger: &Ledger, metrics: &Metrics) -> Result<(), LedgerError> {
    let backlog = ledger.webhook_backlog().await?;
    metrics.webhooks.measured(&backlog, ledger.time());
    Ok(())
}

async fn forget_old(ledger: &Ledger) -> Result<(), LedgerError> {
    let waited = ledger.time() - TimeDelta::days(WAIT_DAYS);
    let count = ledger.give_up_deliveries(waited).await?;
    if count > 0 {
        let days = WAIT_DAYS;
        tracing::warn!(count, days, "webhooks waited too long behind others and were given up");
    }
    let before = ledger.time() - TimeDelta::days(KEPT_DAYS);
    ledger.forget_deliveries(before).await.map(drop)
}
