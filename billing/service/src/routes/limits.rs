//! Limits of customers, projects and keys: `/api/v1/{noun}/{id}/limits`.

use axum::{
    Json,
    extract::{Path, State},
};
use permille_ledger::{LimitChanges, Limited, Limits};
use permille_types::{CustomerId, KeyId};

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, Segment, id},
    problem::Problem,
};

pub(super) async fn customer(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    Ok(Json(billing.ledger.limits(&Limited::Customer(customer)).await?))
}

pub(super) async fn set_customer(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::WriteCustomers)?;
    let whose = Limited::Customer(id("customer", &text)?);
    change(&billing, &caller, &whose, body).await
}

pub(super) async fn project(
    State(billing): State<Billing>,
    caller: Caller,
    Path((customer, text)): Path<(String, String)>,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let customer: CustomerId = id("customer", &customer)?;
    caller.owns(&customer)?;
    let whose = Limited::Project(customer, id("project", &text)?);
    Ok(Json(billing.ledger.limits(&whose).await?))
}

pub(super) async fn set_project(
    State(billing): State<Billing>,
    caller: Caller,
    Path((customer, text)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::WriteCustomers)?;
    let whose = Limited::Project(id("customer", &customer)?, id("project", &text)?);
    change(&billing, &caller, &whose, body).await
}

pub(super) async fn key(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::ReadKeys)?;
    let key: KeyId = id("key", &text)?;
    caller.owns(&billing.ledger.key(&key).await?.customer)?;
    Ok(Json(billing.ledger.limits(&Limited::Key(key)).await?))
}

pub(super) async fn set_key(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<Limits>, Problem> {
    caller.may(Action::WriteKeys)?;
    change(&billing, &caller, &Limited::Key(id("key", &text)?), body).await
}

async fn change(
    billing: &Billing,
    caller: &Caller,
    whose: &Limited,
    body: Body,
) -> Result<Json<Limits>, Problem> {
    let changes: LimitChanges = body.read().await?;
    let instruction = caller.instruction()?;
    let limits = billing.ledger.change_limits(whose, changes, &instruction).await?;
    billing.until_gateway_knows().await;
    Ok(Json(limits))
}
