//! Exporters of both signals, as the configuration wants them.

use std::collections::HashMap;

use http::HeaderMap;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
    tonic_types::{metadata::MetadataMap, transport::ClientTlsConfig},
};
use rustls::RootCertStore;
use secrecy::ExposeSecret as _;

use crate::config::{OtlpConfig, Protocol, parse_headers};

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The headers for the collector are none. Their text is secret.
    #[error("entry {entry} of the headers is none, accepted: NAME=VALUE, values percent-encoded")]
    Headers {
        /// Which of them, from 1.
        entry: usize,
    },
    /// An exporter cannot be built.
    #[error("build the exporter for `{endpoint}`")]
    Build {
        /// Where it is to send.
        endpoint: String,
        /// What is wrong.
        #[source]
        cause: ExporterBuildError,
    },
}

/// The exporters of spans and of metrics.
///
/// # Errors
/// [`OtlpError`] when the headers or the endpoint cannot be used.
pub(crate) fn exporters(config: &OtlpConfig) -> Result<(SpanExporter, MetricExporter), OtlpError> {
    let text = config.headers.as_ref().map_or("", |headers| headers.expose_secret());
    let headers = parse_headers(text).map_err(|entry| OtlpError::Headers { entry })?;
    let headers: HeaderMap = headers.into_iter().collect();
    let built = match config.section.protocol {
        Protocol::HttpProtobuf => over_http(config, &headers),
        Protocol::Grpc => over_grpc(config, headers),
    };
    built.map_err(|cause| {
        let endpoint = config.section.endpoint.clone();
        OtlpError::Build { endpoint, cause }
    })
}

fn over_http(
    config: &OtlpConfig,
    headers: &HeaderMap,
) -> Result<(SpanExporter, MetricExporter), ExporterBuildError> {
    let section = &config.section;
    let base = section.endpoint.trim_end_matches('/');
    let client = || HyperClient::new(connector(base), section.timeout(), None);
    let named = || -> HashMap<String, String> {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    };
    let spans = SpanExporter::builder()
        .with_http()
        .with_http_client(client())
        .with_headers(named())
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(section.timeout())
        .build()?;
    let metrics = MetricExporter::builder()
        .with_http()
        .with_http_client(client())
        .with_headers(named())
        .with_endpoint(format!("{base}/v1/metrics"))
        .with_timeout(section.timeout())
        .build()?;
    Ok((spans, metrics))
}

/// Connects over TLS where the URL says so, by the machine's own root certificates.
fn connector(base: &str) -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut roots = RootCertStore::empty();
    if base.starts_with("https://") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    connector.enable_http1().wrap_connector(tcp)
}

fn over_grpc(
    config: &OtlpConfig,
    headers: HeaderMap,
) -> Result<(SpanExporter, MetricExporter), ExporterBuildError> {
    let section = &config.section;
    let metadata = MetadataMap::from_headers(headers);
    let tls = || ClientTlsConfig::new().with_native_roots();
    let mut spans = SpanExporter::builder()
        .with_tonic()
        .with_metadata(metadata.clone())
        .with_endpoint(&section.endpoint)
        .with_timeout(section.timeout());
    let mut metrics = MetricExporter::builder()
        .with_tonic()
        .with_metadata(metadata)
        .with_endpoint(&section.endpoint)
        .with_timeout(section.timeout());
    if section.endpoint.starts_with("https://") {
        spans = spans.with_tls_config(tls());
        metrics = metrics.with_tls_config(tls());
    }
    Ok((spans.build()?, metrics.build()?))
}
