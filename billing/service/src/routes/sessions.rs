//! `/api/v1/sessions`: multi-turn conversations and what each turn cost.

use axum::{Json, extract::State};
use permille_ledger::{Listing, Page, Session, SessionDetail};
use permille_types::{CustomerId, SessionId};
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{ListParams, Params, Segment, id},
    problem::Problem,
};

/// Whose session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    customer: Option<CustomerId>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Session>>, Problem> {
    caller.may(Action::ReadUsage)?;
    let page = params.page()?;
    let customer = caller.scope(params.customer)?;
    Ok(Json(billing.ledger.sessions(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
    Params(owner): Params<Owner>,
) -> Result<Json<SessionDetail>, Problem> {
    caller.may(Action::ReadUsage)?;
    let session: SessionId = id("session", &text)?;
    let customer = match caller.scope(owner.customer)? {
        Some(customer) => customer,
        None => only_customer(&billing).await?,
    };
    Ok(Json(billing.ledger.session(&customer, &session).await?))
}

/// The customer of an installation that has just one; else a session's id is not enough.
async fn only_customer(billing: &Billing) -> Result<CustomerId, Problem> {
    let two = Page::new(None, Some(2))?;
    let mut customers = billing.ledger.customers(&two).await?.items;
    match (customers.pop(), customers.pop()) {
        (Some(only), None) => Ok(only.id),
        _ => Err(Problem::invalid(
            "customer is missing: two customers may use the same session id, name one",
        )),
    }
}
