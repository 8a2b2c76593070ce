//! Why the billing API gave no document.

use std::net::SocketAddr;

use http::StatusCode;
use serde::Deserialize;

/// Why the billing API gave no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It refused, in its own words (RFC 9457).
    #[error("{detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// It does one such thing at a time, and another one is under way; it has waited already.
    #[error("{detail}")]
    Busy {
        /// What it said.
        detail: String,
    },
    /// The server cannot be reached.
    #[error("reach the billing API at {address}")]
    Unreachable {
        /// Where it should listen.
        address: SocketAddr,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came to a change, which may have been made.
    #[error(
        "no answer came, and the change may be made: the same command with `--idempotency-key \
         {key}` makes it at most once"
    )]
    Unsure {
        /// The key that the change was asked for under.
        key: String,
        /// Why there is no answer.
        #[source]
        cause: Box<ApiError>,
    },
    /// It takes too long.
    #[error("the billing API gave no answer within {seconds} s")]
    Slow {
        /// The limit.
        seconds: u64,
    },
    /// A request cannot be written as JSON.
    #[error("write a request for the billing API")]
    Request(#[source] serde_json::Error),
    /// A request has no valid path or token.
    #[error("build a request for the billing API")]
    Uri(#[source] http::Error),
    /// An answer broke off or is too long.
    #[error("read the answer of the billing API")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer is not what this version expects.
    #[error("understand the answer of the billing API")]
    Answer(#[source] serde_json::Error),
    /// The store cannot be opened.
    #[error("open the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The code of a problem that says to ask again.
const BUSY: &str = "busy";

impl ApiError {
    /// Reads a problem document; an answer without one is told by its status.
    pub(super) fn from_problem(status: StatusCode, body: &[u8]) -> Self {
        /// The parts of RFC 9457 that people read.
        #[derive(Deserialize)]
        struct Problem {
            title: Option<String>,
            detail: Option<String>,
            code: Option<String>,
        }
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let is_busy = problem.as_ref().is_some_and(|problem| problem.code.as_deref() == Some(BUSY));
        let detail = problem
            .and_then(|problem| problem.detail.or(problem.title))
            .unwrap_or_else(|| format!("the billing API answered {status}"));
        if is_busy { Self::Busy { detail } } else { Self::Refused { detail } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_the_words_of_the_api() {
        let body = br#"{"type":"x","title":"Not found","detail":"customer `a` does not exist"}"#;

        let error = ApiError::from_problem(StatusCode::NOT_FOUND, body);
        assert_eq!(error.to_string(), "customer `a` does not exist");

        let body = br#"{"title":"Busy","detail":"ask again later","code":"busy"}"#;
        let error = ApiError::from_problem(StatusCode::SERVICE_UNAVAILABLE, body);
        assert!(matches!(error, ApiError::Busy { .. }), "{error:?}");

        let error = ApiError::from_problem(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(error.to_string(), "the billing API answered 502 Bad Gateway");
    }
}
