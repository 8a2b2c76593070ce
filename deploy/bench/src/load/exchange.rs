//! One connection of the load client: a request, and its reply to the last byte.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Load;

/// Where every server under test takes chat completions.
const PATH: &str = "/v1/chat/completions";
const WHOLE: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":"What does a token meter count?"}]}"#;
const STREAMED: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":"What does a token meter count?"}]}"#;

/// Why a request did not get its whole reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// No connection.
    #[error("connect: {0}")]
    Connect(std::io::Error),
    /// The connection failed.
    #[error("exchange: {0}")]
    Http(#[from] hyper::Error),
    /// The request could not be made.
    #[error("request: {0}")]
    Request(#[from] http::Error),
    /// Another status than 200.
    #[error("status {status}: {body}")]
    Status { status: StatusCode, body: String },
    /// The reply ended before its time.
    #[error("a reply of {bytes} bytes lacks its end")]
    Truncated { bytes: usize },
}

/// When a reply's parts arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) first_byte: Duration,
    pub(super) total: Duration,
    pub(super) bytes: u64,
}

/// A connection, made when it is first needed.
#[derive(Debug)]
pub(super) struct Exchange {
    address: SocketAddr,
    stream: bool,
    key: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    body: Vec<u8>,
}

impl Exchange {
    /// A connection for this load.
    pub(super) fn new(load: &Load) -> Self {
        Self {
            address: load.address,
            stream: load.stream,
            key: load.key.clone(),
            sender: None,
            body: Vec::new(),
        }
    }

    /// Drops the connection; the next request makes another.
    pub(super) fn reconnect(&mut self) {
        self.sender = None;
    }

    /// Sends one request and reads its reply to the end.
    ///
    /// # Errors
    /// [`ExchangeError`] when the reply is not a whole one of status 200.
    pub(super) async fn once(&mut self) -> Result<Timing, ExchangeError> {
        let request = self.request()?;
        if self.sender.as_ref().is_some_and(SendRequest::is_closed) {
            self.reconnect();
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(connect(self.address).await?),
        };
        sender.ready().await?;
        let begun = Instant::now();
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        let mut first_byte = (!self.stream).then(|| begun.elapsed());
        let mut incoming = reply.into_body();
        self.body.clear();
        while let Some(frame) = incoming.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                first_byte.get_or_insert_with(|| begun.elapsed());
                self.body.extend_from_slice(bytes);
            }
        }
        let total = begun.elapsed();
        self.check(status)?;
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        Ok(Timing { first_byte: first_byte.unwrap_or(total), total, bytes })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let body = if self.stream { STREAMED } else { WHOLE };
        let mut request = Request::post(PATH)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::from(body))
    }

    fn check(&self, status: StatusCode) -> Result<(), ExchangeError> {
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&self.body).into_owned();
            return Err(ExchangeError::Status { status, body });
        }
        let end: &[u8] = if self.stream { b"data: [DONE]\n\n" } else { b"}" };
        if !self.body.ends_with(end) {
            return Err(ExchangeError::Truncated { bytes: self.body.len() });
        }
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, ExchangeError> {
    let socket = TcpStream::connect(address).await.map_err(ExchangeError::Connect)?;
    socket.set_nodelay(true).map_err(ExchangeError::Connect)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    // Its end shows in the next request.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stream: bool, body: &[u8], status: StatusCode) -> Result<(), ExchangeError> {
        let exchange = Exchange {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            stream,
            key: None,
            sender: None,
            body: body.to_vec(),
        };
        exchange.check(status)
    }

    #[test]
    fn a_reply_counts_only_with_its_end() {
        assert!(after(true, b"data: {}\n\ndata: [DONE]\n\n", StatusCode::OK).is_ok());
        assert!(after(true, b"data: {}\n\n", StatusCode::OK).is_err());
        assert!(after(false, b"{\"usage\":{}}", StatusCode::OK).is_ok());
        assert!(after(false, b"", StatusCode::OK).is_err());
    }

    #[test]
    fn a_refusal_is_an_error_that_shows_its_body() {
        let refused = after(false, b"{\"error\":1}", StatusCode::FORBIDDEN).unwrap_err();

        assert_eq!(refused.to_string(), "status 403 Forbidden: {\"error\":1}");
    }
}
