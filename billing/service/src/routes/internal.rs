//! `/internal/v1`: what gateways in other processes ask of billing.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use permille_types::{
    Ack, BATCH_MEDIA_TYPE, Batch, ControlPlane, CustomerId, Intake, IntakeReply, SessionId,
    SpendQuery, Spent, StoredReply, TurnReply, WIRE_VERSION,
};
use serde::Deserialize;

use crate::{
    access::{Caller, ServeGateways},
    billing::Billing,
    input::{Body, INTAKE_BYTES_MAX, Params},
    problem::Problem,
};

/// The version that the gateway has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    known: Option<u64>,
}

/// Which session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSession {
    customer: CustomerId,
    session: SessionId,
}

/// Which response.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfResponse {
    customer: CustomerId,
    id: String,
}

pub(super) async fn intake(
    State(billing): State<Billing>,
    _: Caller<ServeGateways>,
    body: Body<Batch>,
) -> Result<Json<IntakeReply>, Problem> {
    let body = body.bytes(BATCH_MEDIA_TYPE, INTAKE_BYTES_MAX).await?;
    let batch = Batch::from_wire(body).map_err(|cause| Problem::invalid(cause.to_string()))?;
    let Ack { sequence, quarantined } = billing.accept(batch).await?;
    Ok(Json(IntakeReply { version: WIRE_VERSION, sequence, quarantined }))
}

pub(super) async fn snapshot(
    State(billing): State<Billing>,
    _: Caller<ServeGateways>,
    Params(Known { known }): Params<Known>,
) -> Result<Response, Problem> {
    Ok(match ControlPlane::snapshot(&billing, known).await? {
        Some(snapshot) => Json(snapshot).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

pub(super) async fn turn(
    State(billing): State<Billing>,
    _: Caller<ServeGateways>,
    Params(OfSession { customer, session }): Params<OfSession>,
) -> Result<Json<TurnReply>, Problem> {
    let turn = ControlPlane::last_turn(&billing, &customer, &session).await?;
    Ok(Json(TurnReply { version: WIRE_VERSION, turn }))
}

pub(super) async fn stored_response(
    State(billing): State<Billing>,
    _: Caller<ServeGateways>,
    Params(OfResponse { customer, id }): Params<OfResponse>,
) -> Result<Json<StoredReply>, Problem> {
    let response = ControlPlane::stored_response(&billing, &customer, &id).await?;
    Ok(Json(StoredReply { version: WIRE_VERSION, response }))
}

pub(super) async fn spent(
    State(billing): State<Billing>,
    _: Caller<ServeGateways>,
    body: Body<SpendQuery>,
) -> Result<Json<Spent>, Problem> {
    let query = body.read().await?;
    Ok(Json(ControlPlane::spent(&billing, &query).await?))
}
