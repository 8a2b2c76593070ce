//! What callers send: path, query and body, parsed at the edge with errors that name the field.

use std::{error::Error, marker::PhantomData};

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use permille_ledger::{Listing, PAGE_ROWS_MAX, Page};
use permille_types::{Currency, CustomerId};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{billing::Billing, problem::Problem};

/// Largest body of a request, in bytes. Nothing that people send is near it.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest import of prices, in bytes: the largest public list has 5,000 models of 1 KiB.
pub(crate) const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest batch of usage events, in bytes: gateways send 1 MiB of payloads at a time.
pub(crate) const INTAKE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The one variable part of a path, as text.
pub(crate) struct Segment(pub(crate) String);

impl FromRequestParts<Billing> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, billing: &Billing) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, billing).await;
        // Only an escape that is no UTF-8 does not read, and no id is such.
        text.map(|Path(text)| Self(text)).map_err(|_| Problem::no_path())
    }
}

/// The two variable parts of a path, as text.
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl FromRequestParts<Billing> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, billing: &Billing) -> Result<Self, Problem> {
        let texts = Path::<(String, String)>::from_request_parts(parts, billing).await;
        texts.map(|Path((first, second))| Self(first, second)).map_err(|_| Problem::no_path())
    }
}

/// A query string. Unknown keys are refused, not ignored.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Billing> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Billing) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|cause| {
            refused_query(parts.uri.query().unwrap_or_default(), &innermost(&cause))
        })
    }
}

/// `reason` is a field and what is wrong with it, or what is wrong with the whole.
fn refused_query(query: &str, reason: &str) -> Problem {
    let (field, wrong) = reason.split_once(": ").unwrap_or(("", reason));
    let bad_value = !wrong.starts_with("unknown field") && !wrong.starts_with("duplicate field");
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let value = pairs.into_iter().find(|(name, _)| name == field).map(|(_, value)| value);
    Problem::invalid(match (value, accepted(field)) {
        (Some(value), Some(accepted)) if bad_value => {
            format!("{field} `{value}` is not accepted; accepted: {accepted}")
        }
        _ => format!("the query is not accepted: {wrong}"),
    })
}

/// What a parameter that is more than a text accepts.
fn accepted(parameter: &str) -> Option<String> {
    match parameter {
        "limit" => Some(format!("1 to {PAGE_ROWS_MAX}")),
        "since" | "until" | "at" => {
            Some("an instant such as 2026-11-01T00:00:00Z, a `+` in it written %2B".to_owned())
        }
        "request" => Some("a request id (a UUID)".to_owned()),
        "currency" => Some("an ISO 4217 code such as CNY or USD".to_owned()),
        "turns_min" => Some("a number of turns".to_owned()),
        "known" => Some("the version of a snapshot, a number".to_owned()),
        "customer" | "session" => Some("an id of 1 to 256 bytes on one line".to_owned()),
        _ => None,
    }
}

/// A body that has not been read: the caller's role is asked first.
pub(crate) struct Body<T>(Request, PhantomData<T>);

/// A body that may be left out: it then says nothing.
pub(crate) struct OptionalBody<T>(Body<T>);

impl<T> FromRequest<Billing> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Billing) -> Result<Self, Problem> {
        Ok(Self(request, PhantomData))
    }
}

impl<T: Send> FromRequest<Billing> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, billing: &Billing) -> Result<Self, Problem> {
        Body::from_request(request, billing).await.map(Self)
    }
}

impl<T> Body<T> {
    /// At most `bytes_max` bytes that are not said to be something else than `accepted`.
    pub(crate) async fn bytes(
        self,
        accepted: &'static str,
        bytes_max: usize,
    ) -> Result<Bytes, Problem> {
        let mut request = self.0;
        refuse_other_kind(request.headers(), accepted)?;
        DefaultBodyLimit::max(bytes_max).apply(&mut request);
        Bytes::from_request(request, &()).await.map_err(|cause| {
            if cause.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::too_large(bytes_max)
            } else {
                Problem::invalid(cause.body_text())
            }
        })
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// The JSON that people send. Unknown fields are refused, not ignored.
    pub(crate) async fn read(self) -> Result<T, Problem> {
        self.read_up_to(BODY_BYTES_MAX).await
    }

    /// The same, of at most `bytes_max` bytes.
    pub(crate) async fn read_up_to(self, bytes_max: usize) -> Result<T, Problem> {
        let bytes = self.bytes("application/json", bytes_max).await?;
        from_json(&bytes)
    }
}

impl<T: DeserializeOwned + Default> OptionalBody<T> {
    /// The JSON that people send. Unknown fields are refused, not ignored.
    pub(crate) async fn read(self) -> Result<T, Problem> {
        let bytes = self.0.bytes("application/json", BODY_BYTES_MAX).await?;
        if bytes.is_empty() { Ok(T::default()) } else { from_json(&bytes) }
    }
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A list of values would be taken for the fields in their order, which nobody means.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "the body is not accepted: it is a list; accepted: an object";
        return Err(Problem::invalid(detail));
    }
    Json::from_bytes(bytes).map(|Json(body)| body).map_err(|cause| {
        Problem::invalid(format!("the body is not accepted: {}", innermost(&cause)))
    })
}

/// Refuses a body that is said to be something else than `accepted`.
fn refuse_other_kind(headers: &HeaderMap, accepted: &'static str) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(accepted) {
        Ok(())
    } else {
        Err(Problem::media_type(&kind, accepted))
    }
}

/// What is wrong, without the framework's words before it.
fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The query of a list that can be restricted to a customer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Whose; everyone's when absent.
    pub(crate) customer: Option<CustomerId>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

impl ListParams {
    pub(crate) fn page(&self) -> Result<Page, Problem> {
        Ok(Page::new(self.cursor.clone(), self.limit)?)
    }
}

/// The query of a list of everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageParams {
    pub(crate) fn page(self) -> Result<Page, Problem> {
        Ok(Page::new(self.cursor, self.limit)?)
    }
}

/// A step that needs no word.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A page of a trail, whose entries only their place tells apart.
pub(crate) fn in_order<T>(page: &Page, items: Vec<T>) -> Result<Listing<T>, Problem> {
    let numbered: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    let Listing { items, next_cursor } = page.of(numbered, |(place, _)| place.to_string())?;
    let items = items.into_iter().map(|(_, item)| item).collect();
    Ok(Listing { items, next_cursor })
}

/// An id in a path. What cannot be one does not exist.
pub(crate) fn id<T: std::str::FromStr>(noun: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("{noun} `{text}` is unknown")))
}

/// The currency of an amount in a body, where it says one.
pub(crate) fn currency(code: &str) -> Result<Currency, Problem> {
    Currency::from_code(&code.to_ascii_uppercase()).ok_or_else(|| {
        let accepted = "an ISO 4217 code such as CNY or USD";
        Problem::invalid(format!("currency `{code}` is not accepted; accepted: {accepted}"))
    })
}

/// An amount of money in a body: a decimal as text.
pub(crate) fn amount<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, places) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // The parser also takes signs, blanks of digits and powers of ten, which read as mistakes.
    let read = if digits(whole) && digits(places) { text.parse().ok() } else { None };
    read.ok_or_else(|| {
        let accepted = "a decimal such as 12.50";
        Problem::invalid(format!("{field} `{text}` is not accepted; accepted: {accepted}"))
    })
}
