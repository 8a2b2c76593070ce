//! `/api/v1/charges`: prices of the sums of months, for every role that sees prices; changes, for
//! finance.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::{ListedCharge, Listing};
use permille_types::PriceVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Caller, ReadPrices, WritePrices},
    billing::Billing,
    input::{Body, PageParams, Params, Segment, id},
    problem::Problem,
};

/// The charges that were added.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Charges {
    items: Vec<ListedCharge>,
}

/// Charges to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"toml": "[[charge]]\nname = \"tokens\"\nkind = \"graduated\"\ncurrency = \"USD\"\nfrom = 2027-01-01T00:00:00Z\ntiers = [{ up_to = \"5000\", unit = \"7\" }, { unit = \"6\" }]\n"}]))]
pub(super) struct New {
    /// `[[charge]]` entries in TOML.
    toml: String,
}

/// The end of a charge.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"until": "2027-01-01T00:00:00Z"}]))]
pub(super) struct End {
    /// It prices months that begin before.
    until: DateTime<Utc>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<ListedCharge>>, Problem> {
    let page = params.page()?;
    let items = billing.ledger.charges(caller.bound_to()).await?;
    Ok(Json(page.of(items, |charge| charge.version.to_string())?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Segment(text): Segment,
) -> Result<Json<ListedCharge>, Problem> {
    let version: PriceVersion = id("charge", &text)?;
    let charge = billing.ledger.charge(&version).await?;
    if charge.customer.as_ref().is_some_and(|whose| caller.owns(whose).is_err()) {
        return Err(Problem::not_found(format!("charge `{version}` is unknown")));
    }
    Ok(Json(charge))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WritePrices>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Charges>), Problem> {
    let New { toml } = body.read().await?;
    let items = billing.ledger.add_charges(&toml, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(Charges { items })))
}

pub(super) async fn end(
    State(billing): State<Billing>,
    caller: Caller<WritePrices>,
    Segment(text): Segment,
    body: Body<End>,
) -> Result<Json<ListedCharge>, Problem> {
    let End { until } = body.read().await?;
    let version: PriceVersion = id("charge", &text)?;
    Ok(Json(billing.ledger.end_charge(&version, until, &caller.instruction()?).await?))
}
