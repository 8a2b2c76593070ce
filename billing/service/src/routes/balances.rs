//! `/api/v1/balances`: what the entries of each account add up to, for finance.

use axum::{Json, extract::State};
use permille_ledger::Listing;
use permille_types::Currency;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    access::{Caller, ReadAudit},
    billing::Billing,
    input::{PageParams, Params},
    problem::Problem,
};

/// One account in one currency.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Balance {
    account: String,
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    currency: Currency,
    /// Debits less credits, a decimal.
    amount: String,
}

/// All accounts. Those of one currency add up to zero.
pub(super) async fn list(
    State(billing): State<Billing>,
    _: Caller<ReadAudit>,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<Balance>>, Problem> {
    let page = params.page()?;
    let accounts = billing.ledger.balances().await?;
    let items = accounts.into_iter().map(|found| Balance {
        amount: found.amount().to_string(),
        account: found.account,
        currency: found.currency,
    });
    let cursor = |one: &Balance| format!("{}/{}", one.account, one.currency.code());
    Ok(Json(page.of(items.collect(), cursor)?))
}
