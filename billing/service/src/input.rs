//! What callers send: query, body and ids, parsed at the edge with errors that name the field.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
};
use http::{StatusCode, request::Parts};
use permille_ledger::Page;
use permille_types::CustomerId;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{billing::Billing, problem::Problem};

/// Largest body of a request, in bytes. Nothing that people send is near it.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest batch of usage events, in bytes: gateways send 1 MiB of payloads at a time.
pub(crate) const INTAKE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A query string. Unknown keys are refused, not ignored.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Billing> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Billing) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(query)
            .map(Self)
            .map_err(|cause| Problem::invalid(format!("the query is not accepted: {cause}")))
    }
}

/// A JSON body. Unknown fields are refused, not ignored.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Billing> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, billing: &Billing) -> Result<Self, Problem> {
        let bytes =
            Bytes::from_request(request, billing).await.map_err(|cause| refused_body(&cause))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|cause| Problem::invalid(format!("the body is not accepted: {cause}")))
    }
}

fn refused_body(cause: &BytesRejection) -> Problem {
    if cause.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::too_large(BODY_BYTES_MAX)
    } else {
        Problem::invalid(cause.body_text())
    }
}

/// The query of a list that can be restricted to a customer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    pub(crate) customer: Option<CustomerId>,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl ListParams {
    pub(crate) fn page(&self) -> Result<Page, Problem> {
        Ok(Page::new(self.cursor.clone(), self.limit)?)
    }
}

/// The query of a list of everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    limit: Option<u32>,
    cursor: Option<String>,
}

impl PageParams {
    pub(crate) fn page(self) -> Result<Page, Problem> {
        Ok(Page::new(self.cursor, self.limit)?)
    }
}

/// An id in a path. What cannot be one does not exist.
pub(crate) fn id<T: std::str::FromStr>(noun: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("{noun} `{text}` is unknown")))
}
