//! `/api/v1/fx-rates`: exchange rates by day.

use axum::{Json, extract::State};
use chrono::NaiveDate;
use permille_ledger::{FxChange, FxFilter, FxImport, FxRate, Listing, Page};
use permille_types::Currency;
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, Params},
    problem::Problem,
};

/// Rates to keep.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    rates: Vec<FxRate>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    accept_jumps: bool,
}

/// Which rates are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    base: Option<Currency>,
    quote: Option<Currency>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(listed): Params<Listed>,
) -> Result<Json<Listing<FxRate>>, Problem> {
    caller.may(Action::ReadMargins)?;
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
    caller: Caller,
    body: Body,
) -> Result<Json<FxImport>, Problem> {
    caller.may(Action::WritePrices)?;
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
