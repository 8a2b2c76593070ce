//! The routes of the console listener, one file per noun.

mod audit;
mod balances;
mod charges;
mod close;
mod credit_notes;
mod customers;
mod disputes;
mod exports;
mod fx;
mod grants;
mod internal;
mod invoices;
mod keys;
mod limits;
mod margin;
mod plans;
mod prices;
mod projects;
mod quarantine;
mod reconciliations;
pub(crate) mod sessions;
mod simulate;
mod tokens;
pub(crate) mod usage;
mod webhooks;

use std::sync::OnceLock;

use axum::{
    Json, Router,
    extract::State,
    middleware,
    response::{IntoResponse, Response},
    routing,
};
use http::{HeaderMap, HeaderValue, Uri, header};
use permille_types::{INTAKE_PATH, SNAPSHOT_PATH, SPENT_PATH, STORED_RESPONSE_PATH, TURN_PATH};
use serde_json::Value;

use crate::{
    access::{Caller, ReadDescription},
    billing::Billing,
    console,
    openapi::{BASE, Routes, ask, get, post},
    problem::Problem,
};

/// What a browser may do with an answer: show it, as an exported document wants it.
const ANSWER_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

/// All routes over `billing`. Each requires a token, or for pages and reads a visit to the console.
pub fn router(billing: Billing) -> Router {
    let gateways = Router::new()
        .route(INTAKE_PATH, routing::post(internal::intake))
        .route(SNAPSHOT_PATH, routing::get(internal::snapshot))
        .route(TURN_PATH, routing::get(internal::turn))
        .route(STORED_RESPONSE_PATH, routing::get(internal::stored_response))
        .route(SPENT_PATH, routing::post(internal::spent));
    Router::new()
        .nest(BASE, people().into_router().layer(middleware::map_response(inert)))
        .merge(gateways)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .merge(console::router(&billing))
        .fallback(nothing)
        .with_state(billing)
}

/// A browser that has signed in to the console opens answers too: it keeps none, and runs nothing
/// that stands in one.
async fn inert(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, ANSWER_POLICY),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What is at no path: a page for browsers, a problem for programs.
async fn nothing(State(billing): State<Billing>, uri: Uri, headers: HeaderMap) -> Response {
    if ["/api", "/internal"].iter().any(|programs| uri.path().starts_with(programs)) {
        Problem::no_path().into_response()
    } else {
        console::no_page(&billing, &uri, &headers).await
    }
}

/// The routes for people and programs.
fn people() -> Routes {
    let routes = accounts(Routes::default());
    let routes = terms(routes);
    let routes = used(routes);
    let routes = billed(routes);
    told(routes)
}

/// Who is billed, and what they call with.
fn accounts(routes: Routes) -> Routes {
    routes
        .route(
            "/customers",
            get(customers::list, "Customers, in the order of their ids")
                .post(customers::create, "Add a customer"),
        )
        .route(
            "/customers/{id}",
            get(customers::show, "One customer")
                .post(customers::change, "Change what a customer's invoices say"),
        )
        .route(
            "/customers/{id}/history",
            get(customers::history, "Who changed what a customer's invoices say"),
        )
        .route(
            "/projects",
            get(projects::list, "Projects: cost centres of customers")
                .post(projects::create, "Add a project"),
        )
        .route(
            "/keys",
            get(keys::list, "Virtual API keys")
                .post(keys::create, "Make a key, whose secret is shown this once"),
        )
        .route("/keys/{id}", get(keys::show, "One key"))
        .route("/keys/{id}/revoke", post(keys::revoke, "Revoke a key"))
        .route(
            "/keys/{id}/limits",
            get(limits::key, "A key's limits").post(limits::set_key, "Limit a key"),
        )
        .route(
            "/customers/{id}/limits",
            get(limits::customer, "A customer's limits")
                .post(limits::set_customer, "Limit a customer"),
        )
        .route(
            "/projects/{customer}/{id}/limits",
            get(limits::project, "A project's limits").post(limits::set_project, "Limit a project"),
        )
        .route(
            "/tokens",
            get(tokens::list, "Tokens for this API")
                .post(tokens::create, "Make a token, whose secret is shown this once"),
        )
        .route("/tokens/{id}/revoke", post(tokens::revoke, "Revoke a token"))
}

/// What usage costs, and what was paid for it.
fn terms(routes: Routes) -> Routes {
    routes
        .route(
            "/customers/{id}/plans",
            get(plans::of_customer, "Plans that a customer has had and will have")
                .post(plans::assign, "Give a customer a plan"),
        )
        .route("/plans", get(plans::list, "Plans").post(plans::create, "Add plans"))
        .route("/plans/{name}", get(plans::show, "One plan"))
        .route(
            "/grants",
            get(grants::list, "Grants of prepaid credit")
                .post(grants::create, "Grant prepaid credit"),
        )
        .route("/balances", get(balances::list, "What the entries of each account add up to"))
        .route("/prices", get(prices::list, "Entries of the price book"))
        .route(
            "/prices/import",
            post(prices::import, "Import prices, or look at what would change"),
        )
        .route("/prices/{version}", get(prices::show, "One entry of the price book"))
        .route(
            "/charges",
            get(charges::list, "Charges: prices of the sums of months")
                .post(charges::create, "Add charges"),
        )
        .route("/charges/{version}", get(charges::show, "One charge"))
        .route("/charges/{version}/end", post(charges::end, "End a charge"))
        .route("/simulate", ask(simulate::simulate, "What a plan would have made of a month"))
}

