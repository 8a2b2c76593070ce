//! `[otlp]`: where OpenTelemetry's signals go, and how many.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `[otlp]`, as configured. Absent, nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSection {
    /// Base URL of the collector: `http://127.0.0.1:4318`, for gRPC `http://127.0.0.1:4317`.
    pub endpoint: String,
    /// How it is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// Environment variable that holds headers for the collector, such as its credential:
    /// `NAME=VALUE,…`, values percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_env: Option<String>,
    /// File that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// Share of the calls that have a span. Metrics count all of them.
    #[serde(default)]
    pub sample_ratio: Ratio,
    /// Milliseconds that one export may take.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u32,
    /// Seconds between two exports of metrics.
    #[serde(default = "a_minute")]
    pub metrics_seconds: u32,
    /// Spans that wait for the collector at most; further ones are dropped and counted. Each takes
    /// about 2 KiB.
    #[serde(default = "spans_max")]
    pub spans_max: u32,
    /// `service.name` of what is sent.
    #[serde(default = "service_name")]
    pub service_name: String,
}

/// OTLP's default. Source: OpenTelemetry, "OTLP exporter configuration".
fn ten_seconds() -> u32 {
    10_000
}

/// OpenTelemetry's default export interval of metrics.
fn a_minute() -> u32 {
    60
}

/// OpenTelemetry's default queue of spans.
fn spans_max() -> u32 {
    2_048
}

fn service_name() -> String {
    "permille".to_owned()
}

impl OtlpSection {
    /// What one export may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// Why it cannot be used, but for its endpoint; absent when it can. Names the key.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let bounds = [
            ("timeout_ms", self.timeout_ms, 1, 60_000),
            ("metrics_seconds", self.metrics_seconds, 1, 3_600),
            ("spans_max", self.spans_max, 1, 1_000_000),
        ];
        for (key, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Some((key, format!("is {value}, accepted: {least} to {most}")));
            }
        }
        if self.service_name.trim().is_empty() {
            return Some(("service_name", "is empty, accepted: a name".to_owned()));
        }
        None
    }
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// Protobuf in the bodies of HTTP requests to `/v1/traces` and `/v1/metrics`.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Ratio(f64);

// It is never NaN.
impl Eq for Ratio {}

impl Default for Ratio {
    fn default() -> Self {
        Self(1.0)
    }
}

/// A number that is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no share: accepted is a number from 0 (none) to 1 (all)")]
pub struct NoRatio(f64);

impl TryFrom<f64> for Ratio {
    type Error = NoRatio;

    fn try_from(share: f64) -> Result<Self, NoRatio> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(NoRatio(share)) }
    }
}

impl From<Ratio> for f64 {
    fn from(Ratio(share): Ratio) -> Self {
        share
    }
}

/// A section whose headers have been read.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// The configured part.
    pub section: OtlpSection,
    /// `NAME=VALUE,…`; absent where the collector wants none.
    pub headers: Option<SecretString>,
    /// `service.instance.id` of what is sent: which gateway this is.
    pub instance: String,
    /// `service.version` of what is sent.
    pub version: &'static str,
}

/// The headers of `NAME=VALUE,…`, values percent-encoded.
///
/// Source: OpenTelemetry, "OTLP exporter configuration", `OTEL_EXPORTER_OTLP_HEADERS`.
///
/// # Errors
/// The number of the entry that is none, from 1; never its text, which is secret.
pub fn parse_headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, usize> {
    let entries = text.split(',').filter(|entry| !entry.trim().is_empty()).enumerate();
    entries.map(|(place, entry)| header(entry).ok_or(place + 1)).collect()
}

fn header(entry: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = entry.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let headers = parse_headers("Authorization=Bearer%20s3cret, x-tenant = acme ,").unwrap();

        let read: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(read, [("authorization", "Bearer s3cret"), ("x-tenant", "acme")]);
        assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!(parse_headers("a=1,nothing"), Err(2));
        assert_eq!(parse_headers("a=%0a"), Err(1));
    }

    #[test]
    fn a_ratio_is_from_none_to_all() {
        assert!(Ratio::try_from(0.25).is_ok());
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert!(Ratio::try_from(wrong).unwrap_err().to_string().contains("from 0 (none)"));
        }
    }
}
