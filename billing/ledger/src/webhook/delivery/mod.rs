//! Deliveries: one event on its way to one endpoint, at least once, in the order of its subject.
//!
//! A delivery is leased to whoever sends it; a lease that runs out, because its process died,
//! lets another send it again. When to try again and when to pause is told by the sender.

mod repo;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub(super) use repo::{delivery, give_up_all, insert as insert_delivery};

use super::{EventKind, repo as endpoints, secret_of};
use crate::{
    Instruction, Ledger, LedgerError, Listing, Page,
    audit::{Call, Subject},
    error::During,
};

/// How far deliveries of one state are counted: they are counted often, and more than so many
/// say no more.
const COUNT_MAX: u32 = 10_000;

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is sent when it is due.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// It is not tried any more; it can be sent again.
    Dead,
}

impl DeliveryState {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// One event on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Delivery {
    /// The event's id, which every attempt carries as `webhook-id`.
    pub event: String,
    /// What it tells of.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// What has changed.
    pub subject: String,
    /// When it changed.
    pub at: DateTime<Utc>,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next; absent once it is not sent any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// When it was sent last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<DateTime<Utc>>,
    /// What the endpoint answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub(crate) ordinal: i64,
}

/// A delivery to send now.
#[derive(Debug)]
pub struct DueDelivery {
    /// To which endpoint.
    pub endpoint: String,
    /// Which of its deliveries.
    pub ordinal: i64,
    /// The event's id.
    pub event: String,
    /// Where to.
    pub url: String,
    /// What to send, byte for byte.
    pub payload: String,
    /// How often it was sent before.
    pub attempts: u32,
    /// Attempts at this endpoint that failed since one succeeded.
    pub failures: u32,
    /// When it was leased: the time of the attempt.
    pub at: DateTime<Utc>,
    /// What to sign it with, the current secret first.
    pub secrets: Vec<SecretString>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    /// The endpoint has it.
    Delivered {
        /// What it answered.
        status: u16,
    },
    /// It does not.
    Failed {
        /// What it answered, if it did.
        status: Option<u16>,
        /// Why this is no success.
        error: String,
        /// When to try again; never, if absent.
        again_at: Option<DateTime<Utc>>,
        /// Nothing is sent to the endpoint before then.
        pause_until: Option<DateTime<Utc>>,
    },
}

