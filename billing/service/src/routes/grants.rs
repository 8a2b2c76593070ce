//! `/api/v1/grants`: prepaid credit.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{Grant, Listing, NewGrant};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadInvoices, WriteInvoices},
    billing::Billing,
    input::{Body, ListParams, Params, amount, currency},
    problem::Problem,
};

/// Credit to grant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"customer": "acme", "amount": "100.00", "paid": "90.00", "reason": "top-up of November"}]))]
pub(super) struct New {
    customer: CustomerId,
    /// How much it pays in all, in the customer's currency.
    #[schemars(regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    amount: String,
    /// Currency that both amounts are meant in (ISO 4217): another one than the customer's is
    /// refused.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    currency: Option<String>,
    /// What was paid for it; nothing when absent.
    #[schemars(regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    paid: Option<String>,
    /// Lower pays first.
    #[serde(default)]
    #[schemars(range(max = 100))]
    priority: u32,
    /// First instant at which it pays; now when absent.
    from: Option<DateTime<Utc>>,
    /// First instant at which it pays no more; never when absent.
    expires_at: Option<DateTime<Utc>>,
    /// Only for models that match one of these globs; for all when empty.
    #[serde(default)]
    #[schemars(length(max = 64))]
    models: Vec<String>,
    /// What it is for.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadInvoices>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Grant>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.grants(customer.as_ref(), &page).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    let new = body.read().await?;
    let paid = new.paid.as_deref().map(|text| amount("paid", text)).transpose()?;
    let grant = NewGrant {
        amount: amount("amount", &new.amount)?,
        currency: new.currency.as_deref().map(currency).transpose()?,
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
