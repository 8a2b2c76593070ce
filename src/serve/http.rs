//! An HTTP server for the console and metrics listeners: bounded connections, graceful end.
//!
//! Not for the data plane, which has its own in `permille-proxy`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use permille_proxy::nothing_asked;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::ServeError;

/// Connections at once: people, scrapers and local commands; each costs some 100 KiB at most.
const CONNECTIONS_MAX: usize = 512;
/// Longest wait for a client's request headers: a client that sends none must not hold a place.
const HEADERS: Duration = Duration::from_secs(15);
/// How long open requests may still take once the server is stopping.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed accept, most often for want of file descriptors: others may close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes `address` for `section`.
///
/// # Errors
/// [`ServeError::Listen`] names both.
pub(crate) async fn bind(
    section: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |cause| ServeError::Listen { section, address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until `stop`, then lets open requests finish within a grace.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S, stop: CancellationToken)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
        builder.http2().timer(TokioTimer::new());
        let asked = Arc::new(Notify::new());
        let request_came = Arc::clone(&asked);
        let service = service.clone().map_request(move |request| {
            request_came.notify_one();
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                },
                () = nothing_asked(&asked, HEADERS) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still open at the end of the grace");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_that_ask_for_nothing_do_not_keep_others_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        tokio::spawn(serve(listener, service, CancellationToken::new()));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }

        for client in &mut silent {
            let closed = client.read_to_end(&mut Vec::new()).await;

            assert!(closed.is_ok_and(|read| read == 0), "a silent client holds its place");
        }
    }
}
