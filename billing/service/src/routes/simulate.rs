//! `/api/v1/simulate`: what a plan would have made of a month.

use axum::{Json, extract::State};
use permille_ledger::Simulation;
use permille_types::CustomerId;
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::Body,
    problem::Problem,
};

/// A plan to try on a month.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    /// One `[[plan]]` in TOML.
    toml: String,
    /// Whose month; everyone's who pays in the plan's currency when absent.
    customer: Option<CustomerId>,
    period: String,
}

pub(super) async fn simulate(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<Json<Simulation>, Problem> {
    caller.may(Action::ReadMargins)?;
    let Trial { toml, customer, period } = body.read().await?;
    Ok(Json(billing.ledger.simulate_plan(&toml, customer.as_ref(), &period).await?))
}
