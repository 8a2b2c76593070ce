//! `/api/v1/invoices`: previews and drafts share one computation; a step of an invoice's life is
//! one call.

use axum::{Json, extract::State, response::IntoResponse};
use http::header;
use permille_ledger::{AuditEntry, Invoice, InvoiceSummary, InvoiceTexts, Listing, RecordEntry};
use permille_types::{CustomerId, InvoiceId};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, PageParams, Params, Segment, amount, id},
    problem::Problem,
};

/// Which month of whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Month {
    customer: CustomerId,
    period: String,
}

/// A month to draft, and what its invoice says instead of the customer's own texts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    customer: CustomerId,
    period: String,
    purchase_order: Option<String>,
    notes: Option<String>,
}

/// A step that needs no word.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What whoever approves a draft has seen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// The draft's total, a decimal; any when absent.
    expected_total: Option<String>,
}

/// Money that has come, or that went back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payment {
    /// A decimal; all that is due, or is to be paid back, when absent.
    amount: Option<String>,
    reference: Option<String>,
}

impl Payment {
    fn amount(&self) -> Result<Option<rust_decimal::Decimal>, Problem> {
        self.amount.as_deref().map(|text| amount("amount", text)).transpose()
    }
}

/// Why an invoice is of no effect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Voiding {
    reason: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<InvoiceSummary>>, Problem> {
    caller.may(Action::ReadInvoices)?;
    let page = params.page()?;
    let customer = caller.scope(params.customer)?;
    Ok(Json(billing.ledger.invoices(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::ReadInvoices)?;
    Ok(Json(visible(&billing, &caller, &text).await?))
}

/// The document as it was issued: the stored bytes themselves.
pub(super) async fn document(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Action::ReadInvoices)?;
    visible(&billing, &caller, &text).await?;
    let document = billing.ledger.invoice_document(&id("invoice", &text)?).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document))
}

/// The records that the invoice was made of.
pub(super) async fn records(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<RecordEntry>>, Problem> {
    caller.may(Action::ReadInvoices)?;
    visible(&billing, &caller, &text).await?;
    let page = params.page()?;
    Ok(Json(billing.ledger.invoice_records(&id("invoice", &text)?, &page).await?))
}

/// The invoice, if the caller may see it.
pub(super) async fn visible(
    billing: &Billing,
    caller: &Caller,
    text: &str,
) -> Result<Invoice, Problem> {
    let id: InvoiceId = id("invoice", text)?;
    let invoice = billing.ledger.invoice(&id).await?;
    if caller.owns(&invoice.customer.id).is_err() {
        // Not even whose it is may show.
        return Err(Problem::not_found(format!("invoice `{id}` is unknown")));
    }
    Ok(invoice)
}

/// Everything that was done to an invoice.
#[derive(Debug, Serialize)]
pub(super) struct History {
    items: Vec<AuditEntry>,
}

pub(super) async fn history(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<History>, Problem> {
    caller.may(Action::ReadAudit)?;
    let items = billing.ledger.invoice_history(&id("invoice", &text)?).await?;
    Ok(Json(History { items }))
}

pub(super) async fn preview(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::ReadInvoices)?;
    let month: Month = body.read().await?;
    caller.owns(&month.customer)?;
    Ok(Json(billing.ledger.preview_invoice(&month.customer, &month.period).await?))
}

pub(super) async fn draft(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Draft { customer, period, purchase_order, notes } = body.read().await?;
    let texts = InvoiceTexts { purchase_order, notes };
    let instruction = caller.instruction()?;
    let ledger = &billing.ledger;
    Ok(Json(ledger.draft_invoice_saying(&customer, &period, texts, &instruction).await?))
}

pub(super) async fn approve(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Approval { expected_total } = body.read_if_any().await?;
    let expected = expected_total.as_deref().map(|text| amount("expected_total", text));
    let (id, expected) = (id("invoice", &text)?, expected.transpose()?);
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.approve_invoice_over(&id, expected, &instruction).await?))
}

pub(super) async fn finalize(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Nothing {} = body.read_if_any().await?;
    let id = id("invoice", &text)?;
    Ok(Json(billing.ledger.finalize_invoice(&id, &caller.instruction()?).await?))
}

pub(super) async fn pay(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let payment: Payment = body.read_if_any().await?;
    let (id, amount) = (id("invoice", &text)?, payment.amount()?);
    let (reference, instruction) = (payment.reference.as_deref(), caller.instruction()?);
    let ledger = &billing.ledger;
    Ok(Json(ledger.pay_invoice_in_part(&id, amount, reference, &instruction).await?))
}

pub(super) async fn refund(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let payment: Payment = body.read_if_any().await?;
    let (id, amount) = (id("invoice", &text)?, payment.amount()?);
    let (reference, instruction) = (payment.reference.as_deref(), caller.instruction()?);
    Ok(Json(billing.ledger.refund_invoice(&id, amount, reference, &instruction).await?))
}

pub(super) async fn void(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Invoice>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Voiding { reason } = body.read().await?;
    let id = id("invoice", &text)?;
    Ok(Json(billing.ledger.void_invoice(&id, &reason, &caller.instruction()?).await?))
}
