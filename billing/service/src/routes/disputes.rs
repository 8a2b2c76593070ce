//! `/api/v1/disputes`: what somebody holds against an issued invoice, and the answer.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Dispute, Listing, NewDispute, Resolution};
use permille_types::{DocumentNumber, InvoiceId, RequestId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::invoices;
use crate::{
    access::{Bearer, Caller, OpenDisputes, ReadInvoices, WriteInvoices},
    billing::Billing,
    input::{Body, ListParams, Params, Segment},
    problem::Problem,
};

/// What is wrong with an invoice.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"invoice": "INV-2026-000001", "line": 1, "reason": "we cancelled that run"}]))]
pub(super) struct New {
    /// Its id or number.
    invoice: InvoiceId,
    /// Place of a line on it, from 1; the whole when absent.
    #[schemars(range(min = 1))]
    line: Option<usize>,
    /// A request that it bills.
    request: Option<RequestId>,
    /// What is wrong.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

/// The answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"accepted": true, "note": "the run was cancelled", "credit_note": "CN-2026-000001"}]))]
pub(super) struct Answer {
    /// Whether the dispute is right.
    accepted: bool,
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    note: String,
    /// The credit note of the invoice that takes back what was wrong; of an accepted one only.
    credit_note: Option<DocumentNumber>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Dispute>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.disputes(customer.as_ref(), &page).await?))
}

pub(super) async fn open(
    State(billing): State<Billing>,
    caller: Caller<OpenDisputes>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Dispute>), Problem> {
    let New { invoice, line, request, reason } = body.read().await?;
    // Not even that it exists may show to another customer.
    invoices::visible(&billing, &caller, invoice.as_str()).await?;
    let new = NewDispute { line, request, reason };
    let opened = billing.ledger.open_dispute(&invoice, &new, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(opened)))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Segment(id): Segment,
) -> Result<Json<Dispute>, Problem> {
    Ok(Json(visible(&billing, &caller, &id).await?))
}

pub(super) async fn resolve(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(id): Segment,
    body: Body<Answer>,
) -> Result<Json<Dispute>, Problem> {
    let Answer { accepted, note, credit_note } = body.read().await?;
    let answer = Resolution { is_accepted: accepted, note, credit_note };
    Ok(Json(billing.ledger.resolve_dispute(&id, &answer, &caller.instruction()?).await?))
}

/// The dispute, if the caller may see it.
async fn visible(billing: &Billing, caller: &Bearer, id: &str) -> Result<Dispute, Problem> {
    let dispute = billing.ledger.dispute(id).await?;
    if caller.owns(&dispute.customer).is_err() {
        return Err(Problem::not_found(format!("dispute `{id}` is unknown")));
    }
    Ok(dispute)
}
