//! The routes of the console listener, one file per noun.

mod balances;
mod charges;
mod close;
mod credit_notes;
mod customers;
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
mod reconciliations;
mod sessions;
mod simulate;
mod tokens;
mod usage;

use axum::{
    Router,
    routing::{get, post},
};
use permille_types::{INTAKE_PATH, SNAPSHOT_PATH, SPENT_PATH, STORED_RESPONSE_PATH, TURN_PATH};

use crate::{billing::Billing, problem::Problem};

/// All routes over `billing`. Each requires a token.
pub fn router(billing: Billing) -> Router {
    let people = Router::new()
        .route("/customers", get(customers::list).post(customers::create))
        .route("/customers/{id}", get(customers::show).post(customers::change))
        .route("/customers/{id}/history", get(customers::history))
        .route("/customers/{id}/plans", get(plans::of_customer).post(plans::assign))
        .route("/plans", get(plans::list).post(plans::create))
        .route("/plans/{name}", get(plans::show))
        .route("/grants", get(grants::list).post(grants::create))
        .route("/balances", get(balances::list))
        .route("/projects", get(projects::list).post(projects::create))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", get(keys::show))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/keys/{id}/limits", get(limits::key).post(limits::set_key))
        .route("/customers/{id}/limits", get(limits::customer).post(limits::set_customer))
        .route("/projects/{customer}/{id}/limits", get(limits::project).post(limits::set_project))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/prices", get(prices::list))
        .route("/prices/import", post(prices::import))
        .route("/prices/{version}", get(prices::show))
        .route("/charges", get(charges::list).post(charges::create))
        .route("/charges/{version}", get(charges::show))
        .route("/charges/{version}/end", post(charges::end))
        .route("/simulate", post(simulate::simulate))
        .route("/usage", get(usage::list))
        .route("/usage/quarantine", get(usage::quarantine))
        .route("/sessions", get(sessions::list))
        .route("/session-summary", get(sessions::summary))
        .route("/sessions/{id}", get(sessions::show))
        .route("/sessions/{id}/outcome", post(sessions::tell))
        .route("/invoices", get(invoices::list))
        .route("/invoices/preview", post(invoices::preview))
        .route("/invoices/draft", post(invoices::draft))
        .route("/invoices/{id}", get(invoices::show))
        .route("/invoices/{id}/document", get(invoices::document))
        .route("/invoices/{id}/records", get(invoices::records))
        .route("/invoices/{id}/export", get(exports::invoice))
        .route("/invoices/{id}/history", get(invoices::history))
        .route("/invoices/{id}/approve", post(invoices::approve))
        .route("/invoices/{id}/finalize", post(invoices::finalize))
        .route("/invoices/{id}/pay", post(invoices::pay))
        .route("/invoices/{id}/refund", post(invoices::refund))
        .route("/invoices/{id}/void", post(invoices::void))
        .route("/invoices/{id}/credit", post(credit_notes::create))
        .route("/credit-notes", get(credit_notes::list))
        .route("/credit-notes/{id}", get(credit_notes::show))
        .route("/credit-notes/{id}/export", get(exports::credit_note))
        .route("/close/{period}", get(close::show).post(close::prepare))
        .route("/close/{period}/sign", post(close::sign))
        .route("/close/{period}/reopen", post(close::reopen))
        .route("/fx-rates", get(fx::list).post(fx::set))
        .route("/margin", get(margin::report))
        .route("/reconciliations", get(reconciliations::list).post(reconciliations::create))
        .route("/reconciliations/{id}", get(reconciliations::show))
        .route("/reconciliations/{id}/export", get(reconciliations::export))
        .route("/reconciliations/{id}/sign", post(reconciliations::sign));
    let gateways = Router::new()
        .route(INTAKE_PATH, post(internal::intake))
        .route(SNAPSHOT_PATH, get(internal::snapshot))
        .route(TURN_PATH, get(internal::turn))
        .route(STORED_RESPONSE_PATH, get(internal::stored_response))
        .route(SPENT_PATH, post(internal::spent));
    Router::new()
        .nest("/api/v1", people)
        .merge(gateways)
        .fallback(async || Problem::no_path())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(billing)
}
