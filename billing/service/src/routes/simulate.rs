//! `/api/v1/simulate`: what a plan would have made of a month.

use axum::{Json, extract::State};
use permille_ledger::{Simulation, Step, Trial};
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
pub(super) struct Trying {
    /// One `[[plan]]` in TOML.
    toml: String,
    /// Whose month; everyone's who pays in the plan's currency when absent.
    customer: Option<CustomerId>,
    /// A month, such as `2026-10`.
    #[schemars(regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    period: String,
    /// Most customers of this step; everyone at once when this and `cursor` are absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the step before.
    cursor: Option<String>,
}

pub(super) async fn simulate(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    body: Body<Trying>,
) -> Result<Json<Simulation>, Problem> {
    let Trying { toml, customer, period, limit, cursor } = body.read().await?;
    let in_steps = limit.is_some() || cursor.is_some();
    let step = in_steps.then(|| Step::new(cursor, limit)).transpose()?;
    let customer = customer.as_ref();
    let trial = Trial { customer, step, ..Trial::new(&toml, &period) };
    // Every row of the month is read, as for a summary.
    let _turn = billing.turn_to_summarise().await.ok_or_else(|| {
        Problem::busy("another summary or simulation is being made; ask again later")
    })?;
    Ok(Json(billing.ledger.simulate_plan(&trial).await?))
}
