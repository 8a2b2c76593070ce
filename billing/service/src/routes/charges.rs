//! `/api/v1/charges`: prices of the sums of months, for every role that sees prices; changes, for
//! finance.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use permille_ledger::ListedCharge;
use permille_types::PriceVersion;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, Segment, id},
    problem::Problem,
};

/// Charges: there are few, so a list has one page.
#[derive(Debug, Serialize)]
pub(super) struct Charges {
    items: Vec<ListedCharge>,
}

/// Charges to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    /// `[[charge]]` entries in TOML.
    toml: String,
}

/// The end of a charge.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    until: DateTime<Utc>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
) -> Result<Json<Charges>, Problem> {
    caller.may(Action::ReadPrices)?;
    let items = billing.ledger.charges(caller.scope(None)?.as_ref()).await?;
    Ok(Json(Charges { items }))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<ListedCharge>, Problem> {
    caller.may(Action::ReadPrices)?;
    let version: PriceVersion = id("charge", &text)?;
    let charge = billing.ledger.charge(&version).await?;
    if charge.customer.as_ref().is_some_and(|whose| caller.owns(whose).is_err()) {
        return Err(Problem::not_found(format!("charge `{version}` is unknown")));
    }
    Ok(Json(charge))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Charges>), Problem> {
    caller.may(Action::WritePrices)?;
    let New { toml } = body.read().await?;
    let items = billing.ledger.add_charges(&toml, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(Charges { items })))
}

pub(super) async fn end(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    body: Body,
) -> Result<Json<ListedCharge>, Problem> {
    caller.may(Action::WritePrices)?;
    let End { until } = body.read().await?;
    let version: PriceVersion = id("charge", &text)?;
    Ok(Json(billing.ledger.end_charge(&version, until, &caller.instruction()?).await?))
}