/// What is still to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WebhookBacklog {
    /// Deliveries that are pending, counted up to 10,000.
    pub pending: u64,
    /// Deliveries that were given up and not sent again since, counted up to 10,000.
    pub dead: u64,
    /// When the oldest pending event happened.
    pub oldest: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Leases what is due for `lease`, at most `max` in all, and of each endpoint as many as
    /// `room` says, which is asked for its id and its failures.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn lease_deliveries(
        &self,
        max: usize,
        lease: TimeDelta,
        room: impl Fn(&str, u32) -> usize,
    ) -> Result<Vec<DueDelivery>, LedgerError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let endpoints = endpoints::due_endpoints(&mut reader, now).await?;
        drop(reader);
        if endpoints.is_empty() {
            return Ok(Vec::new());
        }
        let until = now.checked_add_signed(lease).unwrap_or(now);
        let mut tx = self.store.write().await?;
        let mut leased = Vec::new();
        for endpoint in endpoints {
            let free = room(&endpoint.id, endpoint.failures);
            let free = free.min(max.saturating_sub(leased.len()));
            if free == 0 {
                continue;
            }
            let due = repo::due(&mut tx, &endpoint.id, now, free).await?;
            for row in due {
                repo::lease(&mut tx, &endpoint.id, row.ordinal, until).await?;
                let seeds = endpoint.seeds(now);
                leased.push(DueDelivery {
                    endpoint: endpoint.id.clone(),
                    ordinal: row.ordinal,
                    event: row.event,
                    url: endpoint.url.clone(),
                    payload: row.payload,
                    attempts: row.attempts,
                    failures: endpoint.failures,
                    at: now,
                    secrets: seeds.iter().map(|seed| secret_of(&self.pepper, seed)).collect(),
                });
            }
        }
        tx.commit().await.during("commit lease of deliveries")?;
        Ok(leased)
    }

    /// Notes what became of an attempt.
    ///
    /// # Errors
    /// The store's failure; the lease then runs out and the event is sent again.
    pub async fn settle_delivery(
        &self,
        due: &DueDelivery,
        attempted: &Attempted,
    ) -> Result<(), LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        repo::settle(&mut tx, &due.endpoint, due.ordinal, attempted, now).await?;
        match attempted {
            Attempted::Delivered { .. } => endpoints::succeed(&mut tx, &due.endpoint).await?,
            Attempted::Failed { pause_until, .. } => {
                endpoints::fail(&mut tx, &due.endpoint, *pause_until).await?;
            }
        }
        tx.commit().await.during("commit attempt of a delivery")
    }

    /// The log of an endpoint, newest first.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown endpoint, [`LedgerError::Invalid`] for a bad
    /// cursor, else the store's failure.
    pub async fn deliveries(
        &self,
        webhook: &str,
        state: Option<DeliveryState>,
        page: &Page,
    ) -> Result<Listing<Delivery>, LedgerError> {
        let mut view = self.store.view().await?;
        super::found(&mut view, webhook).await?;
        let before = match page.after() {
            "" => i64::MAX,
            cursor => cursor.parse().map_err(|_| {
                LedgerError::invalid("cursor", cursor, "the `next_cursor` of a page")
            })?,
        };
        let rows = repo::deliveries(&mut view, webhook, state, before, page.rows()).await?;
        Ok(Listing::cut(page, rows, |delivery| delivery.ordinal.to_string()))
    }

    /// Sends an event to an endpoint again, as if it had never been sent.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when the endpoint was removed; else the
    /// store's failure.
    pub async fn resend_delivery(
        &self,
        webhook: &str,
        event: &str,
        instruction: &Instruction,
    ) -> Result<Delivery, LedgerError> {
        let now = self.now();
        let id = format!("{webhook}/{event}");
        let of_it = Subject { noun: "delivery", id: &id };
        let call = Call { subject: of_it, action: "resend", request: "" };
        let mut tx = self.store.write().await?;
        if call.before(&mut tx, instruction).await?.is_none() {
            super::live(&mut tx, webhook).await?;
            if !repo::resend(&mut tx, webhook, event, now).await? {
                return Err(LedgerError::not_found("delivery", event));
            }
            call.spend(&mut tx, None, instruction, now).await?;
        }
        let delivery = repo::delivery(&mut tx, webhook, event).await?;
        tx.commit().await.during("commit another sending")?;
        delivery.ok_or_else(|| LedgerError::not_found("delivery", event))
    }

    /// What is still to be told, over all endpoints.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn webhook_backlog(&self) -> Result<WebhookBacklog, LedgerError> {
        let mut reader = self.store.read().await?;
        Ok(WebhookBacklog {
            pending: repo::count(&mut reader, DeliveryState::Pending, COUNT_MAX).await?,
            dead: repo::count(&mut reader, DeliveryState::Dead, COUNT_MAX).await?,
            oldest: repo::oldest_pending(&mut reader).await?,
        })
    }

    /// Gives up what was due before `before` and was not sent since, because its endpoint fails or
    /// an earlier event of its subject is in the way. How many that was; they can be sent again.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn give_up_deliveries(&self, before: DateTime<Utc>) -> Result<u64, LedgerError> {
        let now = self.now();
        let waited = now.signed_duration_since(before).num_days();
        let why = format!("waited for {waited} days behind others");
        let mut tx = self.store.write().await?;
        let given_up = repo::give_up_late(&mut tx, before, &why, now).await?;
        tx.commit().await.during("commit deliveries given up")?;
        Ok(given_up)
    }

    /// Forgets deliveries that were settled before `before`, and events that nothing refers to.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn forget_deliveries(&self, before: DateTime<Utc>) -> Result<u64, LedgerError> {
        let mut tx = self.store.write().await?;
        let forgotten = repo::forget(&mut tx, before).await?;
        tx.commit().await.during("commit forgotten deliveries")?;
        Ok(forgotten)
    }
}
