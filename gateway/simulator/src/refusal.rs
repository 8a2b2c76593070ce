//! Errors as the providers send them: status, headers and body shape.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::{
    ask::Family,
    sse::{quoted, text},
};

/// The body of an error of `family`.
pub(crate) fn body(
    family: Family,
    status: StatusCode,
    message: &str,
    param: Option<&str>,
    request_id: &str,
) -> Bytes {
    let mut out = BytesMut::new();
    match family {
        Family::OpenAi => {
            let (kind, code) = openai_type(status);
            text(&mut out, "{\"error\":{\"message\":");
            quoted(&mut out, message);
            text(&mut out, ",\"type\":");
            quoted(&mut out, kind);
            text(&mut out, ",\"param\":");
            optional(&mut out, param);
            text(&mut out, ",\"code\":");
            optional(&mut out, code);
            text(&mut out, "}}");
        }
        Family::Anthropic => {
            text(&mut out, "{\"type\":\"error\",\"error\":{\"type\":");
            quoted(&mut out, anthropic_type(status));
            text(&mut out, ",\"message\":");
            quoted(&mut out, message);
            text(&mut out, "},\"request_id\":");
            quoted(&mut out, request_id);
            text(&mut out, "}");
        }
    }
    out.freeze()
}

fn optional(out: &mut BytesMut, value: Option<&str>) {
    match value {
        Some(value) => quoted(out, value),
        None => text(out, "null"),
    }
}

/// Type and code.
fn openai_type(status: StatusCode) -> (&'static str, Option<&'static str>) {
    match status.as_u16() {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// What a simulated error of `status` says.
pub(crate) fn message(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The request was refused as the simulation asked for",
        429 => "Rate limit reached",
        500 => "The server had an error while processing your request",
        529 => "Overloaded",
        _ => status.canonical_reason().unwrap_or("Simulated error"),
    }
}

/// After how many seconds a client may try again; absent where the provider does not say.
pub(crate) fn retry_after_seconds(status: StatusCode) -> Option<u64> {
    match status.as_u16() {
        429 => Some(1),
        503 | 529 => Some(2),
        _ => None,
    }
}
