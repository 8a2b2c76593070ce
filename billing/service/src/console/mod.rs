//! The console: pages for people on the same listener as the API, over the same functions and the
//! same rules of access. HTML from the server, no script.
//!
//! A browser signs in with a token of the API and from then on holds the id of a visit
//! (`docs/decisions/0037`). Not here: what a figure is (`docs/metering.md`), who may see it
//! (`access`).

mod chart;
mod cookies;
mod guard;
mod language;
mod page;
mod session;
mod sessions;
mod sign_in;
mod turns;
mod visits;
mod words;

use axum::{
    Router, middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, Uri, header};
use permille_ledger::{LedgerError, Token};

use crate::{billing::Billing, problem::Problem};
use page::{Frame, finished};
pub(crate) use visits::Visits;

/// Where the pages begin.
const HOME: &str = "/sessions";
const SIGN_IN: &str = "/signin";
const SIGN_OUT: &str = "/signout";

/// The pages.
pub(crate) fn router(billing: &Billing) -> Router<Billing> {
    Router::new()
        .route("/", get(async || Redirect::to(HOME)))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route(SIGN_OUT, post(sign_in::sign_out))
        .route(HOME, get(sessions::list))
        .route("/sessions/{id}", get(session::show))
        .route("/console.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/console.svg", get(async || asset("image/svg+xml", ICON)))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(billing.clone(), page::dress))
}

const STYLE: &str = include_str!("../../templates/console/console.css");
const ICON: &str = include_str!("../../templates/console/console.svg");

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The page of a path at which there is none.
pub(crate) async fn no_page(billing: &Billing, uri: &Uri, headers: &HeaderMap) -> Response {
    if let Some((uri, Some(cookie))) = page::cleared(uri) {
        return page::in_language(&uri, headers, cookie);
    }
    let frame = page::with_visit(Frame::of(uri, headers), headers, billing).await;
    finished(&frame, Problem::no_path().into_response())
}

/// The token with which the browser has signed in; `None` when it has not, or no longer.
pub(crate) async fn token_of(
    headers: &HeaderMap,
    billing: &Billing,
) -> Result<Option<Token>, LedgerError> {
    match billing.visits.token(headers, billing.ledger.time()) {
        Some(id) => billing.ledger.token_in_force(&id).await,
        None => Ok(None),
    }
}
