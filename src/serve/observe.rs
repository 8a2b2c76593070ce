//! The metrics listener: `/metrics` for Prometheus, `/livez` and `/readyz` for supervisors.

use std::{convert::Infallible, fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::serve;

/// Says why the server is not ready; `None` when it is.
pub(crate) type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// What the listener answers from.
#[derive(Clone)]
pub(crate) struct Observed {
    /// Every metric of this process.
    pub(crate) registry: Registry,
    /// Whether traffic should be sent here.
    pub(crate) readiness: Readiness,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

/// Serves metrics and health until `stop`.
pub(crate) async fn observe(listener: TcpListener, observed: Observed, stop: CancellationToken) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let observed = observed.clone();
        async move {
            let answer = answer(&observed, request.method(), request.uri().path()).await;
            Ok::<_, Infallible>(answer)
        }
    });
    serve(listener, service, stop).await;
}

async fn answer(observed: &Observed, method: &Method, path: &str) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, TEXT, "ok\n".into()),
        (&Method::GET | &Method::HEAD, "/readyz") => match (observed.readiness)().await {
            None => (StatusCode::OK, TEXT, "ok\n".into()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, reason + "\n"),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => match encode(&observed.registry) {
            Ok(text) => (StatusCode::OK, prometheus::TEXT_FORMAT, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        (_, "/livez" | "/readyz" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "accepted: GET\n".into())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "accepted: /metrics, /livez, /readyz\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn encode(registry: &Registry) -> prometheus::Result<String> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(reason: Option<&'static str>, path: &str) -> StatusCode {
        let readiness: Readiness =
            Arc::new(move || Box::pin(std::future::ready(reason.map(str::to_owned))));
        let observed = Observed { registry: Registry::new(), readiness };
        answer(&observed, &Method::GET, path).await.status()
    }

    #[tokio::test]
    async fn a_server_that_is_not_ready_is_still_alive() {
        let full = Some("journal is full");

        assert_eq!(status(full, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(full, "/livez").await, StatusCode::OK);
        assert_eq!(status(None, "/readyz").await, StatusCode::OK);
        assert_eq!(status(None, "/").await, StatusCode::NOT_FOUND);
    }
}
