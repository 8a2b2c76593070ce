//! `/api/v1/balances`: what the entries of each account add up to, for finance.

use axum::{Json, extract::State};
use permille_types::Currency;
use serde::Serialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    problem::Problem,
};

/// One account in one currency.
#[derive(Debug, Serialize)]
pub(super) struct Balance {
    account: String,
    currency: Currency,
    /// Debits less credits, a decimal.
    amount: String,
}

/// All accounts. Those of one currency add up to zero.
#[derive(Debug, Serialize)]
pub(super) struct Balances {
    items: Vec<Balance>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
) -> Result<Json<Balances>, Problem> {
    caller.may(Action::ReadAudit)?;
    let accounts = billing.ledger.balances().await?;
    let items = accounts.into_iter().map(|found| Balance {
        amount: found.amount().to_string(),
        account: found.account,
        currency: found.currency,
    });
    Ok(Json(Balances { items: items.collect() }))
}
