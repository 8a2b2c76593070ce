//! `/api/v1/keys`. A secret is in the answer to its creation and nowhere else.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Change, DEFAULT_PROJECT, Key, LimitChanges, Listing, NewKey};
use permille_types::{CustomerId, KeyId, ProjectId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadKeys, WriteKeys},
    billing::Billing,
    input::{Body, ListParams, Params, Segment, id},
    output::WithSecret,
    problem::Problem,
};

/// A key to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"customer": "acme", "project": "search", "rpm": 600, "budget": "50 CNY/month"}]))]
pub(super) struct New {
    customer: CustomerId,
    /// Its cost centre; `default` when absent.
    project: Option<ProjectId>,
    /// What its owner calls it.
    #[schemars(length(min = 1, max = 256))]
    name: Option<String>,
    /// Requests per minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    rpm: Option<u32>,
    /// Tokens per minute.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    tpm: Change<u64>,
    /// Requests at once.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    concurrency: Change<u32>,
    /// Money by period, such as `5 CNY/day, 50 CNY/month`.
    #[serde(default)]
    budget: Change<String>,
    /// Money of each session, such as `2 CNY/total`.
    #[serde(default)]
    session_budget: Change<String>,
    /// From which part of a limit on answers warn, in percent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    warn_percent: Change<u8>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadKeys>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Key>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.keys(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadKeys>,
    Segment(text): Segment,
) -> Result<Json<Key>, Problem> {
    let key = billing.ledger.key(&id("key", &text)?).await?;
    caller.owns(&key.customer)?;
    Ok(Json(key))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteKeys>,
    body: Body<New>,
) -> Result<(StatusCode, Json<WithSecret<Key>>), Problem> {
    let new = body.read().await?;
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
    let created = billing.ledger.create_key_by(new, limits, &caller.instruction()?).await?;
    billing.until_gateway_knows().await;
    Ok((StatusCode::CREATED, Json(WithSecret { made: created.key, secret: created.secret })))
}

pub(super) async fn revoke(
    State(billing): State<Billing>,
    caller: Caller<WriteKeys>,
    Segment(text): Segment,
) -> Result<Json<Key>, Problem> {
    let key: KeyId = id("key", &text)?;
    let revoked = billing.ledger.revoke_key(&key, &caller.instruction()?).await?;
    billing.until_gateway_knows().await;
    Ok(Json(revoked))
}
