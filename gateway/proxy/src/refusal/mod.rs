//! Why a request is answered by Permille itself, and how that reads in the caller's own format.

mod body;
mod in_stream;

pub(crate) use in_stream::Framing;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use permille_types::{Currency, Ended, Family, ModelName, RequestId};

/// A request that goes no further. Its text is for the client: it names the thing, what is wrong
/// and what is accepted, and never holds a key or a prompt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no API key: send your `sk-pm_…` key where the provider's key goes")]
    MissingKey,
    #[error("the API key is not known here: check that it begins with `sk-pm_` and is complete")]
    UnknownKey,
    #[error("the API key was revoked: create a new one with `permille key create`")]
    RevokedKey,
    #[error("the path `{path}` is not served: accepted are {accepted}")]
    UnsupportedPath { path: String, accepted: String },
    #[error("the method {method} is not served on `{path}`: accepted is {accepted}")]
    UnsupportedMethod { method: Method, path: String, accepted: Method },
    #[error("{0}")]
    InvalidRequest(String),
    #[error("the request body has more than {bytes_max} bytes, the largest accepted here")]
    BodyTooLarge { bytes_max: u64 },
    #[error("the request body did not arrive within {seconds} seconds")]
    BodyTimeout { seconds: u64 },
    #[error("the request body is encoded as `{encoding}`: accepted is an unencoded body")]
    EncodedBody { encoding: String },
    #[error("no upstream serves the model `{model}` on this path: see the models list")]
    UnknownModel { model: ModelName },
    #[error("no response `{response}` of this customer is stored here")]
    UnknownResponse { response: String },
    #[error(
        "the response `{response}` was made in the background and what it used is not counted yet: \
         read it until its status says that it has ended, then try again"
    )]
    ResponseNotCounted { response: String },
    #[error("whose response `{response}` is cannot be said at the moment; try again shortly")]
    ResponseNotKnownYet { response: String },
    #[error("no upstream of the family {family} is configured")]
    NoUpstream { family: Family },
    #[error(
        "the model `{model}` has no price in {}, the currency of this customer; it is not called, \
         because it could not be billed", currency.code()
    )]
    UnpricedModel { model: ModelName, currency: Currency },
    #[error("{text}")]
    RateLimited { text: String, retry_after: Duration },
    /// `passes`: it may be served once open requests have ended.
    #[error("{text}")]
    BudgetExceeded { text: String, passes: bool, retry_after: Option<Duration> },
    #[error("what is left of this key's limits cannot be known at the moment; try again shortly")]
    LimitsUnavailable,
    #[error("the gateway is at its bound of {what}; try again shortly")]
    Overloaded { what: &'static str },
    #[error("the gateway has not yet heard from billing; try again shortly")]
    NotReady,
    #[error("usage cannot be recorded at the moment, so nothing is served: {reason}")]
    JournalUnavailable { reason: String },
    #[error("the upstream `{upstream}` cannot be reached")]
    UpstreamUnreachable { upstream: String },
    #[error("the upstream `{upstream}` closed the connection before it answered")]
    UpstreamReset { upstream: String },
    #[error(
        "the upstream `{upstream}` answered with a redirect, which is not followed: its `base_url` \
         must be the address that it redirects to"
    )]
    UpstreamRedirects { upstream: String },
    #[error(
        "the upstream `{upstream}` gives no access token for our API key and secret key: its \
         operator has to check them"
    )]
    UpstreamCredential { upstream: String },
    #[error(
        "every upstream of this model has failed repeatedly and is left alone; try again in {} \
         seconds", retry_after.as_secs().max(1)
    )]
    UpstreamsUnwell { retry_after: Duration },
    #[error("the request was not answered within {seconds} seconds")]
    Deadline { seconds: u64 },
    #[error("the upstream `{upstream}` was silent for {seconds} seconds")]
    UpstreamTimeout { upstream: String, seconds: u64 },
}

/// Gives each refusal its code, and the list of all codes: one cannot be without the other.
macro_rules! codes {
    ($($refusal:ident => $code:literal,)+) => {
        /// The codes of all refusals.
        pub(crate) const CODES: &[&str] = &[$($code),+];

        impl Refusal {
            /// Stable name of the reason: programs rely on it.
            pub(crate) fn code(&self) -> &'static str {
                match self {
                    $(Self::$refusal { .. } => $code,)+
                }
            }
        }
    };
}

