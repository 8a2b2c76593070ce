//! A small HTTP/1.1 client: whole answers, and streams that a test reads piece by piece.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// A client; clones share their connections.
#[derive(Debug, Clone)]
pub struct Web {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// An answer whose body arrives as the test asks for it. Dropping it leaves: the connection
/// closes.
#[derive(Debug)]
pub struct Streamed {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Web {
    /// A new client.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Gets a whole answer; a refused connection is status 0.
    pub async fn get(&self, address: SocketAddr, path: &str) -> Reply {
        self.get_with(address, path, &[]).await
    }

    /// Gets a whole answer with these request headers; a refused connection is status 0.
    pub async fn get_with(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        match self.send(Method::GET, address, path, headers, Bytes::new()).await {
            Ok(streamed) => streamed.whole().await,
            Err(_) => Reply { status: 0, headers: HeaderMap::new(), body: Bytes::new() },
        }
    }

    /// Posts JSON and reads the whole answer.
    pub async fn post(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Reply {
        self.stream(address, path, headers, body).await.whole().await
    }

    /// Posts JSON and gives the answer as a stream.
    pub async fn stream(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Streamed {
        let body = Bytes::from(body.to_string());
        self.send(Method::POST, address, path, headers, body).await.unwrap()
    }

    /// Sends anything, as JSON unless a header says otherwise.
    ///
    /// # Errors
    /// When the connection is refused or ends before an answer.
    pub async fn send(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Streamed, hyper_util::client::legacy::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body)).unwrap()).await?;
        let (parts, body) = response.into_parts();
        Ok(Streamed { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Default for Web {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Streamed {
    /// The next piece of the body; `None` at its end or when it breaks off.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.body.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                return Some(bytes);
            }
        }
    }

    /// The rest of the body, and whether it ended as it should.
    pub async fn rest(&mut self) -> (Bytes, bool) {
        let mut all = Vec::new();
        loop {
            match self.body.frame().await {
                None => return (all.into(), true),
                Some(Err(_)) => return (all.into(), false),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        all.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }

    /// The whole answer; a body that breaks off is what had arrived.
    pub async fn whole(mut self) -> Reply {
        let (body, _) = self.rest().await;
        Reply { status: self.status, headers: self.headers, body }
    }
}
