//! The API of a running server.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{AnswerBody, ApiError, answer_body};

/// Longest wait for a connection: the listener is on this machine or near.
const CONNECT: Duration = Duration::from_secs(5);

/// HTTP to a console listener.
pub(super) struct HttpTransport {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// A client of the listener at `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), address }
    }

    /// Whether anyone listens there.
    pub(super) async fn is_reachable(&self) -> bool {
        let connect = tokio::net::TcpStream::connect(self.address);
        matches!(tokio::time::timeout(CONNECT, connect).await, Ok(Ok(_)))
    }

    /// Sends a request whose URI is a path; its answer is read as it comes.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<AnswerBody>, ApiError> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(self.address.to_string())
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build()
            .map_err(ApiError::Uri)?;
        let answer = self.client.request(request).await.map_err(|cause| ApiError::Unreachable {
            address: self.address,
            cause: cause.into(),
        })?;
        Ok(answer.map(answer_body))
    }
}
