//! `/api/v1/margin`: what was billed less what providers took, in one currency.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use permille_ledger::{MarginFilter, MarginReport};
use permille_types::{Currency, CustomerId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadMargins},
    billing::Billing,
    input::Params,
    problem::Problem,
};

/// Which margins are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What everything is converted to.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    currency: Currency,
    /// Whose; everyone's when absent.
    customer: Option<CustomerId>,
    /// Requests from here on.
    since: Option<DateTime<Utc>>,
    /// Requests before this.
    until: Option<DateTime<Utc>>,
    /// What a group is, `customer` when absent.
    #[schemars(extend("enum" = ["customer", "model", "session", "plan"]))]
    by: Option<String>,
    /// Most groups.
    limit: Option<usize>,
    /// How many days old a rate may be.
    fx_days: Option<u32>,
}

pub(super) async fn report(
    State(billing): State<Billing>,
    caller: Caller<ReadMargins>,
    Params(asked): Params<Asked>,
) -> Result<Json<MarginReport>, Problem> {
    let defaults = MarginFilter::new(asked.currency);
    let filter = MarginFilter {
        customer: caller.scope(&billing, asked.customer).await?,
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
