//! `/api/v1/customers`: who is billed, and what their invoices say.

use axum::{Json, extract::State};
use http::StatusCode;
use permille_ledger::{
    AuditEntry, Customer, CustomerChanges, CustomerTerms, Listing, NewCustomer, TaxTerms,
    TextChange,
};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::{
    access::{Caller, ReadAudit, ReadCustomers, WriteCustomers, WriteTerms},
    billing::Billing,
    input::{Body, ListParams, PageParams, Params, Segment, currency, id, in_order},
    problem::Problem,
};

/// A customer to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"name": "Acme Ltd.", "id": "acme", "currency": "CNY", "time_zone": "Asia/Shanghai"}]))]
pub(super) struct New {
    /// Its id; made of the name when absent.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,62}$"))]
    id: Option<String>,
    /// Its name, as invoices show it.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Its currency (ISO 4217), for good.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    currency: String,
    /// Its time zone (IANA), for good; UTC when absent.
    time_zone: Option<String>,
    #[serde(default)]
    tax: TaxTerms,
    tax_id: Option<String>,
    billing_address: Option<String>,
    purchase_order: Option<String>,
    notes: Option<String>,
}

/// What is to change of a customer: an absent field stays; a `null` takes a text away, and is
/// refused where there must be something.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"purchase_order": "PO-2026-7", "notes": null}]))]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "something")]
    name: Option<String>,
    #[serde(default, deserialize_with = "something")]
    tax: Option<TaxTerms>,
    #[serde(default)]
    tax_id: TextChange,
    #[serde(default)]
    billing_address: TextChange,
    #[serde(default)]
    purchase_order: TextChange,
    #[serde(default)]
    notes: TextChange,
}

/// A field that is there: `null` is none.
fn something<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Customer>>, Problem> {
    let page = params.page()?;
    if let Some(own) = params.customer.or_else(|| caller.bound_to().cloned()) {
        caller.owns(&own)?;
        let items = vec![billing.ledger.customer(&own).await?];
        return Ok(Json(Listing { items, next_cursor: None }));
    }
    Ok(Json(billing.ledger.customers(&page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    caller: Caller<ReadCustomers>,
    Segment(text): Segment,
) -> Result<Json<Customer>, Problem> {
    let customer: CustomerId = id("customer", &text)?;
    caller.owns(&customer)?;
    Ok(Json(billing.ledger.customer(&customer).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteCustomers>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Customer>), Problem> {
    let new = body.read().await?;
    let currency = currency(&new.currency)?;
    let time_zone = new.time_zone.as_deref().unwrap_or("UTC");
    let time_zone = time_zone.parse().map_err(|_| {
        Problem::invalid(format!(
            "time_zone `{time_zone}` is not accepted; accepted: an IANA name such as Asia/Shanghai"
        ))
    })?;
    let terms = CustomerTerms {
        tax: new.tax,
        tax_id: new.tax_id,
        billing_address: new.billing_address,
        purchase_order: new.purchase_order,
        notes: new.notes,
    };
    if terms != CustomerTerms::default() {
        caller.may::<WriteTerms>()?;
    }
    let new = NewCustomer { id: new.id, name: new.name, currency, time_zone };
    Ok((
        StatusCode::CREATED,
        Json(billing.ledger.create_customer_by(new, terms, &caller.instruction()?).await?),
    ))
}

pub(super) async fn change(
    State(billing): State<Billing>,
    caller: Caller<WriteTerms>,
    Segment(text): Segment,
    body: Body<Changes>,
) -> Result<Json<Customer>, Problem> {
    let changes = body.read().await?;
    let changes = CustomerChanges {
        name: changes.name,
        tax: changes.tax,
        tax_id: changes.tax_id,
        billing_address: changes.billing_address,
        purchase_order: changes.purchase_order,
        notes: changes.notes,
    };
    let customer: CustomerId = id("customer", &text)?;
    let instruction = caller.instruction()?;
    Ok(Json(billing.ledger.change_customer(&customer, changes, &instruction).await?))
}

/// Who changed what a customer's invoices say.
pub(super) async fn history(
    State(billing): State<Billing>,
    _: Caller<ReadAudit>,
    Segment(text): Segment,
    Params(params): Params<PageParams>,
) -> Result<Json<Listing<AuditEntry>>, Problem> {
    let page = params.page()?;
    let items = billing.ledger.customer_history(&id("customer", &text)?).await?;
    Ok(Json(in_order(&page, items)?))
}
