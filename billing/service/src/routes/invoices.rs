//! `/api/v1/invoices`: previews and drafts share one computation; a step of an invoice's life is
//! one call.

use axum::{Json, extract::State};
use chrono::NaiveDate;
use permille_ledger::{
    AuditEntry, Invoice, InvoiceSummary, InvoiceTexts, Listing, NewPayment, RecordEntry, SeenTotal,
};
use permille_types::{CustomerId, InvoiceId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Bearer, Caller, ReadAudit, ReadInvoices, WriteInvoices},
    billing::Billing,
    input::{
        Body, ListParams, Nothing, OptionalBody, PageParams, Params, Segment, amount, currency, id,
        in_order,
    },
    output::Issued,
    problem::Problem,
};

/// Which month of whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"customer": "acme", "period": "2026-10"}]))]
pub(super) struct Month {
    /// Whose.
    customer: CustomerId,
    /// The month, by their own calendar.
    #[schemars(regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    period: String,
    /// Only what of the running month's usage is not billed yet, as an interim invoice would.
    #[serde(default)]
    interim: bool,
}

/// A month to draft, and what its invoice says instead of the customer's own texts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"customer": "acme", "period": "2026-10", "purchase_order": "PO-2026-7"}]))]
pub(super) struct Draft {
    /// Whose.
    customer: CustomerId,
    /// The month, by their own calendar.
    #[schemars(regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    period: String,
    /// Only what of the running month's usage is not billed yet, before the month ends.
    #[serde(default)]
    interim: bool,
    /// Their purchase order, instead of the customer's own.
    #[schemars(length(max = 256))]
    purchase_order: Option<String>,
    /// What else it says, in lines.
    #[schemars(length(max = 2000))]
    notes: Option<String>,
}

/// What whoever approves a draft has seen.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"expected_total": "1234.56"}]))]
pub(super) struct Approval {
    /// The draft's total, a decimal; any when absent.
    expected_total: Option<String>,
    /// Currency that the amount is meant in (ISO 4217): another one than the draft's is refused.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    currency: Option<String>,
}

/// Money that has come, or that went back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"amount": "100.00", "reference": "bank 0017", "date": "2026-11-03"}]))]
pub(super) struct Payment {
    /// A decimal; all that is due, or is to be paid back, when absent.
    amount: Option<String>,
    /// Currency that the amount is meant in (ISO 4217): another one than the invoice's is refused.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    currency: Option<String>,
    /// The payment's own reference: the same one on the same invoice is the same payment, which
    /// is booked once.
    #[schemars(length(min = 1, max = 1000))]
    reference: Option<String>,
    /// The day of the payment at the bank.
    date: Option<NaiveDate>,
}

impl Payment {
    fn read(&self) -> Result<NewPayment<'_>, Problem> {
        let amount = self.amount.as_deref().map(|text| amount("amount", text)).transpose()?;
        let currency = self.currency.as_deref().map(currency).transpose()?;
        let reference = self.reference.as_deref();
        Ok(NewPayment { amount, currency, reference, date: self.date })
    }
}

/// Why an invoice is of no effect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"reason": "billed to the wrong customer"}]))]
pub(super) struct Voiding {
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<InvoiceSummary>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.invoices(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
) -> Result<Json<Invoice>, Problem> {
    Ok(Json(visible(&billing, &caller, &text).await?))
}

/// The document as it was issued: the stored bytes themselves.
pub(super) async fn document(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
) -> Result<Issued<Invoice>, Problem> {
    visible(&billing, &caller, &text).await?;
    let document = billing.ledger.invoice_document(&id("invoice", &text)?).await?;
    Ok(Issued::new(document))
}

/// The records that the invoice was made of.
pub(super) async fn records(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(text): Segment,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<RecordEntry>>, Problem> {
    visible(&billing, &caller, &text).await?;
    let page = params.page()?;
    Ok(Json(billing.ledger.invoice_records(&id("invoice", &text)?, &page).await?))
}

/// The invoice, if the caller may see it.
pub(super) async fn visible(
    billing: &Billing,
    caller: &Bearer,
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
pub(super) async fn history(
    State(billing): State<Billing>,
    _: Caller<ReadAudit>,
    Segment(text): Segment,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<AuditEntry>>, Problem> {
    let page = params.page()?;
    let items = billing.ledger.invoice_history(&id("invoice", &text)?).await?;
    Ok(Json(in_order(&page, items)?))
}

pub(super) async fn preview(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    body: Body<Month>,
) -> Result<Json<Invoice>, Problem> {
    let month = body.read().await?;
    caller.owns(&month.customer)?;
    let (ledger, Month { customer, period, interim }) = (&billing.ledger, &month);
    Ok(Json(if *interim {
        ledger.preview_interim(customer, period).await?
    } else {
        ledger.preview_invoice(customer, period).await?
    }))
}

pub(super) async fn draft(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    body: Body<Draft>,
) -> Result<Json<Invoice>, Problem> {
    let Draft { customer, period, interim, purchase_order, notes } = body.read().await?;
    let texts = InvoiceTexts { purchase_order, notes };
    let instruction = caller.instruction()?;
    let ledger = &billing.ledger;
    Ok(Json(if interim {
        ledger.draft_interim(&customer, &period, texts, &instruction).await?
    } else {
        ledger.draft_invoice_saying(&customer, &period, texts, &instruction).await?
    }))
}

pub(super) async fn approve(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: OptionalBody<Approval>,
) -> Result<Json<Invoice>, Problem> {
    let Approval { expected_total, currency: code } = body.read().await?;
    let expected = expected_total.as_deref().map(|text| amount("expected_total", text));
    let currency = code.as_deref().map(currency).transpose()?;
    let expected = expected.transpose()?.map(|amount| SeenTotal { amount, currency });
    if expected.is_none() && currency.is_some() {
        return Err(Problem::invalid("currency stands alone; accepted: beside `expected_total`"));
    }
    let id = id("invoice", &text)?;
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.approve_invoice_over(&id, expected, &instruction).await?))
}

pub(super) async fn finalize(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: OptionalBody<Nothing>,
) -> Result<Json<Invoice>, Problem> {
    let Nothing {} = body.read().await?;
    let id = id("invoice", &text)?;
    Ok(Json(billing.ledger.finalize_invoice(&id, &caller.instruction()?).await?))
}

pub(super) async fn pay(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: OptionalBody<Payment>,
) -> Result<Json<Invoice>, Problem> {
    let payment: Payment = body.read().await?;
    let (id, instruction) = (id("invoice", &text)?, caller.instruction()?);
    let ledger = &billing.ledger;
    Ok(Json(ledger.pay_invoice_in_part(&id, &payment.read()?, &instruction).await?))
}

pub(super) async fn refund(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: OptionalBody<Payment>,
) -> Result<Json<Invoice>, Problem> {
    let payment: Payment = body.read().await?;
    let (id, instruction) = (id("invoice", &text)?, caller.instruction()?);
    Ok(Json(billing.ledger.refund_invoice(&id, &payment.read()?, &instruction).await?))
}

pub(super) async fn void(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(text): Segment,
    body: Body<Voiding>,
) -> Result<Json<Invoice>, Problem> {
    let Voiding { reason } = body.read().await?;
    let id = id("invoice", &text)?;
    Ok(Json(billing.ledger.void_invoice(&id, &reason, &caller.instruction()?).await?))
}
