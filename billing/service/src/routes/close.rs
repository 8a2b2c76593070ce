//! `/api/v1/close/{period}`: the close of a month.

use axum::{Json, extract::State};
use permille_ledger::{Close, CloseStep, Step};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, SignClose, WriteInvoices},
    billing::Billing,
    input::{Body, Nothing, OptionalBody, Segment},
    problem::Problem,
};

/// A signature.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"accept": "the open invoice is disputed"}]))]
pub(super) struct Signing {
    /// Why although a check is not in order.
    #[schemars(length(min = 1, max = 1000))]
    accept: Option<String>,
}

/// Why a closed month is opened again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"reason": "a provider sent a correction"}]))]
pub(super) struct Reopening {
    /// Why.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

pub(super) async fn show(
    State(billing): State<Billing>,
    _: Caller<SignClose>,
    Segment(period): Segment,
) -> Result<Json<Close>, Problem> {
    Ok(Json(billing.ledger.close_report(&period).await?))
}

pub(super) async fn prepare(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(period): Segment,
    body: OptionalBody<Nothing>,
) -> Result<Json<Close>, Problem> {
    let Nothing {} = body.read().await?;
    Ok(Json(billing.ledger.prepare_close(&period, &caller.instruction()?).await?))
}

/// Which customers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"limit": 100}]))]
pub(super) struct Drafting {
    /// Most customers of this step, 1000 when absent; less where they take long.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the step before; the first step when absent.
    cursor: Option<String>,
}

pub(super) async fn draft(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(period): Segment,
    body: OptionalBody<Drafting>,
) -> Result<Json<CloseStep>, Problem> {
    let Drafting { limit, cursor } = body.read().await?;
    let step = Step::new(cursor, limit)?;
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.prepare_close_step(&period, &step, &instruction).await?))
}

pub(super) async fn sign(
    State(billing): State<Billing>,
    caller: Caller<SignClose>,
    Segment(period): Segment,
    body: OptionalBody<Signing>,
) -> Result<Json<Close>, Problem> {
    let Signing { accept } = body.read().await?;
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.sign_close(&period, accept.as_deref(), &instruction).await?))
}

pub(super) async fn reopen(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(period): Segment,
    body: Body<Reopening>,
) -> Result<Json<Close>, Problem> {
    let Reopening { reason } = body.read().await?;
    Ok(Json(billing.ledger.reopen_period(&period, &reason, &caller.instruction()?).await?))
}
