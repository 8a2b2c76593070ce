//! `/api/v1/webhooks`: endpoints that are told of changes, and the log of what they were told.

use axum::{Json, extract::State};
use chrono::TimeDelta;
use http::StatusCode;
use permille_ledger::{Delivery, DeliveryState, EventKind, Listing, NewWebhook, Page, Webhook};
use permille_types::CustomerId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    access::{Caller, ManageWebhooks, ReadInvoices},
    billing::Billing,
    input::{Body, ListParams, Nothing, OptionalBody, Params, Segment, Segments},
    output::WithSecret,
    problem::Problem,
};

/// How long the secret of before stays valid when a new one is made, in hours, if nothing else is
/// said. Source: Standard Webhooks, "Secret rotation" leaves it to the sender; a working day.
const OVERLAP_HOURS: u32 = 24;
/// The longest.
const OVERLAP_HOURS_MAX: u32 = 24 * 30;

/// An endpoint to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{
    "url": "https://example.com/permille",
    "events": ["invoice.finalized", "limit.warning"],
}]))]
pub(super) struct New {
    /// Where events are sent: a public URL with TLS, unless the house allows others.
    #[schemars(length(min = 1, max = 2000))]
    url: String,
    /// Whose changes it is told of; everyone's when absent.
    customer: Option<CustomerId>,
    /// Of what it is told; of everything when absent or empty.
    #[serde(default)]
    events: Vec<EventKind>,
    /// What its owner says of it.
    #[schemars(length(min = 1, max = 256))]
    description: Option<String>,
}

/// A new secret.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"overlap_hours": 48}]))]
pub(super) struct Rotation {
    /// For how many hours events are signed with the secret of before as well, 24 when absent.
    #[schemars(range(max = 720))]
    overlap_hours: Option<u32>,
}

/// Which deliveries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// Only those that are so far.
    state: Option<DeliveryState>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    Params(params): Params<ListParams>,
) -> Result<Json<Listing<Webhook>>, Problem> {
    let page = params.page()?;
    let customer = caller.scope(&billing, params.customer).await?;
    Ok(Json(billing.ledger.webhooks(customer.as_ref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    _: Caller<ManageWebhooks>,
    Segment(id): Segment,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(billing.ledger.webhook(&id).await?))
}

pub(super) async fn add(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    body: Body<New>,
) -> Result<(StatusCode, Json<WithSecret<Webhook>>), Problem> {
    let New { url, customer, events, description } = body.read().await?;
    if events.is_empty() || events.iter().any(|kind| kind.tells_of_invoices()) {
        caller.may_for::<ReadInvoices>(
            "have an endpoint told of invoices, which it may not read; accepted: `events` without \
             `invoice.…`",
        )?;
    }
    if let Err(accepted) = billing.webhooks.target(url.trim()) {
        let detail = format!("url `{url}` is not accepted; accepted: {accepted}");
        return Err(Problem::invalid(detail));
    }
    let new = NewWebhook { customer, url, events, description };
    let made = billing.ledger.add_webhook(new, &caller.instruction()?).await?;
    Ok((StatusCode::CREATED, Json(WithSecret { made: made.webhook, secret: made.secret })))
}

pub(super) async fn rotate(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    Segment(id): Segment,
    body: OptionalBody<Rotation>,
) -> Result<Json<WithSecret<Webhook>>, Problem> {
    let hours = body.read().await?.overlap_hours.unwrap_or(OVERLAP_HOURS);
    if hours > OVERLAP_HOURS_MAX {
        let detail =
            format!("overlap_hours `{hours}` is not accepted; accepted: 0 to {OVERLAP_HOURS_MAX}");
        return Err(Problem::invalid(detail));
    }
    let overlap = TimeDelta::hours(hours.into());
    let made = billing.ledger.rotate_webhook(&id, overlap, &caller.instruction()?).await?;
    Ok(Json(WithSecret { made: made.webhook, secret: made.secret }))
}

pub(super) async fn remove(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    Segment(id): Segment,
    body: OptionalBody<Nothing>,
) -> Result<Json<Webhook>, Problem> {
    let Nothing {} = body.read().await?;
    Ok(Json(billing.ledger.remove_webhook(&id, &caller.instruction()?).await?))
}

pub(super) async fn test(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    Segment(id): Segment,
    body: OptionalBody<Nothing>,
) -> Result<Json<Delivery>, Problem> {
    let Nothing {} = body.read().await?;
    Ok(Json(billing.ledger.test_webhook(&id, &caller.instruction()?).await?))
}

pub(super) async fn deliveries(
    State(billing): State<Billing>,
    _: Caller<ManageWebhooks>,
    Segment(id): Segment,
    Params(log): Params<Log>,
) -> Result<Json<Listing<Delivery>>, Problem> {
    let page = Page::new(log.cursor, log.limit)?;
    Ok(Json(billing.ledger.deliveries(&id, log.state, &page).await?))
}

pub(super) async fn resend(
    State(billing): State<Billing>,
    caller: Caller<ManageWebhooks>,
    Segments(id, event): Segments,
    body: OptionalBody<Nothing>,
) -> Result<Json<Delivery>, Problem> {
    let Nothing {} = body.read().await?;
    Ok(Json(billing.ledger.resend_delivery(&id, &event, &caller.instruction()?).await?))
}
