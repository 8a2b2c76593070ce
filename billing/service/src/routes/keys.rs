//! `/api/v1/keys`. A secret is in the answer to its creation and nowhere else.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Change, DEFAULT_PROJECT, Key, LimitChanges, Listing, NewKey};
use permille_types::{CustomerId, KeyId, ProjectId};
use serde::Deserialize;
use serde_json::Value;

use super::tokens::with_secret;
use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, Params, Segment, id},
    problem::Problem,
};

/// A key to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    customer: CustomerId,
    project: Option<ProjectId>,
    name: Option<String>,
    rpm: Option<u32>,
    #[serde(default)]
    tpm: Change<u64>,
    #[serde(default)]
    concurrency: Change<u32>,
    #[serde(default)]
    budget: Change<String>,
    #[serde(default)]
    session_budget: Change<String>,
    #[serde(default)]
    warn_percent: Change<u8>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Key>>, Problem> {
    caller.may(Action::ReadKeys)?;
    let page = params.page()?;
    let customer = caller.scope(params.customer)?;
    Ok(Json(billing.ledger.keys(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Key>, Problem> {
    caller.may(Action::ReadKeys)?;
    let key = billing.ledger.key(&id("key", &text)?).await?;
    caller.owns(&key.customer)?;
    Ok(Json(key))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.may(Action::WriteKeys)?;
    let new: New = body.read().await?;
    let project = match new.project {
        Some(project) => project,
        None => id("project", DEFAULT_PROJECT)?,
    };
    let limits = LimitChanges {
        tpm: new.tpm,
        concurrency: new.concurrency,
        budget: new.budget,
        session_budget: new.session_budget,
        warn_percent: new.warn_percent,
        ..LimitChanges::default()
    };
    let new = NewKey { customer: new.customer, project, name: new.name, rpm: new.rpm };
    let created = billing.ledger.create_key_with(new, limits).await?;
    billing.until_gateway_knows().await;
    Ok((StatusCode::CREATED, Json(with_secret(&created.key, &created.secret)?)))
}

pub(super) async fn revoke(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Key>, Problem> {
    caller.may(Action::WriteKeys)?;
    let key: KeyId = id("key", &text)?;
    let revoked = billing.ledger.revoke_key(&key).await?;
    billing.until_gateway_knows().await;
    Ok(Json(revoked))
}
