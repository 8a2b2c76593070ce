//! `/api/v1/prices`: the price book, for every role that sees costs; imports, for finance.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use permille_ledger::{ListedPrice, Listing, Page, PriceDiff, PriceFilter, PriceOrigin};
use permille_types::{Currency, Price, PriceVersion};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, IMPORT_BYTES_MAX, Params, Segment, id},
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

/// Prices to import, or to look at what an import would change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    prices: Vec<Price>,
    /// Whether to change anything.
    #[serde(default)]
    apply: bool,
    /// Whether amounts may change a hundredfold.
    #[serde(default)]
    accept_jumps: bool,
}

/// What an import changes.
#[derive(Debug, Serialize)]
pub(super) struct ImportAnswer {
    diff: PriceDiff,
    applied: bool,
    /// Requests that were held and now have a price.
    repriced: u64,
}

pub(super) async fn import(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<Json<ImportAnswer>, Problem> {
    caller.may(Action::WritePrices)?;
    let Import { prices, apply, accept_jumps } = body.read_up_to(IMPORT_BYTES_MAX).await?;
    let diff = billing.ledger.diff_prices(&prices)?;
    if !apply {
        return Ok(Json(ImportAnswer { diff, applied: false, repriced: 0 }));
    }
    if let Some(jump) = diff.changed.iter().find(|change| change.jump && !accept_jumps) {
        return Err(Problem::invalid(format!(
            "an amount of `{}` changes a hundredfold, probably by a slip of the unit; accepted: \
             smaller changes, or accept_jumps",
            jump.price.model
        )));
    }
    let import = billing.ledger.import_prices(&diff.prices(), PriceOrigin::Operator).await?;
    billing.count_rerated(&import.rerated);
    billing.until_gateway_knows().await;
    Ok(Json(ImportAnswer { diff, applied: true, repriced: import.rerated.priced }))
}
