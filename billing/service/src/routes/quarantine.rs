//! `/api/v1/usage/quarantine`: usage that could not be booked when it came, and what became of it.

use axum::{Json, extract::State};
use permille_ledger::{Listing, Page, QuarantineState, Quarantined};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadQuarantine, SettleQuarantine},
    billing::Billing,
    input::{Body, Nothing, OptionalBody, Params, Segment},
    problem::Problem,
};

/// Which payloads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Only those in this state.
    state: Option<QuarantineState>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Why nothing is billed for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"note": "a test of a gateway that was never in service"}]))]
pub(super) struct Dismissal {
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    note: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    _: Caller<ReadQuarantine>,
    Params(query): Params<Query>,
) -> Result<Json<Listing<Quarantined>>, Problem> {
    let page = Page::new(query.cursor, query.limit)?;
    Ok(Json(billing.ledger.quarantined(query.state, &page).await?))
}

pub(super) async fn book(
    State(billing): State<Billing>,
    caller: Caller<SettleQuarantine>,
    Segment(id): Segment,
    body: OptionalBody<Nothing>,
) -> Result<Json<Quarantined>, Problem> {
    let Nothing {} = body.read().await?;
    Ok(Json(billing.book_quarantined(&id, &caller.instruction()?).await?))
}

pub(super) async fn dismiss(
    State(billing): State<Billing>,
    caller: Caller<SettleQuarantine>,
    Segment(id): Segment,
    body: Body<Dismissal>,
) -> Result<Json<Quarantined>, Problem> {
    let Dismissal { note } = body.read().await?;
    Ok(Json(billing.ledger.dismiss_quarantined(&id, &note, &caller.instruction()?).await?))
}
