//! Which upstream of several is called, and when another one is called instead.

use http::StatusCode;
use permille_types::{ModelName, UpstreamName};
use serde::{Deserialize, Serialize};

/// `[routing]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// How one of several upstreams of the same priority is chosen.
    pub choose: Choose,
    /// Calls for one request, all upstreams together. Bounds what one request can cost us.
    pub calls_max: u32,
    /// Calls of one upstream for one model and request. One: a request is only tried elsewhere.
    pub upstream_calls_max: u32,
    /// Which failures lead to another call, as long as no byte has gone to the client.
    pub retry_on: Vec<RetryOn>,
    /// Milliseconds that a request may wait for an upstream that asked to be left alone.
    pub retry_wait_ms_max: u32,
    /// Further calls per hundred requests of the last ten seconds, so that a failing upstream
    /// never brings the others more than a part of its load.
    pub retries_percent_max: u16,
    /// Further calls per second that are always allowed, so that a quiet gateway retries too.
    pub retries_per_second: u16,
    /// Failures in a row after which an upstream is left alone; 0: never.
    pub breaker_failures: u32,
    /// Seconds for which it is left alone; then one request tries it.
    pub breaker_seconds: u32,
}

impl Default for RoutingSection {
    fn default() -> Self {
        Self {
            choose: Choose::Weighted,
            calls_max: 3,
            upstream_calls_max: 1,
            retry_on: RetryOn::default_list(),
            retry_wait_ms_max: 2_000,
            retries_percent_max: 20,
            retries_per_second: 10,
            breaker_failures: 5,
            breaker_seconds: 10,
        }
    }
}

/// How one of several upstreams is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// At random, in proportion to their weights.
    #[default]
    Weighted,
    /// The one whose replies have begun soonest of late.
    LeastLatency,
}

/// A failure after which another call may be made. Written as `connect`, `reset`, `timeout` or a
/// status such as `503`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RetryOn {
    /// No connection: the request was not sent.
    Connect,
    /// The connection broke after the request was sent; it may have been worked on.
    Reset,
    /// Silence for `idle_seconds_max`; the request may still be worked on.
    Timeout,
    /// An error status.
    Status(StatusCode),
}

impl RetryOn {
    /// Only what says that nothing was generated: no connection, a refusal for want of capacity,
    /// a proxy without its server.
    fn default_list() -> Vec<Self> {
        // Source: Anthropic API reference, "Errors": 529 is `overloaded_error`.
        let overloaded = StatusCode::from_u16(529).ok();
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]
            .into_iter()
            .chain(overloaded)
            .map(Self::Status)
            .chain([Self::Connect])
            .collect()
    }
}

impl TryFrom<String> for RetryOn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "connect" => return Ok(Self::Connect),
            "reset" => return Ok(Self::Reset),
            "timeout" => return Ok(Self::Timeout),
            _ => {}
        }
        let status = text.parse().ok().filter(|code| (400..600).contains(code));
        status.and_then(|code: u16| StatusCode::from_u16(code).ok()).map(Self::Status).ok_or_else(
            || format!("`{text}` is no failure, accepted: connect, reset, timeout, 400 to 599"),
        )
    }
}

impl From<RetryOn> for String {
    fn from(on: RetryOn) -> Self {
        match on {
            RetryOn::Connect => "connect".to_owned(),
            RetryOn::Reset => "reset".to_owned(),
            RetryOn::Timeout => "timeout".to_owned(),
            RetryOn::Status(status) => status.as_str().to_owned(),
        }
    }
}

/// `[[alias]]`: a name that clients use for a model. Several with one name are tried in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasSection {
    /// What clients write.
    pub name: ModelName,
    /// What upstreams are asked for.
    pub model: ModelName,
    /// Only this upstream; absent: every one that serves the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_it_is_written_and_nothing_else_does() {
        for text in ["connect", "reset", "timeout", "429", "529"] {
            let on = RetryOn::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(on), text);
        }
        for text in ["200", "600", "conect", "", "5xx"] {
            let refused = RetryOn::try_from(text.to_owned()).unwrap_err();
            assert!(refused.contains("accepted: connect"), "{refused}");
        }
    }

    #[test]
    fn by_default_nothing_is_retried_that_may_have_been_generated() {
        let routing = RoutingSection::default();

        assert_eq!(routing.upstream_calls_max, 1);
        for unsafe_one in ["reset", "timeout", "500", "504", "408", "409"] {
            let on = RetryOn::try_from(unsafe_one.to_owned()).unwrap();
            assert!(!routing.retry_on.contains(&on), "{unsafe_one}");
        }
    }
}
