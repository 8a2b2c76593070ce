//! `/api/v1/simulate`: what a plan would have made of a month.

use axum::{Json, extract::State};
use permille_ledger::Simulation;
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadMargins},
    billing::Billing,
    input::Body,
    problem::Problem,
};

/// A plan to try on a month.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"toml": "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\nfee = \"99\"\n", "period": "2026-10"}]))]
pub(super) struct Trial {
    /// One `[[plan]]` in TOML.
    toml: String,
    /// Whose month; everyone's who pays in the plan's currency when absent.
    customer: Option<CustomerId>,
    /// A month, such as `2026-10`.
    #[schemars(regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    period: String,
}

pub(super) async fn simulate(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    body: Body<Trial>,
) -> Result<Json<Simulation>, Problem> {
    let Trial { toml, customer, period } = body.read().await?;
    // Every row of the month is read, as for a summary.
    let _turn = billing.turn_to_summarise().await.ok_or_else(|| {
        Problem::busy("another summary or simulation is being made; ask again later")
    })?;
    Ok(Json(billing.ledger.simulate_plan(&toml, customer.as_ref(), &period).await?))
}
