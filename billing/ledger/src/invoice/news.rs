//! What webhooks are told of invoices.

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, DocumentNumber, InvoiceId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Invoice, InvoiceState, state::Step};
use crate::{
    CreditNote, LedgerError,
    store::Connection,
    webhook::{self, Event, EventKind},
};

/// An invoice, as events tell of it: enough to know whether to ask for the whole.
#[derive(Serialize, JsonSchema)]
struct News<'a> {
    invoice: Option<&'a InvoiceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<&'a DocumentNumber>,
    customer: &'a CustomerId,
    period: &'a str,
    /// Whether it is over the usage of its month so far.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interim: bool,
    state: InvoiceState,
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    currency: Currency,
    total: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    credit_note: Option<CreditNews<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct CreditNews<'a> {
    id: &'a InvoiceId,
    number: &'a DocumentNumber,
    gross: Decimal,
    reason: &'a str,
}

/// Tells of a step in an invoice's life.
pub(super) async fn tell_step(
    connection: &mut Connection,
    step: Step,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let kind = match step {
        Step::Approve { .. } => EventKind::InvoiceApproved,
        Step::Finalize => EventKind::InvoiceFinalized,
        Step::Pay => EventKind::InvoicePaid,
        Step::Void => EventKind::InvoiceVoided,
    };
    tell(connection, kind, invoice, None, at).await
}

/// Tells of a draft.
pub(super) async fn tell_draft(
    connection: &mut Connection,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    tell(connection, EventKind::InvoiceDrafted, invoice, None, at).await
}

/// Tells of a credit note of `invoice`.
pub(crate) async fn tell_credit(
    connection: &mut Connection,
    invoice: &Invoice,
    note: &CreditNote,
) -> Result<(), LedgerError> {
    let credit =
        CreditNews { id: &note.id, number: &note.number, gross: note.gross, reason: &note.reason };
    tell(connection, EventKind::InvoiceCredited, invoice, Some(credit), note.issued_at).await
}

async fn tell(
    connection: &mut Connection,
    kind: EventKind,
    invoice: &Invoice,
    credit_note: Option<CreditNews<'_>>,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let news = News {
        invoice: invoice.id.as_ref(),
        number: invoice.number.as_ref(),
        customer: &invoice.customer.id,
        period: &invoice.period.label,
        interim: invoice.interim,
        state: invoice.state,
        currency: invoice.currency,
        total: invoice.total,
        credit_note,
    };
    let id = invoice.id.as_ref().map_or("", InvoiceId::as_str);
    let event = Event {
        kind,
        customer: Some(&invoice.customer.id),
        subject: format!("invoice {id}"),
        once: None,
        data: &news,
    };
    webhook::tell(connection, event, at).await
}
