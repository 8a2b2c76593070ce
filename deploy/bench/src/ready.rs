//! Asks a server's metrics listener whether it is ready for traffic.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::server::Failure;

/// Longest wait for one answer; a server that takes longer is not ready.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Whether `/readyz` at `address` answers 200.
pub(crate) async fn is_ready(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(ANSWER_MAX, status(address)).await, Ok(Ok(StatusCode::OK)))
}

async fn status(address: SocketAddr) -> Result<StatusCode, Failure> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new());
    let status = sender.send_request(request?).await?.status();
    connection.abort();
    Ok(status)
}
