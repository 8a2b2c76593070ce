//! Signing in with a token, and out.

use askama::Template;
use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    HOME, SIGN_IN, guard,
    page::{Frame, shown, with_cookie},
};
use crate::{
    access::{Caller, ReadUsage},
    billing::Billing,
    input::{Body, Params},
    problem::Problem,
};

/// Largest form, in bytes: a token has 53, and a path that somebody came by may be long.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// Where to go afterwards.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    next: Option<String>,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    token: SecretString,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "console/signin.html")]
struct Page {
    frame: Frame,
    next: String,
    /// Why the token before was not taken.
    refusal: Option<&'static str>,
}

/// The form.
pub(super) async fn show(
    Extension(mut frame): Extension<Frame>,
    Params(asked): Params<Asked>,
) -> Response {
    let next = afterwards(asked.next.as_deref());
    frame.here = here(&next);
    shown(StatusCode::OK, &Page { frame, next, refusal: None })
}

/// Begins a visit, and leads to the page that was asked for.
pub(super) async fn sign_in(
    State(billing): State<Billing>,
    Extension(frame): Extension<Frame>,
    headers: HeaderMap,
    body: Body<Form>,
) -> Result<Response, Problem> {
    guard::refuse_other_sites(&headers)?;
    let bytes = body.bytes("application/x-www-form-urlencoded", FORM_BYTES_MAX).await?;
    let form: Form = serde_urlencoded::from_bytes(&bytes)
        .map_err(|_| Problem::invalid("the form is not accepted; accepted: token and next"))?;
    let next = afterwards(form.next.as_deref());
    let secret = SecretString::from(form.token.expose_secret().trim());
    let refused = |status, refusal| {
        let frame = Frame { here: here(&next), ..frame.clone() };
        shown(status, &Page { frame, next: next.clone(), refusal: Some(refusal) })
    };
    let Some(token) = billing.ledger.authenticate(&secret).await? else {
        let page = refused(StatusCode::UNAUTHORIZED, frame.words.wrong_token);
        return Ok(([(header::WWW_AUTHENTICATE, "Bearer")], page).into_response());
    };
    if Caller::<ReadUsage>::of(token.clone(), None).is_err() {
        return Ok(refused(StatusCode::FORBIDDEN, frame.words.no_role));
    }
    let cookie = billing.visits.begin(&headers, &token.id, billing.ledger.time())?;
    Ok(with_cookie(Redirect::to(&next).into_response(), cookie))
}

/// Ends the visit.
pub(super) async fn sign_out(
    State(billing): State<Billing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    guard::refuse_other_sites(&headers)?;
    let response = Redirect::to(SIGN_IN).into_response();
    Ok(match billing.visits.end(&headers) {
        Some(cookie) => with_cookie(response, cookie),
        None => response,
    })
}

/// Where the form leads: a path of ours, or the first page.
fn afterwards(asked: Option<&str>) -> String {
    match asked.map(guard::own_path) {
        None | Some("/") => HOME.to_owned(),
        Some(path) => path.to_owned(),
    }
}

/// The form's own path, for its other languages.
fn here(next: &str) -> String {
    let next = serde_urlencoded::to_string([("next", next)]).unwrap_or_default();
    format!("{SIGN_IN}?{next}")
}
