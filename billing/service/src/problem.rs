//! Refusals of the API: problem details with a stable code.
//!
//! Source: RFC 9457, "Problem Details for HTTP APIs".

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use permille_ledger::{KEY_PREFIX, LedgerError, TOKEN_PREFIX};
use permille_types::ControlError;
use serde::Serialize;

use crate::input::BODY_BYTES_MAX;

/// Longest detail, in characters: what a terminal shows. The beginning of a longer one names the
/// field and the end what is accepted, so the middle goes.
const DETAIL_CHARS_MAX: usize = 2_000;
/// From so many characters on, what follows the prefix of a secret is taken for one: half of a
/// real one, and more than names have.
const SECRET_CHARS_MIN: usize = 24;

/// Every code of a refusal. They stay as they are: clients compare them.
pub(crate) const CODES: [&str; 13] = [
    "already_exists",
    "busy",
    "conflict",
    "export_failed",
    "forbidden",
    "invalid",
    "method_not_allowed",
    "not_expressible",
    "not_found",
    "store_failed",
    "too_large",
    "unauthenticated",
    "unsupported_media_type",
];

/// Why a request got no document.
#[derive(Debug, Clone)]
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

    /// A token came, and none that is in force.
    pub(crate) fn unknown_token() -> Self {
        let detail = "this API token is unknown or revoked; accepted: one that is in force, as \
                      `Authorization: Bearer pmt_…`";
        Self { detail: detail.to_owned(), ..Self::unauthenticated() }
    }

    pub(crate) fn forbidden(role: &str, what: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            detail: format!("a token of role {role} may not {what}"),
        }
    }

    /// Another site has sent a form of the console.
    pub(crate) fn other_site() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            detail: "the form was sent by another site; accepted: forms of the console's own pages"
                .to_owned(),
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

    pub(crate) fn media_type(given: &str, accepted: &str) -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code: "unsupported_media_type",
            detail: format!("content-type `{given}` is not accepted; accepted: {accepted}"),
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

    /// The document cannot be written in the form that was asked for.
    pub(crate) fn not_expressible(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "not_expressible",
            detail: detail.into(),
        }
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code: "conflict", detail: detail.into() }
    }

    /// Something that is done one at a time is under way.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "busy", detail: detail.into() }
    }

    /// A document could not be written out, which is not the store's fault.
    pub(crate) fn export_failed(error: &dyn std::error::Error) -> Self {
        let detail = format!("the export failed: {}", chain(error));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "export_failed", detail }
    }

    pub(crate) fn failed() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "store_failed",
            detail: "the store failed; the server's log says why".to_owned(),
        }
    }
}

/// A refusal as it is sent: the members of RFC 9457, and our code.
#[derive(Serialize)]
struct Document {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
}

impl Problem {
    fn document(&self) -> Document {
        Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.shown(),
            code: self.code,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, as it is shown.
    pub(crate) fn shown(&self) -> String {
        presentable(&self.detail)
    }

    /// A refusal of that status, as the API's description shows it.
    pub(crate) fn example(status: StatusCode) -> serde_json::Value {
        let problem = match status {
            StatusCode::UNAUTHORIZED => Self::unauthenticated(),
            StatusCode::FORBIDDEN => Self::forbidden("operator", "do this"),
            StatusCode::NOT_FOUND => Self::not_found("customer `acme` is unknown"),
            StatusCode::CONFLICT => Self::conflict(
                "invoice `INV-2026-000007` has billed 2026-10; late usage is on the next invoice",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(BODY_BYTES_MAX),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::media_type("text/plain", "application/json")
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                Self::invalid("limit `5000` is not accepted; accepted: 1 to 1000")
            }
            _ => Self::failed(),
        };
        serde_json::to_value(problem.document()).unwrap_or_default()
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::NotFound { .. } | LedgerError::NoSession { .. } => {
                Self::not_found(error.to_string())
            }
            LedgerError::Invalid { .. } | LedgerError::Entries { .. } => {
                Self::invalid(error.to_string())
            }
            LedgerError::AlreadyExists { .. } => Self {
                status: StatusCode::CONFLICT,
                code: "already_exists",
                detail: error.to_string(),
            },
            LedgerError::Refused { .. } => {
                Self { status: StatusCode::CONFLICT, code: "conflict", detail: error.to_string() }
            }
            // The same books come to the same again, and the store is well.
            LedgerError::Invoice { .. }
            | LedgerError::Credit { .. }
            | LedgerError::Amount { .. }
            | LedgerError::Count { .. }
            | LedgerError::Posting(_) => {
                let told = &error as &dyn std::error::Error;
                tracing::error!(error = told, "an amount cannot be computed");
                Self::conflict(chain(told))
            }
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

/// An error with its causes, as one line of text.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// `detail` as it is shown: without the secrets that a caller put where a name belongs, and short.
fn presentable(detail: &str) -> String {
    let mut text = detail.to_owned();
    for prefix in [KEY_PREFIX, TOKEN_PREFIX] {
        text = masked(&text, prefix);
    }
    let chars = text.chars().count();
    if chars <= DETAIL_CHARS_MAX {
        return text;
    }
    let kept = DETAIL_CHARS_MAX / 2;
    let head = text.chars().take(kept);
    let tail = text.chars().skip(chars.saturating_sub(kept));
    head.chain(" … ".chars()).chain(tail).collect()
}

fn masked(text: &str, prefix: &str) -> String {
    let mut pieces = text.split(prefix);
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        shown.push_str(prefix);
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        if piece.len().saturating_sub(rest.len()) >= SECRET_CHARS_MIN {
            shown.push('…');
            shown.push_str(rest);
        } else {
            shown.push_str(piece);
        }
    }
    shown
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.document())).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        // The console makes a page of it.
        response.extensions_mut().insert(self);
        response
    }
}