/// What was used.
fn used(routes: Routes) -> Routes {
    routes
        .route("/usage", get(usage::list, "Settled requests"))
        .route("/usage/drop", ask(usage::drop_days, "Drop old days of usage, or look at them"))
        .route(
            "/usage/quarantine",
            get(quarantine::list, "Usage events that could not be booked when they came"),
        )
        .route(
            "/usage/quarantine/{id}/book",
            post(quarantine::book, "Book what is in quarantine, now that it can be"),
        )
        .route(
            "/usage/quarantine/{id}/dismiss",
            post(quarantine::dismiss, "Say that what is in quarantine is not to be billed"),
        )
        .route("/sessions", get(sessions::list, "Multi-turn sessions"))
        .route(
            "/session-summary",
            get(sessions::summary, "What sessions cost over a stretch of time"),
        )
        .route("/sessions/{id}", get(sessions::show, "One session, turn by turn"))
        .route("/sessions/{id}/outcome", post(sessions::tell, "Say what became of a session"))
}

/// What is billed.
fn billed(routes: Routes) -> Routes {
    routes
        .route("/invoices", get(invoices::list, "Invoices"))
        .route(
            "/invoices/preview",
            ask(invoices::preview, "What a month would be billed as usage stands now"),
        )
        .route("/invoices/draft", post(invoices::draft, "Draft the invoice of a month"))
        .route("/invoices/{id}", get(invoices::show, "One invoice as it stands now"))
        .route(
            "/invoices/{id}/document",
            get(invoices::document, "The document of an invoice as it was issued"),
        )
        .route(
            "/invoices/{id}/records",
            get(invoices::records, "The records that an invoice was made of"),
        )
        .route("/invoices/{id}/export", get(exports::invoice, "An invoice as a file"))
        .route(
            "/invoices/{id}/history",
            get(invoices::history, "Everything that was done to an invoice"),
        )
        .route("/invoices/{id}/approve", post(invoices::approve, "Approve a draft"))
        .route(
            "/invoices/{id}/finalize",
            post(invoices::finalize, "Give an approved invoice its number"),
        )
        .route(
            "/invoices/{id}/pay",
            post(invoices::pay, "Note that an invoice is paid, whole or in part"),
        )
        .route(
            "/invoices/{id}/refund",
            post(invoices::refund, "Note that money was paid back on an invoice"),
        )
        .route("/invoices/{id}/void", post(invoices::void, "Take an invoice back"))
        .route("/invoices/{id}/credit", post(credit_notes::create, "Credit an invoice"))
        .route("/credit-notes", get(credit_notes::list, "Credit notes"))
        .route("/credit-notes/{id}", get(credit_notes::show, "One credit note as it was made"))
        .route("/credit-notes/{id}/export", get(exports::credit_note, "A credit note as a file"))
        .route(
            "/close/{period}",
            get(close::show, "How far the close of a month is")
                .ask(close::prepare, "Prepare the close of a month"),
        )
        .route(
            "/close/{period}/drafts",
            ask(close::draft, "Prepare the close of a month for some customers at a time"),
        )
        .route("/close/{period}/sign", post(close::sign, "Sign the close of a month"))
        .route("/close/{period}/reopen", post(close::reopen, "Open a closed month again"))
}

/// Who is told, and what this is.
fn told(routes: Routes) -> Routes {
    routes
        .route(
            "/fx-rates",
            get(fx::list, "Exchange rates by day").post(fx::set, "Keep exchange rates"),
        )
        .route(
            "/disputes",
            get(disputes::list, "What is held against issued invoices")
                .post(disputes::open, "Say what is wrong with an issued invoice"),
        )
        .route("/disputes/{id}", get(disputes::show, "One dispute with its evidence"))
        .route("/disputes/{id}/resolve", post(disputes::resolve, "Answer a dispute"))
        .route("/audit", get(audit::show, "Who changed what of a thing"))
        .route("/margin", get(margin::report, "What was billed less what providers took"))
        .route(
            "/reconciliations",
            get(reconciliations::list, "Providers' bills that were compared with our side")
                .post(reconciliations::create, "Compare a provider's bill with our side"),
        )
        .route("/reconciliations/{id}", get(reconciliations::show, "One reconciliation"))
        .route(
            "/reconciliations/{id}/export",
            get(reconciliations::export, "The report of a reconciliation as a file"),
        )
        .route("/reconciliations/{id}/sign", post(reconciliations::sign, "Sign a reconciliation"))
        .route(
            "/webhooks",
            get(webhooks::list, "Endpoints that are told of changes")
                .post(webhooks::add, "Add an endpoint, whose secret is shown this once"),
        )
        .route("/webhooks/{id}", get(webhooks::show, "One endpoint"))
        .route("/webhooks/{id}/rotate", post(webhooks::rotate, "Give an endpoint a new secret"))
        .route("/webhooks/{id}/remove", post(webhooks::remove, "Remove an endpoint"))
        .route("/webhooks/{id}/test", post(webhooks::test, "Send an endpoint a test event"))
        .route(
            "/webhooks/{id}/deliveries",
            get(webhooks::deliveries, "What an endpoint was told, newest first"),
        )
        .route(
            "/webhooks/{id}/deliveries/{event}/resend",
            post(webhooks::resend, "Send an event to an endpoint again"),
        )
        .route("/openapi.json", get(openapi_document, "This description"))
}

/// The description of the routes under `/api/v1`: an `OpenAPI` 3.1 document.
pub fn openapi() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| people().describe())
}

async fn openapi_document(_: Caller<ReadDescription>) -> Result<Json<&'static Value>, Problem> {
    Ok(Json(openapi()))
}
