//! `/api/v1/margin`: what was billed less what providers took, in one currency.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use permille_ledger::{MarginFilter, MarginReport};
use permille_types::{Currency, CustomerId};
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::Params,
    problem::Problem,
};

/// Which margins are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    currency: Currency,
    customer: Option<CustomerId>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    by: Option<String>,
    limit: Option<usize>,
    fx_days: Option<u32>,
}

pub(super) async fn report(
    State(billing): State<Billing>,
    caller: Caller,
    Params(asked): Params<Asked>,
) -> Result<Json<MarginReport>, Problem> {
    caller.may(Action::ReadMargins)?;
    let defaults = MarginFilter::new(asked.currency);
    let filter = MarginFilter {
        customer: asked.customer,
        since: asked.since,
        until: asked.until,
        by: asked.by.as_deref().unwrap_or("customer").parse()?,
        groups_max: asked.limit.unwrap_or(defaults.groups_max),
        fx_days_max: asked.fx_days.unwrap_or(defaults.fx_days_max),
        ..defaults
    };
    let _turn = billing.turn_to_summarise().await.ok_or_else(|| {
        Problem::busy("another summary of sessions or margins is being made; ask again later")
    })?;
    Ok(Json(billing.ledger.margins(&filter).await?))
}
