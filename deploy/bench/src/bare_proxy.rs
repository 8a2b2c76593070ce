//! A reverse proxy of hyper and tower that does nothing else: the floor of the gateway's stack.
//!
//! It has the gateway's settings towards clients and towards the upstream, so that what the
//! gateway costs beyond it is the cost of metering.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::server;

/// Buffers of one connection to the upstream, in bytes: as in the gateway.
const BUFFER_BYTES: usize = 32 * 1024;
/// Idle connections kept: more than the load has.
const IDLE_CONNECTIONS_MAX: usize = 512;
/// How long an idle connection is kept: as in the gateway.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// How long a connection may take to be made: as in the gateway.
const CONNECT: Duration = Duration::from_secs(10);
/// Headers that belong to one connection. `Host` is the upstream's own.
const HOP_BY_HOP: [HeaderName; 5] =
    [header::CONNECTION, header::HOST, header::TE, header::TRAILER, header::UPGRADE];

type Upstream = Client<HttpConnector, Incoming>;

/// Serves until the process is ended, passing everything on to `authority`.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn run(authority: uri::Authority) -> std::io::Result<()> {
    let client = client();
    server::serve(tower::service_fn(move |request| {
        let (client, authority) = (client.clone(), authority.clone());
        async move { Ok::<_, Infallible>(pass_on(request, &client, authority).await) }
    }))
    .await
}

fn client() -> Upstream {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http1_max_buf_size(BUFFER_BYTES)
        .build(tcp)
}

async fn pass_on(
    mut request: Request<Incoming>,
    client: &Upstream,
    authority: uri::Authority,
) -> Response<BoxBody<Bytes, hyper::Error>> {
    for name in HOP_BY_HOP {
        request.headers_mut().remove(name);
    }
    let mut target = request.uri().clone().into_parts();
    target.scheme = Some(uri::Scheme::HTTP);
    target.authority = Some(authority);
    match Uri::from_parts(target) {
        Ok(target) => *request.uri_mut() = target,
        Err(cause) => return refusal(&cause),
    }
    match client.request(request).await {
        Ok(mut response) => {
            response.headers_mut().remove(header::CONNECTION);
            response.map(BodyExt::boxed)
        }
        Err(cause) => refusal(&cause),
    }
}

fn refusal(cause: &dyn std::error::Error) -> Response<BoxBody<Bytes, hyper::Error>> {
    let body = Full::from(cause.to_string()).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
