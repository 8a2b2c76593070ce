//! How the object store speaks HTTP: over the client that the rest of this program uses, instead of
//! a second one.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as Tcp},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use rustls::RootCertStore;

/// How long a call may take to its answer, in which a part of a file travels: 8 MiB at 30 KB/s.
const CALL_MAX: Duration = Duration::from_mins(5);
/// How long it may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Largest answer that is no file, such as a list or an error.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Makes clients.
#[derive(Debug)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| object_store::Error::Generic { store: "S3", source: Box::new(cause) })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = connector.enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(HttpClient::new(Service { client }))
    }
}

#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
}

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let is_file = request.method() == Method::GET;
            let answered = tokio::time::timeout(CALL_MAX, self.answer(request, is_file)).await;
            answered.map_err(|slow| HttpError::new(HttpErrorKind::Timeout, slow))?
        })
    }
}

impl Service {
    /// The answer, whole but for a file: that is read piece by piece.
    async fn answer(&self, request: HttpRequest, is_file: bool) -> Result<HttpResponse, HttpError> {
        let sent = self.client.request(request).await;
        let (parts, body) = sent
            .map_err(|cause| {
                let connect = cause.is_connect();
                let kind = if connect { HttpErrorKind::Connect } else { HttpErrorKind::Request };
                HttpError::new(kind, cause)
            })?
            .into_parts();
        let broken = |cause| HttpError::new(HttpErrorKind::Interrupted, cause);
        if is_file && parts.status.is_success() {
            let body = HttpResponseBody::new(body.map_err(broken));
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let whole = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let whole = whole.map_err(|cause| HttpError::new_boxed(HttpErrorKind::Interrupted, cause));
        let whole = Full::new(whole?.to_bytes()).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(whole)))
    }
}
