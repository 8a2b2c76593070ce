//! Webhooks: endpoints that are told of changes, and what they are told.
//!
//! An event is written in the transaction of the change that it tells of (an outbox), so it is
//! there exactly if the change is. What sends it is `permille-service`; this noun keeps whom to
//! tell, what, and how far the telling is. Source: Standard Webhooks, specification 1.0.0.

mod delivery;
mod event;
mod repo;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use permille_types::CustomerId;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;

pub use delivery::{Attempted, Delivery, DeliveryState, DueDelivery, WebhookBacklog};
pub use event::EventKind;
pub(crate) use event::{Event, tell, tells};

use crate::{
    Instruction, Ledger, LedgerError, Listing, Page, Pepper,
    audit::{self, Call, Change, Subject},
    column, customer,
    error::During,
    secret::{public_id, random_bytes},
    store::Connection,
    text,
};

/// Prefix of a webhook's secret. Source: Standard Webhooks.
pub const WEBHOOK_SECRET_PREFIX: &str = "whsec_";
/// Most endpoints of one customer, and of the house: each is written to in the transaction of every
/// change that it is told of.
pub const WEBHOOKS_MAX: usize = 16;
/// Longest URL, in bytes: what servers accept.
const URL_BYTES_MAX: usize = 2_000;
/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 256;

/// An endpoint that is told of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Whose changes it is told of; absent: everyone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Where events are sent.
    pub url: String,
    /// Of what it is told; empty: of everything.
    pub events: Vec<EventKind>,
    /// What its owner says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Until then events are signed with the secret of before as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// Attempts that failed since one succeeded.
    pub failures: u32,
    /// Nothing is sent before then, because too many attempts have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was removed: it is told of nothing since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<DateTime<Utc>>,
}

/// An endpoint to add. The URL was checked by whoever sends to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Whose changes it is told of; absent: everyone's.
    pub customer: Option<CustomerId>,
    /// Where events are sent.
    pub url: String,
    /// Of what it is told; empty: of everything.
    pub events: Vec<EventKind>,
    /// What its owner says of it.
    pub description: Option<String>,
}

/// An endpoint and the secret that its events are signed with.
#[derive(Debug)]
pub struct SignedWebhook {
    /// The endpoint.
    pub webhook: Webhook,
    /// Its secret, as Standard Webhooks writes it.
    pub secret: SecretString,
}

/// What an endpoint's secrets are made of.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seeds {
    pub(crate) current: String,
    pub(crate) previous: Option<String>,
}

/// The secret of a seed.
pub(crate) fn secret_of(pepper: &Pepper, seed: &str) -> SecretString {
    let bytes = pepper.digest(&format!("webhook secret {seed}"));
    format!("{WEBHOOK_SECRET_PREFIX}{}", STANDARD.encode(bytes.as_bytes())).into()
}

fn seed() -> Result<String, LedgerError> {
    Ok(hex::encode(random_bytes::<32>()?))
}

impl Ledger {
    /// Adds an endpoint. It is told of what happens from now on.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer; [`LedgerError::Refused`] when there are
    /// [`WEBHOOKS_MAX`] of them, or the idempotency key was spent on another call;
    /// [`LedgerError::Invalid`] names the field; else the store's failure.
    pub async fn add_webhook(
        &self,
        new: NewWebhook,
        instruction: &Instruction,
    ) -> Result<SignedWebhook, LedgerError> {
        const ACTION: &str = "add";
        let url = text::line("url", &new.url, URL_BYTES_MAX)?.to_owned();
        let description = new.description.as_deref();
        let description = description
            .map(|text| text::line("description", text, DESCRIPTION_BYTES_MAX).map(str::to_owned))
            .transpose()?;
        let mut events = new.events;
        events.sort_unstable();
        events.dedup();
        let now = self.now();
        let mut tx = self.store.write().await?;
        let owner = new.customer.as_ref().map_or("", CustomerId::as_str);
        let events_text = column::to_json("events", &events)?;
        let request =
            format!("{owner} {url} {events_text} {}", description.as_deref().unwrap_or(""));
        // The id is not known before it is made: the subject of the call is whose endpoint it is.
        let of_owner = Subject { noun: "webhooks of", id: owner };
        if let Some(made) =
            audit::repeated(&mut tx, of_owner, ACTION, &request, instruction).await?
        {
            let (webhook, seeds) = found(&mut tx, &made.result.unwrap_or_default()).await?;
            let secret = secret_of(&self.pepper, &seeds.current);
            return Ok(SignedWebhook { webhook, secret });
        }
        if let Some(customer) = &new.customer {
            customer::find(&mut tx, customer)
                .await?
                .ok_or_else(|| LedgerError::not_found("customer", customer))?;
        }
        if repo::count(&mut tx, new.customer.as_ref()).await? >= WEBHOOKS_MAX {
            let reason = format!("has {WEBHOOKS_MAX} webhooks; accepted: to remove one first");
            let whose = if owner.is_empty() { "the house" } else { owner };
            return Err(LedgerError::refused("customer", whose, reason));
        }
        let seeds = Seeds { current: seed()?, previous: None };
        let webhook = Webhook {
            id: public_id("whe_", now)?,
            customer: new.customer,
            url,
            events,
            description,
            previous_secret_until: None,
            failures: 0,
            paused_until: None,
            created_at: now,
            removed_at: None,
        };
        repo::insert(&mut tx, &webhook, &events_text, &seeds).await?;
        let change = Change {
            action: ACTION,
            from: None,
            to: None,
            detail: Some(&webhook.url),
            request: &request,
            result: Some(&webhook.id),
        };
        let owner = webhook.customer.as_ref().map_or("", CustomerId::as_str).to_owned();
        let of_owner = Subject { noun: "webhooks of", id: &owner };
        audit::insert(&mut tx, of_owner, change, instruction, now).await?;
        let own = subject(&webhook.id);
        audit::note(&mut tx, own, audit::CREATE, Some(&webhook.url), instruction, now).await?;
        tx.commit().await.during("commit webhook")?;
        let secret = secret_of(&self.pepper, &seeds.current);
        Ok(SignedWebhook { webhook, secret })
    }

