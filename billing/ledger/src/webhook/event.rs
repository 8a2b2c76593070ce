//! Events: what is told, to whom.

use chrono::{DateTime, Utc};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Webhook, delivery, repo};
use crate::{LedgerError, column, secret::public_id, store::Connection};

/// What an event tells of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum EventKind {
    /// The invoice of a month was drafted, or drafted again with another content.
    #[serde(rename = "invoice.drafted")]
    InvoiceDrafted,
    /// Somebody approved a draft.
    #[serde(rename = "invoice.approved")]
    InvoiceApproved,
    /// An invoice was issued under its number.
    #[serde(rename = "invoice.finalized")]
    InvoiceFinalized,
    /// An invoice is paid.
    #[serde(rename = "invoice.paid")]
    InvoicePaid,
    /// An invoice is of no effect any more.
    #[serde(rename = "invoice.voided")]
    InvoiceVoided,
    /// A credit note was made of an invoice.
    #[serde(rename = "invoice.credited")]
    InvoiceCredited,
    /// The close of a month was prepared.
    #[serde(rename = "period.prepared")]
    PeriodPrepared,
    /// Somebody signed the close of a month.
    #[serde(rename = "period.signed")]
    PeriodSigned,
    /// A month is closed.
    #[serde(rename = "period.closed")]
    PeriodClosed,
    /// A closed month was opened again.
    #[serde(rename = "period.reopened")]
    PeriodReopened,
    /// Spending has passed the part of a budget from which on answers warn.
    #[serde(rename = "limit.warning")]
    LimitWarning,
    /// Spending has reached a budget.
    #[serde(rename = "limit.exhausted")]
    LimitExhausted,
    /// A model without a price was used: its requests are held. Once for each day, customer and
    /// model.
    #[serde(rename = "usage.held")]
    UsageHeld,
    /// Somebody tests an endpoint.
    #[serde(rename = "webhook.test")]
    Test,
}

impl EventKind {
    /// Whether it tells what invoices say.
    #[must_use]
    pub fn tells_of_invoices(self) -> bool {
        self.as_str().starts_with("invoice.")
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceDrafted => "invoice.drafted",
            Self::InvoiceApproved => "invoice.approved",
            Self::InvoiceFinalized => "invoice.finalized",
            Self::InvoicePaid => "invoice.paid",
            Self::InvoiceVoided => "invoice.voided",
            Self::InvoiceCredited => "invoice.credited",
            Self::PeriodPrepared => "period.prepared",
            Self::PeriodSigned => "period.signed",
            Self::PeriodClosed => "period.closed",
            Self::PeriodReopened => "period.reopened",
            Self::LimitWarning => "limit.warning",
            Self::LimitExhausted => "limit.exhausted",
            Self::UsageHeld => "usage.held",
            Self::Test => "webhook.test",
        }
    }
}

/// An event to tell. Events of one subject reach an endpoint in their order.
pub(crate) struct Event<'a, T> {
    pub(crate) kind: EventKind,
    /// Whose change it is; absent: the house's own.
    pub(crate) customer: Option<&'a CustomerId>,
    /// What has changed, such as `invoice inv_…`.
    pub(crate) subject: String,
    /// What is told once has a key.
    pub(crate) once: Option<String>,
    pub(crate) data: &'a T,
}

/// The text that is sent. Source: Standard Webhooks, "Payload structure".
#[derive(Serialize)]
struct Payload<'a, T> {
    r#type: EventKind,
    timestamp: DateTime<Utc>,
    data: &'a T,
}

/// Whether anybody is told of such events: what an event needs is computed only then.
pub(crate) async fn tells(
    connection: &mut Connection,
    kinds: &[EventKind],
) -> Result<bool, LedgerError> {
    let listening = repo::all_listening(connection).await?;
    Ok(listening.iter().any(|it| kinds.iter().any(|kind| it.wants(*kind))))
}

/// Writes an event for those who want it, in the transaction of the change.
pub(crate) async fn tell<T: Serialize>(
    connection: &mut Connection,
    event: Event<'_, T>,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut listening = repo::listening(connection, event.customer).await?;
    listening.retain(|endpoint| endpoint.wants(event.kind));
    if listening.is_empty() {
        return Ok(());
    }
    let Some(id) = write(connection, &event, at).await? else { return Ok(()) };
    for endpoint in listening {
        delivery::insert_delivery(connection, &endpoint.id, &id, &event.subject, at).await?;
    }
    Ok(())
}

/// Writes a test event for one endpoint. Its id.
pub(super) async fn test(
    connection: &mut Connection,
    webhook: &Webhook,
    at: DateTime<Utc>,
) -> Result<String, LedgerError> {
    /// What a test says.
    #[derive(Serialize)]
    struct Test<'a> {
        webhook: &'a str,
    }
    let event = Event {
        kind: EventKind::Test,
        customer: webhook.customer.as_ref(),
        subject: format!("webhook {}", webhook.id),
        once: None,
        data: &Test { webhook: &webhook.id },
    };
    let id = write(connection, &event, at).await?.unwrap_or_default();
    delivery::insert_delivery(connection, &webhook.id, &id, &event.subject, at).await?;
    Ok(id)
}

/// Writes the event itself. None when it was told before.
async fn write<T: Serialize>(
    connection: &mut Connection,
    event: &Event<'_, T>,
    at: DateTime<Utc>,
) -> Result<Option<String>, LedgerError> {
    let id = public_id("evt_", at)?;
    let payload = Payload { r#type: event.kind, timestamp: at, data: event.data };
    let payload = column::to_json("webhook event", &payload)?;
    let new = repo::insert_event(connection, &id, event, &payload, at).await?;
    Ok(new.then_some(id))
}

/// An endpoint, as far as choosing whom to tell goes.
pub(super) struct Listening {
    pub(super) id: String,
    pub(super) events: Vec<EventKind>,
}

impl Listening {
    fn wants(&self, kind: EventKind) -> bool {
        self.events.is_empty() || self.events.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_kind_is_that_of_its_json() {
        for kind in [
            EventKind::InvoiceDrafted,
            EventKind::InvoiceApproved,
            EventKind::InvoiceFinalized,
            EventKind::InvoicePaid,
            EventKind::InvoiceVoided,
            EventKind::InvoiceCredited,
            EventKind::PeriodPrepared,
            EventKind::PeriodSigned,
            EventKind::PeriodClosed,
            EventKind::PeriodReopened,
            EventKind::LimitWarning,
            EventKind::LimitExhausted,
            EventKind::UsageHeld,
            EventKind::Test,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
