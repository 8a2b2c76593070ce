//! `/api/v1/fx-rates`: exchange rates by day.

use axum::{Json, extract::State};
use chrono::NaiveDate;
use permille_ledger::{FxChange, FxFilter, FxImport, FxRate, Listing, Page};
use permille_types::Currency;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadMargins, WritePrices},
    billing::Billing,
    input::{Body, Params},
    problem::Problem,
};

/// Rates to keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"rates": [{"base": "USD", "quote": "CNY", "day": "2026-11-20",
    "rate": "7.1083", "source": "the bank's own list"}]}]))]
pub(super) struct New {
    /// Which.
    rates: Vec<FxRate>,
    /// Whether a rate that is there already may become another one.
    #[serde(default)]
    replace: bool,
    /// Whether a rate may be far from the one before.
    #[serde(default)]
    accept_jumps: bool,
}

/// Which rates are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Of this currency only.
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    base: Option<Currency>,
    /// In this currency only.
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    quote: Option<Currency>,
    /// The first day.
    #[schemars(extend("format" = "date"))]
    since: Option<String>,
    /// The last day.
    #[schemars(extend("format" = "date"))]
    until: Option<String>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    Params(listed): Params<Listed>,
) -> Result<Json<Listing<FxRate>>, Problem> {
    let page = Page::new(listed.cursor, listed.limit)?;
    let filter = FxFilter {
        base: listed.base,
        quote: listed.quote,
        since: day("since", listed.since.as_deref())?,
        until: day("until", listed.until.as_deref())?,
    };
    Ok(Json(billing.ledger.fx_rates(&filter, &page).await?))
}

pub(super) async fn set(
    State(billing): State<Billing>,
    caller: Caller<WritePrices>,
    body: Body<New>,
) -> Result<Json<FxImport>, Problem> {
    let New { rates, replace, accept_jumps } = body.read().await?;
    let how = FxChange { replace, accept_jumps };
    Ok(Json(billing.ledger.set_fx_rates(&rates, how, &caller.instruction()?).await?))
}

/// A day in a query.
fn day(field: &str, text: Option<&str>) -> Result<Option<NaiveDate>, Problem> {
    let read = |text: &str| {
        text.parse().map_err(|_| {
            let accepted = "a day such as 2026-11-20";
            Problem::invalid(format!("{field} `{text}` is not accepted; accepted: {accepted}"))
        })
    };
    text.map(read).transpose()
}
