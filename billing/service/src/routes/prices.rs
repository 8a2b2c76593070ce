//! `/api/v1/prices`: the price book, for every role that sees costs.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use permille_ledger::{ListedPrice, Listing, Page, PriceFilter};
use permille_types::{Currency, PriceVersion};
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Params, Segment, id},
    problem::Problem,
};

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    model: Option<String>,
    currency: Option<Currency>,
    at: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<ListedPrice>>, Problem> {
    caller.may(Action::ReadPrices)?;
    let page = Page::new(query.cursor, query.limit)?;
    let filter = PriceFilter { model: query.model, currency: query.currency, at: query.at };
    Ok(Json(billing.ledger.prices(&filter, &page)?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<ListedPrice>, Problem> {
    caller.may(Action::ReadPrices)?;
    let version: PriceVersion = id("price version", &text)?;
    Ok(Json(billing.ledger.price(&version)?))
}
