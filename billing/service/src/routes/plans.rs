//! `/api/v1/plans`: terms of contracts, and which customer has which from when on.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{CustomerPlan, ListedPlan, Listing};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Bearer, Caller, ReadCustomers, ReadPrices, WritePrices, WriteTerms},
    billing::Billing,
    input::{Body, PageParams, Params, Segment, id},
    problem::Problem,
};

/// The plans that were added.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Plans {
    items: Vec<ListedPlan>,
}

/// Plans to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"toml": "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\nfee = \"99\"\n"}]))]
pub(super) struct New {
    /// `[[plan]]` entries in TOML.
    toml: String,
}

/// A plan for a customer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"plan": "team", "from": "2027-01-01T00:00:00Z"}]))]
pub(super) struct Assigned {
    /// Its name or version; `none` for usage at its own prices.
    plan: String,
    /// From when on; from the start of this hour when absent.
    from: Option<DateTime<Utc>>,
}

/// Which plans a customer has had and will have.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CustomerPlans {
    items: Vec<CustomerPlan>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<ListedPlan>>, Problem> {
    let page = params.page()?;
    let items = billing.ledger.plans().await?;
    let items = visible(&billing, &caller, items).await?;
    Ok(Json(page.of(items, |plan| plan.version.to_string())?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Segment(text): Segment,
) -> Result<Json<ListedPlan>, Problem> {
    let plan = billing.ledger.plan(&text).await?;
    let found = visible(&billing, &caller, vec![plan]).await?.pop();
    found.map(Json).ok_or_else(|| Problem::not_found(format!("plan `{text}` is unknown")))
}

/// A plan may be agreed with somebody: a customer sees those that it has.
async fn visible(
    billing: &Billing,
    caller: &Bearer,
    mut plans: Vec<ListedPlan>,
) -> Result<Vec<ListedPlan>, Problem> {
    if let Some(own) = caller.bound_to() {
        let had = billing.ledger.customer_plans(own).await?;
        plans.retain(|plan| had.iter().any(|had| had.version.as_ref() == Some(&plan.version)));
    }
    Ok(plans)
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WritePrices>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Plans>), Problem> {
    let New { toml } = body.read().await?;
    let items = billing.ledger.add_plans(&toml, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(Plans { items })))
}

pub(super) async fn of_customer(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Segment(text): Segment,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<CustomerPlan>>, Problem> {
    let page = params.page()?;
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    let items = billing.ledger.customer_plans(&customer).await?;
    Ok(Json(page.of(items, |plan| plan.from.to_rfc3339())?))
}

pub(super) async fn assign(
    State(billing): State<Billing>,
    caller: Caller<WriteTerms>,
    Segment(text): Segment,
    body: Body<Assigned>,
) -> Result<Json<CustomerPlans>, Problem> {
    let Assigned { plan, from } = body.read().await?;
    let customer: CustomerId = id("customer", &text)?;
    let instruction = caller.instruction()?;
    let items = billing.ledger.assign_plan(&customer, &plan, from, &instruction).await?;
    Ok(Json(CustomerPlans { items }))
}
