//! What all pages share: their frame, the headers that keep a browser from doing more than show
//! them, and how a refusal of the API becomes a page.

use askama::Template;
use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use permille_documents::Language;

use super::{
    SIGN_IN, guard,
    language::{choice, language},
    token_of, visits,
    words::Words,
};
use crate::{
    access::{Bearer, Caller, ReadUsage},
    billing::Billing,
    problem::Problem,
};

/// Nothing but our own style and picture is loaded, no script runs, forms go to us, nobody frames
/// a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// The headers of every page. `same-origin`, because a form without a referrer has no `Origin`.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

/// What stands around the content of a page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) words: &'static Words,
    /// Path and query of the page, without a language.
    pub(super) here: String,
    /// Whose visit it is: a role and the customer that it is bound to.
    pub(super) who: Option<String>,
}

impl Frame {
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let here = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let words = Words::of(language(headers));
        Self { words, here: guard::own_path(here).to_owned(), who: None }
    }

    fn of_caller(mut self, caller: &Bearer) -> Self {
        let role = caller.role();
        self.who = Some(match caller.bound_to() {
            Some(customer) => format!("{role}, {customer}"),
            None => role.to_owned(),
        });
        self
    }

    /// The languages that the page is not in: their names, and where it is in them.
    pub(super) fn others(&self) -> Vec<(&'static Words, String)> {
        let join = if self.here.contains('?') { '&' } else { '?' };
        [Language::English, Language::Chinese]
            .into_iter()
            .map(Words::of)
            .filter(|words| words.tag != self.words.tag)
            .map(|words| (words, format!("{}{join}lang={}", self.here, words.lang)))
            .collect()
    }
}

/// Somebody who has signed in and may look at usage, and the frame of the page for them.
pub(super) struct Visitor {
    pub(super) caller: Caller<ReadUsage>,
    pub(super) frame: Frame,
}

impl FromRequestParts<Billing> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, billing: &Billing) -> Result<Self, Response> {
        let frame = Frame::of(&parts.uri, &parts.headers);
        let token = token_of(&parts.headers, billing).await;
        let token = token.map_err(|error| Problem::from(error).into_response())?;
        let Some(token) = token else { return Err(stranger(&parts.headers, frame)) };
        let caller = Caller::of(token, None).map_err(Problem::into_response)?;
        let frame = frame.of_caller(&caller);
        Ok(Self { caller, frame })
    }
}

/// A page that only leads on to itself.
#[derive(Template)]
#[template(path = "console/onward.html")]
struct Onward {
    frame: Frame,
}

/// Where somebody goes who has not signed in. A browser that another site leads here keeps its
/// cookie to itself, so it is asked again from a page of our own.
fn stranger(headers: &HeaderMap, frame: Frame) -> Response {
    if guard::comes_from_another_site(headers) && !visits::has_cookie(headers) {
        return shown(StatusCode::OK, &Onward { frame });
    }
    Redirect::to(&sign_in_for(&frame.here)).into_response()
}

/// The page of signing in that then leads to `here`.
fn sign_in_for(here: &str) -> String {
    let next = serde_urlencoded::to_string([("next", here)]).unwrap_or_default();
    format!("{SIGN_IN}?{next}")
}

/// A page with that status.
pub(super) fn shown(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a page is not written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Around every page: the language that the query chooses is kept and goes from the path, fields of
/// a form that were left empty are absent.
pub(super) async fn dress(
    State(billing): State<Billing>,
    mut request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some((uri, chosen)) = cleared(request.uri()).filter(|_| reads) {
        if let Some(cookie) = chosen {
            return in_language(&uri, request.headers(), cookie);
        }
        *request.uri_mut() = uri;
    }
    let mut frame = Frame::of(request.uri(), request.headers());
    request.extensions_mut().insert(frame.clone());
    let headers = request.headers().clone();
    let response = next.run(request).await;
    if response.extensions().get::<Problem>().is_some() {
        frame = with_visit(frame, &headers, &billing).await;
    }
    finished(&frame, response)
}

/// The same address without what was left empty and without a language, and the cookie that keeps
/// the language; `None` where there is no query.
pub(super) fn cleared(uri: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
    let (mut pairs, mut chosen) = (Vec::new(), None);
    let query = uri.query().filter(|query| !query.is_empty())?;
    for (name, value) in serde_urlencoded::from_str::<Vec<(String, String)>>(query).ok()? {
        if name == "lang" {
            chosen = choice(&value);
        } else if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    Some((with_query(uri, &pairs)?, chosen))
}

/// Leads to the page in the language that was chosen.
pub(super) fn in_language(uri: &Uri, headers: &HeaderMap, cookie: HeaderValue) -> Response {
    let frame = Frame::of(uri, headers);
    finished(&frame, with_cookie(Redirect::to(&frame.here).into_response(), cookie))
}

/// The frame of a refusal's page says whose visit it is too.
pub(super) async fn with_visit(frame: Frame, headers: &HeaderMap, billing: &Billing) -> Frame {
    let token = token_of(headers, billing).await.ok().flatten();
    match token.and_then(|token| Caller::<ReadUsage>::of(token, None).ok()) {
        Some(caller) => frame.of_caller(&caller),
        None => frame,
    }
}

fn with_query(uri: &Uri, pairs: &[(String, String)]) -> Option<Uri> {
    let query = serde_urlencoded::to_string(pairs).ok()?;
    let path = uri.path();
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The same, with a cookie to be kept.
pub(super) fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

#[derive(Template)]
#[template(path = "console/problem.html")]
struct Refused<'f> {
    frame: &'f Frame,
    title: &'static str,
    status: u16,
    detail: String,
}

/// A response as a browser gets it.
pub(super) fn finished(frame: &Frame, mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let status = problem.status();
        let title = frame.words.title_of(status);
        let detail = problem.shown();
        let page = shown(status, &Refused { frame, title, status: status.as_u16(), detail });
        let allowed = response.headers_mut().remove(header::ALLOW);
        response = page;
        if let Some(allowed) = allowed {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}
