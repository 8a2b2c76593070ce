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
pub(super) struct PriceQuery {
    model: Option<String>,
    currency: Option<Currency>,
    at: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(query): Params<PriceQuery>,
) -> Result<Json<Listing<ListedPrice>>, Problem> {
    caller.may(Action::ReadPrices)?;
    let page = Page::new(query.cursor.clone(), query.limit)?;
    let PriceQuery { model, currency, at, .. } = query;
    let filter = PriceFilter { model, currency, at, reader: caller.scope(None)? };
    Ok(Json(billing.ledger.prices(&filter, &page)?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<ListedPrice>, Problem> {
    caller.may(Action::ReadPrices)?;
    let version: PriceVersion = id("price version", &text)?;
    let price = billing.ledger.price(&version).await?;
    if !price.visible_to(caller.scope(None)?.as_ref()) {
        return Err(Problem::not_found(format!("price version `{version}` is unknown")));
    }
    Ok(Json(price))
}
