//! `/api/v1/plans`: terms of contracts, and which customer has which from when on.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{CustomerPlan, ListedPlan};
use permille_types::CustomerId;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, Segment, id},
    problem::Problem,
};

/// Plans: there are few, so a list has one page.
#[derive(Debug, Serialize)]
pub(super) struct Plans {
    items: Vec<ListedPlan>,
}

/// Plans to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    /// `[[plan]]` entries in TOML.
    toml: String,
}

/// A plan for a customer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assigned {
    /// Its name or version; `none` for usage at its own prices.
    plan: String,
    /// From when on; from the start of this hour when absent.
    from: Option<DateTime<Utc>>,
}

/// Which plans a customer has had and will have.
#[derive(Debug, Serialize)]
pub(super) struct CustomerPlans {
    items: Vec<CustomerPlan>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
) -> Result<Json<Plans>, Problem> {
    caller.may(Action::ReadPrices)?;
    let items = billing.ledger.plans().await?;
    Ok(Json(Plans { items: visible(&billing, &caller, items).await? }))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<ListedPlan>, Problem> {
    caller.may(Action::ReadPrices)?;
    let plan = billing.ledger.plan(&text).await?;
    let found = visible(&billing, &caller, vec![plan]).await?.pop();
    found.map(Json).ok_or_else(|| Problem::not_found(format!("plan `{text}` is unknown")))
}

/// A plan may be agreed with somebody: a customer sees those that it has.
async fn visible(
    billing: &Billing,
    caller: &Caller,
    mut plans: Vec<ListedPlan>,
) -> Result<Vec<ListedPlan>, Problem> {
    if let Some(own) = caller.scope(None)? {
        let had = billing.ledger.customer_plans(&own).await?;
        plans.retain(|plan| had.iter().any(|had| had.version.as_ref() == Some(&plan.version)));
    }
    Ok(plans)
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Plans>), Problem> {
    caller.may(Action::WritePrices)?;
    let New { toml } = body.read().await?;
    let items = billing.ledger.add_plans(&toml, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(Plans { items })))
}

pub(super) async fn of_customer(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<CustomerPlans>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    Ok(Json(CustomerPlans { items: billing.ledger.customer_plans(&customer).await? }))
}

pub(super) async fn assign(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<CustomerPlans>, Problem> {
    caller.may(Action::WriteTerms)?;
    let Assigned { plan, from } = body.read().await?;
    let customer: CustomerId = id("customer", &text)?;
    let instruction = caller.instruction()?;
    let items = billing.ledger.assign_plan(&customer, &plan, from, &instruction).await?;
    Ok(Json(CustomerPlans { items }))
}
