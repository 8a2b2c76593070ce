//! `/api/v1/grants`: prepaid credit.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{Grant, Listing, NewGrant};
use permille_types::CustomerId;
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, Params, amount},
    problem::Problem,
};

/// Credit to grant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    customer: CustomerId,
    amount: String,
    /// What was paid for it; nothing when absent.
    paid: Option<String>,
    #[serde(default)]
    priority: u32,
    from: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    #[serde(default)]
    models: Vec<String>,
    reason: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Grant>>, Problem> {
    caller.may(Action::ReadInvoices)?;
    let page = params.page()?;
    let customer = caller.scope(params.customer)?;
    Ok(Json(billing.ledger.grants(customer.as_ref(), &page).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    caller.may(Action::WriteInvoices)?;
    let new: New = body.read().await?;
    let paid = new.paid.as_deref().map(|text| amount("paid", text)).transpose()?;
    let grant = NewGrant {
        amount: amount("amount", &new.amount)?,
        paid: paid.unwrap_or_default(),
        priority: new.priority,
        from: new.from,
        expires_at: new.expires_at,
        models: new.models,
        reason: new.reason,
    };
    let instruction = caller.instruction()?;
    let granted = billing.ledger.add_grant(&new.customer, &grant, &instruction).await?;
    Ok((StatusCode::CREATED, Json(granted)))
}
