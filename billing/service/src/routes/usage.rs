//! `/api/v1/usage`: settled requests.

use axum::{Json, extract::State};
use chrono::{DateTime, NaiveDate, Utc};
use permille_ledger::{Listing, Page, UsageDrop, UsageFilter, UsageRow};
use permille_types::{CustomerId, RequestId, SessionId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Bearer, Caller, DropUsage, ReadUsage},
    billing::Billing,
    input::{Body, Params},
    problem::Problem,
};

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    pub(crate) customer: Option<CustomerId>,
    pub(crate) session: Option<SessionId>,
    pub(crate) request: Option<RequestId>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadUsage>,
    Params(query): Params<Query>,
) -> Result<Json<Listing<UsageRow>>, Problem> {
    listing(&billing, &caller, query).await.map(Json)
}

/// The rows of `query` that the caller may see.
pub(crate) async fn listing(
    billing: &Billing,
    caller: &Bearer,
    query: Query,
) -> Result<Listing<UsageRow>, Problem> {
    let filter = UsageFilter {
        customer: caller.scope(billing, query.customer).await?,
        session: query.session,
        request: query.request,
        since: query.since,
        until: query.until,
    };
    let page = Page::new(query.cursor, query.limit)?;
    Ok(billing.ledger.usage(&filter, &page).await?)
}

/// Which days are dropped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"before": "2026-08-01", "check": true}]))]
pub(super) struct Drop {
    /// Days (UTC) before this one.
    before: NaiveDate,
    /// Only look at them: drop nothing.
    #[serde(default)]
    check: bool,
}

pub(super) async fn drop_days(
    State(billing): State<Billing>,
    caller: Caller<DropUsage>,
    body: Body<Drop>,
) -> Result<Json<UsageDrop>, Problem> {
    let Drop { before, check } = body.read().await?;
    Ok(Json(billing.ledger.drop_usage(before, Some(caller.actor()), check).await?))
}
