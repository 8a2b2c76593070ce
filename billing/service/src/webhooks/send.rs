//! One attempt: a connection of its own to an address that was checked, one request, its status.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use permille_ledger::DueDelivery;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    address::{BadUrl, NoAddress, Target},
    sign::signatures,
};

/// Longest attempt, from the look-up of the name to the status of the answer.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(15);
/// Longest wait for a connection, of which there may be several to try.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Most bytes of the head of an answer; its body is not read at all.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What receivers see who sends.
const USER_AGENT: &str = concat!("permille/", env!("CARGO_PKG_VERSION"));

/// Why an event is not delivered. The text names no URL and nothing of the answer: both may hold
/// what is nobody else's.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the URL is not accepted any more; accepted: {0}")]
    Url(#[from] BadUrl),
    #[error(transparent)]
    Address(#[from] NoAddress),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("this machine has no root certificates")]
    NoRoots,
    #[error("no answer: {0}")]
    Exchange(hyper::Error),
    #[error("the request cannot be made")]
    Request,
    #[error("no answer within {} s", ATTEMPT_MAX.as_secs())]
    Slow,
    #[error("status {status}; a redirect is not followed")]
    Redirect { status: u16 },
    #[error("status {status}")]
    Status { status: u16 },
}

impl SendError {
    /// What was answered.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Redirect { status } | Self::Status { status } => Some(*status),
            _ => None,
        }
    }

    /// Whether it is of no use to try again. Source: Standard Webhooks: 410 is "gone".
    pub(super) fn is_final(&self) -> bool {
        self.status() == Some(StatusCode::GONE.as_u16())
    }
}

/// What sends.
pub(super) struct Sender {
    allow_private: bool,
    /// Absent on a machine without root certificates.
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private, tls: tls() }
    }

    /// Sends one event. The status of an answer that takes it.
    pub(super) async fn send(&self, due: &DueDelivery) -> Result<u16, SendError> {
        tokio::time::timeout(ATTEMPT_MAX, self.exchange(due)).await.map_err(|_| SendError::Slow)?
    }

    async fn exchange(&self, due: &DueDelivery) -> Result<u16, SendError> {
        let target = Target::parse(&due.url, self.allow_private)?;
        let request = request(&target, due).ok_or(SendError::Request)?;
        let addresses = target.resolve(self.allow_private).await?;
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(&*addresses))
            .await
            .map_err(|_| SendError::Connect(io::ErrorKind::TimedOut.into()))?
            .map_err(SendError::Connect)?;
        let status = if target.tls {
            let tls = self.tls.as_ref().ok_or(SendError::NoRoots)?;
            let name = ServerName::try_from(target.host.clone());
            let name = name.map_err(|_| SendError::Url(BadUrl::NotAbsolute))?;
            ask(tls.connect(name, stream).await.map_err(SendError::Tls)?, request).await?
        } else {
            ask(stream, request).await?
        };
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let redirected = status.is_redirection();
        let status = status.as_u16();
        Err(if redirected { SendError::Redirect { status } } else { SendError::Status { status } })
    }
}

/// The signed request.
fn request(target: &Target, due: &DueDelivery) -> Option<Request<Full<Bytes>>> {
    let timestamp = due.at.timestamp();
    let signature = signatures(&due.secrets, &due.event, timestamp, &due.payload)?;
    Request::post(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header("webhook-id", &due.event)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(Full::new(Bytes::from(due.payload.clone())))
        .ok()
}

/// Sends `request` and waits for the head of the answer.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, SendError> {
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(SendError::Exchange)?;
    let (mut sender, connection) = handshake;
    let answered = sender.send_request(request);
    tokio::pin!(connection, answered);
    let answer = tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => {
            ended.map_err(SendError::Exchange)?;
            // A receiver that closes behind its answer ends the connection together with it.
            answered.await
        }
    };
    answer.map(|answer| answer.status()).map_err(SendError::Exchange)
}

fn tls() -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.ok()?.with_root_certificates(roots).with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}