    /// Gives an endpoint a new secret. Events are signed with the old one too, for `overlap`.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it was removed; else the store's
    /// failure.
    pub async fn rotate_webhook(
        &self,
        id: &str,
        overlap: TimeDelta,
        instruction: &Instruction,
    ) -> Result<SignedWebhook, LedgerError> {
        const ACTION: &str = "rotate";
        let now = self.now();
        let mut tx = self.store.write().await?;
        let (mut webhook, before) = live(&mut tx, id).await?;
        let request = overlap.num_seconds().to_string();
        if audit::repeated(&mut tx, subject(id), ACTION, &request, instruction).await?.is_some() {
            let secret = secret_of(&self.pepper, &before.current);
            return Ok(SignedWebhook { webhook, secret });
        }
        let until = now.checked_add_signed(overlap).unwrap_or(now);
        let seeds = Seeds { current: seed()?, previous: Some(before.current) };
        repo::rotate(&mut tx, id, &seeds, until).await?;
        webhook.previous_secret_until = Some(until);
        let change = Change {
            action: ACTION,
            from: None,
            to: None,
            detail: None,
            request: &request,
            result: None,
        };
        audit::insert(&mut tx, subject(id), change, instruction, now).await?;
        tx.commit().await.during("commit a new secret")?;
        let secret = secret_of(&self.pepper, &seeds.current);
        Ok(SignedWebhook { webhook, secret })
    }

    /// Removes an endpoint: it is told of nothing more, what was still to be told to it included.
    /// Its log stays. Removing it again changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn remove_webhook(
        &self,
        id: &str,
        instruction: &Instruction,
    ) -> Result<Webhook, LedgerError> {
        let now = self.now();
        let call = endpoint_call("remove", id);
        let mut tx = self.store.write().await?;
        let (mut webhook, _) = found(&mut tx, id).await?;
        if call.before(&mut tx, instruction).await?.is_some() {
            return Ok(webhook);
        }
        call.spend(&mut tx, None, instruction, now).await?;
        if webhook.removed_at.is_some() {
            self.commit(tx).await?;
            return Ok(webhook);
        }
        repo::remove(&mut tx, id, now).await?;
        delivery::give_up_all(&mut tx, id, "the endpoint was removed", now).await?;
        webhook.removed_at = Some(now);
        audit::note(&mut tx, subject(id), call.action, None, instruction, now).await?;
        tx.commit().await.during("commit removal of a webhook")?;
        Ok(webhook)
    }

    /// Sends a test event to one endpoint, whatever else it is told of; under one idempotency key
    /// one event.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it was removed; else the store's
    /// failure.
    pub async fn test_webhook(
        &self,
        id: &str,
        instruction: &Instruction,
    ) -> Result<Delivery, LedgerError> {
        let now = self.now();
        let call = endpoint_call("test", id);
        let mut tx = self.store.write().await?;
        let event = if let Some(before) = call.before(&mut tx, instruction).await? {
            before.result.unwrap_or_default()
        } else {
            let (webhook, _) = live(&mut tx, id).await?;
            let event = event::test(&mut tx, &webhook, now).await?;
            call.spend(&mut tx, Some(&event), instruction, now).await?;
            event
        };
        let delivery = delivery::delivery(&mut tx, id, &event).await?;
        tx.commit().await.during("commit test of a webhook")?;
        delivery.ok_or_else(|| LedgerError::not_found("delivery", &event))
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn webhook(&self, id: &str) -> Result<Webhook, LedgerError> {
        let mut reader = self.store.read().await?;
        found(&mut reader, id).await.map(|(webhook, _)| webhook)
    }

    /// Endpoints that were not removed, in the order they were added.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn webhooks(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Webhook>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |webhook| webhook.id.clone()))
    }
}

async fn found(connection: &mut Connection, id: &str) -> Result<(Webhook, Seeds), LedgerError> {
    repo::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("webhook", id))
}

/// One that was not removed.
async fn live(connection: &mut Connection, id: &str) -> Result<(Webhook, Seeds), LedgerError> {
    let (webhook, seeds) = found(connection, id).await?;
    if webhook.removed_at.is_some() {
        return Err(LedgerError::refused("webhook", id, "was removed; accepted: to add another"));
    }
    Ok((webhook, seeds))
}

fn subject(id: &str) -> Subject<'_> {
    Subject { noun: "webhook", id }
}

/// What is asked for of an endpoint, without a word more.
fn endpoint_call<'a>(action: &'static str, id: &'a str) -> Call<'a> {
    Call { subject: Subject { noun: "endpoint", id }, action, request: "" }
}