codes! {
    MissingKey => "permille_missing_key",
    UnknownKey => "permille_unknown_key",
    RevokedKey => "permille_revoked_key",
    UnsupportedPath => "permille_unsupported_path",
    UnsupportedMethod => "permille_unsupported_method",
    InvalidRequest => "permille_invalid_request",
    BodyTooLarge => "permille_body_too_large",
    BodyTimeout => "permille_body_timeout",
    EncodedBody => "permille_encoded_body",
    UnknownModel => "permille_unknown_model",
    UnknownResponse => "permille_unknown_response",
    ResponseNotCounted => "permille_response_not_counted",
    ResponseNotKnownYet => "permille_response_not_known_yet",
    NoUpstream => "permille_no_upstream",
    UnpricedModel => "permille_unpriced_model",
    RateLimited => "permille_rate_limited",
    BudgetExceeded => "permille_budget_exceeded",
    LimitsUnavailable => "permille_limits_unavailable",
    Overloaded => "permille_overloaded",
    NotReady => "permille_not_ready",
    JournalUnavailable => "permille_journal_unavailable",
    UpstreamUnreachable => "permille_upstream_unreachable",
    UpstreamReset => "permille_upstream_reset",
    UpstreamRedirects => "permille_upstream_redirects",
    UpstreamCredential => "permille_upstream_credential",
    UpstreamsUnwell => "permille_upstreams_unwell",
    UpstreamTimeout => "permille_upstream_timeout",
    Deadline => "permille_deadline",
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::MissingKey | Self::UnknownKey | Self::RevokedKey => StatusCode::UNAUTHORIZED,
            Self::UnsupportedPath { .. }
            | Self::UnknownModel { .. }
            | Self::UnknownResponse { .. } => StatusCode::NOT_FOUND,
            Self::ResponseNotCounted { .. } => StatusCode::CONFLICT,
            Self::UnsupportedMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::EncodedBody { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnpricedModel { .. } | Self::BudgetExceeded { .. } => {
                StatusCode::PAYMENT_REQUIRED
            }
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoUpstream { .. }
            | Self::Overloaded { .. }
            | Self::NotReady
            | Self::LimitsUnavailable
            | Self::ResponseNotKnownYet { .. }
            | Self::UpstreamsUnwell { .. }
            | Self::JournalUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable { .. }
            | Self::UpstreamReset { .. }
            | Self::UpstreamRedirects { .. }
            | Self::UpstreamCredential { .. } => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout { .. } | Self::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How a request that it ends has ended.
    pub(crate) fn ending(&self) -> Ended {
        match self {
            Self::UpstreamTimeout { .. } | Self::Deadline { .. } => Ended::Deadline,
            _ => Ended::UpstreamError,
        }
    }

    /// Whether the same request may succeed later. Official SDKs obey `x-should-retry`.
    fn is_retryable(&self) -> bool {
        let status = self.status();
        let lasts = matches!(
            self,
            Self::NoUpstream { .. }
                | Self::UpstreamRedirects { .. }
                | Self::UpstreamCredential { .. }
        );
        (status.is_server_error() && !lasts)
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || matches!(self, Self::BudgetExceeded { passes: true, .. })
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::UpstreamsUnwell { retry_after } => {
                Some(retry_after.as_secs().max(1))
            }
            Self::BudgetExceeded { retry_after, .. } => {
                retry_after.map(|after| after.as_secs().max(1))
            }
            Self::Overloaded { .. }
            | Self::NotReady
            | Self::LimitsUnavailable
            | Self::ResponseNotKnownYet { .. }
            | Self::JournalUnavailable { .. } => Some(1),
            _ => None,
        }
    }

    /// The refusal of request `id` as an answer in the format of `family`.
    pub(crate) fn answer(&self, family: Family, id: RequestId) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body(family, id).to_string()));
        *response.status_mut() = match family {
            // Their clients read a body only behind this status, and the error in it.
            Family::QianfanV1 | Family::Hunyuan => StatusCode::OK,
            _ => self.status(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let should_retry = if self.is_retryable() { "true" } else { "false" };
        headers.insert("x-should-retry", HeaderValue::from_static(should_retry));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Where their SDKs find the id that an error is reported by.
        let name = match family {
            Family::OpenAi | Family::AzureOpenAi => Some("x-request-id"),
            Family::Anthropic => Some("request-id"),
            _ => None,
        };
        if let Some((name, id)) = name.zip(HeaderValue::from_str(&id.to_string()).ok()) {
            headers.insert(name, id);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(refusal: &Refusal, family: Family) -> Response<Bytes> {
        refusal.answer(family, RequestId::new(chrono::DateTime::UNIX_EPOCH))
    }

    fn limited(seconds: u64) -> Refusal {
        let retry_after = Duration::from_secs(seconds);
        Refusal::RateLimited { text: "enough".to_owned(), retry_after }
    }

    #[test]
    fn a_refusal_speaks_the_callers_format() {
        let refusal = Refusal::UnknownModel { model: "gpt-99".parse().unwrap() };
        for (family, code, message) in [
            (Family::OpenAi, "/error/code", "/error/message"),
            (Family::AzureOpenAi, "/error/code", "/error/message"),
            (Family::Anthropic, "/error/code", "/error/message"),
            (Family::Gemini, "/error/details/0/reason", "/error/message"),
            (Family::QianfanV1, "/code", "/error_msg"),
            (Family::Dashscope, "/code", "/message"),
            (Family::Hunyuan, "/Response/Error/Code", "/Response/Error/Message"),
            (Family::Pangu, "/error_code", "/error_msg"),
            (Family::Tgi, "/error_type", "/error"),
            (Family::Ollama, "/error_type", "/error"),
            (Family::LlamaCpp, "/error/code", "/error/message"),
            (Family::Generic, "/error/code", "/error/message"),
        ] {
            let body: serde_json::Value =
                serde_json::from_slice(answer(&refusal, family).body()).unwrap();
            let text = |place| body.pointer(place).and_then(serde_json::Value::as_str).unwrap();

            assert_eq!(text(code), "permille_unknown_model", "{family}");
            assert!(text(message).contains("gpt-99"), "{family}");
        }
    }

    #[test]
    fn a_refusal_names_the_status_as_each_family_does() {
        let body = |family| -> serde_json::Value {
            serde_json::from_slice(answer(&Refusal::UnknownKey, family).body()).unwrap()
        };

        assert_eq!(body(Family::Anthropic)["type"], "error");
        assert_eq!(body(Family::Anthropic)["error"]["type"], "authentication_error");
        assert_eq!(body(Family::Gemini)["error"]["status"], "UNAUTHENTICATED");
        assert_eq!(body(Family::Gemini)["error"]["code"], 401);
    }

    #[test]
    fn a_refusal_has_the_number_and_the_status_that_qianfans_own_errors_have() {
        for (refusal, number) in [
            (Refusal::UnknownKey, 110),
            (limited(1), 336_501),
            (Refusal::NotReady, 336_100),
            (Refusal::UnknownModel { model: "x".parse().unwrap() }, 3),
            (Refusal::InvalidRequest(String::new()), 336_003),
        ] {
            let answer = answer(&refusal, Family::QianfanV1);
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();

            assert_eq!(body["error_code"], number);
            assert_eq!(answer.status(), 200);
        }
    }

    #[test]
    fn a_refusal_has_its_id_where_the_official_sdks_look_for_it() {
        let id = RequestId::new(chrono::DateTime::UNIX_EPOCH);
        for (family, name, other) in [
            (Family::OpenAi, "x-request-id", "request-id"),
            (Family::AzureOpenAi, "x-request-id", "request-id"),
            (Family::Anthropic, "request-id", "x-request-id"),
        ] {
            let answer = Refusal::UnknownKey.answer(family, id);

            assert_eq!(answer.headers()[name], id.to_string(), "{family}");
            assert!(!answer.headers().contains_key(other), "{family}");
        }
    }

    #[test]
    fn a_refusal_says_whether_retrying_helps() {
        let limited = answer(&limited(7), Family::OpenAi);

        assert_eq!(limited.headers()["retry-after"], "7");
        assert_eq!(limited.headers()["x-should-retry"], "true");
        assert_eq!(
            answer(&Refusal::UnknownKey, Family::OpenAi).headers()["x-should-retry"],
            "false"
        );
    }
}
