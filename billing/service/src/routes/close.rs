//! `/api/v1/close/{period}`: the close of a month.

use axum::{Json, extract::State};
use permille_ledger::Close;
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, Segment},
    problem::Problem,
};

/// A signature.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signing {
    /// Why although a check is not in order.
    accept: Option<String>,
}

/// Why a closed month is opened again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reopening {
    reason: String,
}

/// A step that needs no word.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(period): Segment,
) -> Result<Json<Close>, Problem> {
    caller.may(Action::SignClose)?;
    Ok(Json(billing.ledger.close_report(&period).await?))
}

pub(super) async fn prepare(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(period): Segment,
    body: Body,
) -> Result<Json<Close>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Nothing {} = body.read_if_any().await?;
    Ok(Json(billing.ledger.prepare_close(&period, &caller.instruction()?).await?))
}

pub(super) async fn sign(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(period): Segment,
    body: Body,
) -> Result<Json<Close>, Problem> {
    caller.may(Action::SignClose)?;
    let Signing { accept } = body.read_if_any().await?;
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.sign_close(&period, accept.as_deref(), &instruction).await?))
}

pub(super) async fn reopen(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(period): Segment,
    body: Body,
) -> Result<Json<Close>, Problem> {
    caller.may(Action::WriteInvoices)?;
    let Reopening { reason } = body.read().await?;
    Ok(Json(billing.ledger.reopen_period(&period, &reason, &caller.instruction()?).await?))
}
