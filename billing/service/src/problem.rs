//! Refusals of the API: problem details with a stable code.
//!
//! Source: RFC 9457, "Problem Details for HTTP APIs".

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use permille_ledger::LedgerError;
use permille_types::ControlError;
use serde::Serialize;

/// Why a request got no document.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    pub(crate) fn unauthenticated() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "unauthenticated",
            detail: "send an API token: `Authorization: Bearer pmt_…`".to_owned(),
        }
    }

    pub(crate) fn forbidden(role: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            detail: format!("a token of role {role} may not do this"),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "invalid", detail: detail.into() }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", detail: detail.into() }
    }

    pub(crate) fn no_path() -> Self {
        Self::not_found("there is nothing at this path")
    }

    pub(crate) fn media_type(given: &str) -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code: "unsupported_media_type",
            detail: format!("content-type `{given}` is not accepted; accepted: application/json"),
        }
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "too_large",
            detail: format!("the body has more than {bytes_max} bytes"),
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            detail: "this path does not take that method".to_owned(),
        }
    }

    fn failed() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "store_failed",
            detail: "the store failed; the server's log says why".to_owned(),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::NotFound { .. } => Self::not_found(error.to_string()),
            LedgerError::Invalid { .. } => Self::invalid(error.to_string()),
            LedgerError::AlreadyExists { .. } => Self {
                status: StatusCode::CONFLICT,
                code: "already_exists",
                detail: error.to_string(),
            },
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Self::failed()
            }
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match &error {
            ControlError::Refused { reason, .. } => Self::invalid(reason.clone()),
            ControlError::Unavailable { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Self::failed()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        /// The members of RFC 9457, and our code.
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'static str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'static str,
        }
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let mut response = (self.status, axum::Json(document)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
