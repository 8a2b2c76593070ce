//! `/api/v1/projects`.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Listing, NewProject, Project};
use permille_types::CustomerId;
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, Params},
    problem::Problem,
};

/// A project to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    customer: CustomerId,
    id: Option<String>,
    name: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Project>>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let page = params.page()?;
    let customer = caller.scope(params.customer)?;
    Ok(Json(billing.ledger.projects(customer.as_ref(), &page).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Project>), Problem> {
    caller.may(Action::WriteCustomers)?;
    let new: New = body.read().await?;
    let new = NewProject { customer: new.customer, id: new.id, name: new.name };
    Ok((StatusCode::CREATED, Json(billing.ledger.create_project(new).await?)))
}
