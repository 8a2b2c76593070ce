//! `/api/v1/invoices`: previews and drafts share one computation.

use axum::{Json, extract::State};
use permille_ledger::{Invoice, InvoiceSummary, Listing};
use permille_types::{CustomerId, InvoiceId};
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, Params, Segment, id},
    problem::Problem,
};

/// Which month of whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Month {
    customer: CustomerId,
    period: String,
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
    let id: InvoiceId = id("invoice", &text)?;
    let invoice = billing.ledger.invoice(&id).await?;
    if caller.owns(&invoice.customer.id).is_err() {
        // Not even whose it is may show.
        return Err(Problem::not_found(format!("invoice `{id}` is unknown")));
    }
    Ok(Json(invoice))
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
    let month: Month = body.read().await?;
    Ok(Json(billing.ledger.draft_invoice(&month.customer, &month.period).await?))
}
