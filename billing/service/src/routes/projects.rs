//! `/api/v1/projects`.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Listing, NewProject, Project};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadCustomers, WriteCustomers},
    billing::Billing,
    input::{Body, ListParams, Params},
    problem::Problem,
};

/// A project to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"customer": "acme", "name": "Search", "id": "search"}]))]
pub(super) struct New {
    customer: CustomerId,
    /// Its id; made of the name when absent.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,62}$"))]
    id: Option<String>,
    /// Its name, as invoices show it.
    #[schemars(length(min = 1, max = 256))]
    name: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Project>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.projects(customer.as_ref(), &page).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteCustomers>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Project>), Problem> {
    let new = body.read().await?;
    let new = NewProject { customer: new.customer, id: new.id, name: new.name };
    Ok((
        StatusCode::CREATED,
        Json(billing.ledger.create_project_by(new, &caller.instruction()?).await?),
    ))
}
