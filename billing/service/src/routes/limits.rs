//! Limits of customers, projects and keys: `/api/v1/{noun}/{id}/limits`.

use axum::{Json, extract::State};
use permille_ledger::{LimitChanges, Limited, Limits};
use permille_types::{CustomerId, KeyId};

use crate::{
    access::{Bearer, Caller, ReadCustomers, ReadKeys, WriteCustomers, WriteKeys},
    billing::Billing,
    input::{Body, Segment, Segments, id},
    problem::Problem,
};

pub(super) async fn customer(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Segment(text): Segment,
) -> Result<Json<Limits>, Problem> {
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    Ok(Json(billing.ledger.limits(&Limited::Customer(customer)).await?))
}

pub(super) async fn set_customer(
    State(billing): State<Billing>,
    caller: Caller<WriteCustomers>,
    Segment(text): Segment,
    body: Body<LimitChanges>,
) -> Result<Json<Limits>, Problem> {
    let whose = Limited::Customer(id("customer", &text)?);
    change(&billing, &caller, &whose, body).await
}

pub(super) async fn project(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Segments(customer, text): Segments,
) -> Result<Json<Limits>, Problem> {
    let customer: CustomerId = id("customer", &customer)?;
    caller.owns(&customer)?;
    let whose = Limited::Project(customer, id("project", &text)?);
    Ok(Json(billing.ledger.limits(&whose).await?))
}

pub(super) async fn set_project(
    State(billing): State<Billing>,
    caller: Caller<WriteCustomers>,
    Segments(customer, text): Segments,
    body: Body<LimitChanges>,
) -> Result<Json<Limits>, Problem> {
    let whose = Limited::Project(id("customer", &customer)?, id("project", &text)?);
    change(&billing, &caller, &whose, body).await
}

pub(super) async fn key(
    State(billing): State<Billing>,
    caller: Caller<ReadKeys>,
    Segment(text): Segment,
) -> Result<Json<Limits>, Problem> {
    let key: KeyId = id("key", &text)?;
    caller.owns(&billing.ledger.key(&key).await?.customer)?;
    Ok(Json(billing.ledger.limits(&Limited::Key(key)).await?))
}

pub(super) async fn set_key(
    State(billing): State<Billing>,
    caller: Caller<WriteKeys>,
    Segment(text): Segment,
    body: Body<LimitChanges>,
) -> Result<Json<Limits>, Problem> {
    change(&billing, &caller, &Limited::Key(id("key", &text)?), body).await
}

async fn change(
    billing: &Billing,
    caller: &Bearer,
    whose: &Limited,
    body: Body<LimitChanges>,
) -> Result<Json<Limits>, Problem> {
    let changes = body.read().await?;
    let instruction = caller.instruction()?;
    let limits = billing.ledger.change_limits(whose, changes, &instruction).await?;
    billing.until_gateway_knows().await;
    Ok(Json(limits))
}
