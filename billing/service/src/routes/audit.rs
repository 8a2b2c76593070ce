//! `/api/v1/audit`: who changed what, of things that have no history of their own beside it.

use axum::{Json, extract::State};
use permille_ledger::{AuditEntry, Listing, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ReadAudit},
    billing::Billing,
    input::{Params, in_order},
    problem::Problem,
};

/// The changes of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What kind of thing.
    #[schemars(extend("enum" = ["charge", "customer", "fx", "invoice", "key", "period", "plan", "prices", "project", "quarantine", "reconciliation", "token", "webhook"]))]
    noun: String,
    /// Its id: a charge's version, a plan's name, a month; `rates` of fx and `book` of prices.
    id: String,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Everything that was done to it, oldest first; nothing of what was never changed.
pub(super) async fn show(
    State(billing): State<Billing>,
    _: Caller<ReadAudit>,
    Params(asked): Params<Asked>,
) -> Result<Json<Listing<AuditEntry>>, Problem> {
    let page = Page::new(asked.cursor, asked.limit)?;
    let items = billing.ledger.trail(&asked.noun, &asked.id).await?;
    Ok(Json(in_order(&page, items)?))
}
