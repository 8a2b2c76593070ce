//! `/api/v1/customers`.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{Customer, Listing, NewCustomer};
use permille_types::{Currency, CustomerId};
use serde::Deserialize;

use crate::{
    access::{Action, Caller},
    billing::Billing,
    input::{Body, ListParams, Params, Segment, id},
    problem::Problem,
};

/// A customer to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    id: Option<String>,
    name: String,
    currency: String,
    time_zone: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Customer>>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let page = params.page()?;
    if let Some(own) = caller.scope(params.customer)? {
        let items = vec![billing.ledger.customer(&own).await?];
        return Ok(Json(Listing { items, next_cursor: None }));
    }
    Ok(Json(billing.ledger.customers(&page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller,
    Segment(text): Segment,
) -> Result<Json<Customer>, Problem> {
    caller.may(Action::ReadCustomers)?;
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    Ok(Json(billing.ledger.customer(&customer).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Customer>), Problem> {
    caller.may(Action::WriteCustomers)?;
    let new: New = body.read().await?;
    let currency = Currency::from_code(&new.currency.to_ascii_uppercase()).ok_or_else(|| {
        Problem::invalid(format!(
            "currency `{}` is not accepted; accepted: an ISO 4217 code such as CNY or USD",
            new.currency
        ))
    })?;
    let time_zone = new.time_zone.as_deref().unwrap_or("UTC");
    let time_zone = time_zone.parse().map_err(|_| {
        Problem::invalid(format!(
            "time_zone `{time_zone}` is not accepted; accepted: an IANA name such as Asia/Shanghai"
        ))
    })?;
    let new = NewCustomer { id: new.id, name: new.name, currency, time_zone };
    Ok((StatusCode::CREATED, Json(billing.ledger.create_customer(new).await?)))
}
