//! `/api/v1/prices`: the price book, for every role that sees costs; imports, for finance.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use permille_ledger::{LedgerError, ListedPrice, Listing, Page, PriceDiff, PriceFilter};
use permille_types::{Currency, Price, PriceVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Caller, ReadPrices, WritePrices},
    billing::Billing,
    input::{Body, IMPORT_BYTES_MAX, Params, Segment, id},
    problem::Problem,
};

/// Which entries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceQuery {
    model: Option<String>,
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    currency: Option<Currency>,
    /// Only what holds at this instant.
    at: Option<DateTime<Utc>>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Params(query): Params<PriceQuery>,
) -> Result<Json<Listing<ListedPrice>>, Problem> {
    let page = Page::new(query.cursor.clone(), query.limit)?;
    let PriceQuery { model, currency, at, .. } = query;
    let filter = PriceFilter { model, currency, at, reader: caller.bound_to().cloned() };
    Ok(Json(billing.ledger.prices(&filter, &page)?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadPrices>,
    Segment(text): Segment,
) -> Result<Json<ListedPrice>, Problem> {
    let version: PriceVersion = id("price version", &text)?;
    let price = billing.ledger.price(&version).await?;
    if !price.visible_to(caller.bound_to()) {
        return Err(Problem::not_found(format!("price version `{version}` is unknown")));
    }
    Ok(Json(price))
}

/// Prices to import, or to look at what an import would change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"prices": [], "apply": false}]))]
pub(super) struct Import {
    /// Entries, each with the version that it should have.
    prices: Vec<Price>,
    /// Whether to change anything.
    #[serde(default)]
    apply: bool,
    /// Whether amounts may change a hundredfold.
    #[serde(default)]
    accept_jumps: bool,
}

/// What an import changes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImportAnswer {
    diff: PriceDiff,
    applied: bool,
    /// Requests that were held and got their price by this call, the first or a later one of its
    /// idempotency key.
    repriced: u64,
}

pub(super) async fn import(
    State(billing): State<Billing>,
    caller: Caller<WritePrices>,
    body: Body<Import>,
) -> Result<Json<ImportAnswer>, Problem> {
    let Import { prices, apply, accept_jumps } = body.read_up_to(IMPORT_BYTES_MAX).await?;
    if !apply {
        let diff = billing.ledger.diff_prices(&prices).await.map_err(refused)?;
        return Ok(Json(ImportAnswer { diff, applied: false, repriced: 0 }));
    }
    let instruction = caller.instruction()?;
    let imported = billing.ledger.import_prices_by(&prices, accept_jumps, &instruction).await;
    let (diff, rerated) = imported.map_err(refused)?;
    billing.count_rerated(&rerated);
    billing.until_gateway_knows().await;
    Ok(Json(ImportAnswer { diff, applied: true, repriced: rerated.priced }))
}

/// Prices that contradict each other are the caller's mistake, where a stored book that does is
/// the store's.
fn refused(error: LedgerError) -> Problem {
    match &error {
        LedgerError::PriceBook { cause } => {
            Problem::invalid(format!("prices are not accepted: {cause}"))
        }
        _ => error.into(),
    }
}
