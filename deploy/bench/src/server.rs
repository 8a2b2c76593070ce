//! What the mock provider and the bare proxy have in common: a listener on a free loopback port,
//! announced on standard output, with the same server settings as the gateway's data plane.

use std::{convert::Infallible, io::Write, net::Ipv4Addr, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Buffers of one connection, in bytes: as in the gateway.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take to send its headers: as in the gateway.
const HEADERS: Duration = Duration::from_mins(1);
/// Pause after a failed accept, most often for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Any error of a body or a call.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The one line that a server writes to standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// Where it listens.
    pub(crate) listening: SocketAddr,
}

/// Serves on a free loopback port until the process is ended.
///
/// # Errors
/// When no port can be had or standard output is closed.
pub(crate) async fn serve<S, B>(service: S) -> std::io::Result<()>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let announcement = Announcement { listening: listener.local_addr()? };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&announcement)?)?;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(BUFFER_BYTES);
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let service = TowerToHyperService::new(service.clone());
        let connection = builder.serve_connection(TokioIo::new(socket), service).into_owned();
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                eprintln!("connection ended: {cause}");
            }
        });
    }
}
