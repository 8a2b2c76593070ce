//! What a request to Google may not ask of the form of its reply: a reply without its usage, or in
//! a form that cannot be read, could not be billed.
//!
//! Source: Google Cloud API, "System parameters"; Gemini API discovery document, `parameters`.

use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::{client_key::parameters, refusal::Refusal};

/// The header that has the meaning of the parameter `fields`.
const FIELD_MASK: &str = "x-goog-fieldmask";

/// Refuses a request whose reply could not be metered.
pub(crate) fn check(head: &Parts) -> Result<(), Refusal> {
    if head.headers.contains_key(FIELD_MASK) {
        return Err(refused(FIELD_MASK, "no mask of fields"));
    }
    for (name, value) in head.uri.query().into_iter().flat_map(parameters) {
        let (name, value) = (decoded(name), decoded(value));
        match name.strip_prefix('$').unwrap_or(&name) {
            "fields" => return Err(refused(&name, "no mask of fields")),
            "callback" => return Err(refused(&name, "no callback")),
            "alt" if !matches!(form(&value), "" | "json" | "sse") => {
                return Err(refused(&name, "json or sse"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `json;enum-encoding=int` is JSON.
fn form(alt: &str) -> &str {
    alt.split(';').next().unwrap_or_default().trim()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn refused(what: &str, accepted: &str) -> Refusal {
    Refusal::InvalidRequest(format!(
        "`{what}` is not accepted as it is, because the reply could not be metered: accepted is \
         {accepted}"
    ))
}
