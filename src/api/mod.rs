//! The billing API as a client sees it, over either of two transports: HTTP to the server that
//! holds the data folder, or the same routes in this process when none does.
//!
//! Commands talk to [`Api`] only, so there is one way in which each of them works.

mod download;
mod error;
mod http;
mod in_process;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ::http::{Method, Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use permille_types::{Clock, SystemClock};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{config::Config, data_folder::DataFolder, error::CliError};

pub(crate) use download::Download;
pub(crate) use error::ApiError;

/// Longest answer: a page of rows or one large invoice.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest wait for one answer: an invoice over a month of rows is the slowest call.
const ANSWER_SECONDS_MAX: u64 = 120;
/// Longest wait for work over a whole month, or of one step of such work: one customer's month may
/// have ten million rows to read, and a check reads that of everyone.
pub(crate) const WORK_SECONDS_MAX: u64 = 3_600;
/// How long a command waits for another one that has the folder, or for a server that starts.
const FOLDER_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at a folder that is in use.
const FOLDER_POLL: Duration = Duration::from_millis(50);

/// A client of the billing API.
#[derive(Debug)]
pub(crate) struct Api {
    transport: Transport,
    token: SecretString,
    /// The idempotency key of the first change; further ones have their number behind it.
    key: Option<String>,
    changes: AtomicU32,
}

#[derive(Debug)]
enum Transport {
    Http(Box<http::HttpTransport>),
    InProcess(Box<in_process::InProcess>),
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Api {
    /// Finds the server that holds `folder`, or opens the folder itself.
    ///
    /// # Errors
    /// [`CliError`] when another process holds the folder and answers nothing, or the store
    /// cannot be opened.
    pub(crate) async fn connect(folder: &DataFolder, config: &Config) -> Result<Self, CliError> {
        let deadline = tokio::time::Instant::now() + FOLDER_WAIT;
        loop {
            if let Some(lock) = folder.try_lock()? {
                let (local, token) = in_process::InProcess::open(folder, lock, config).await?;
                return Ok(Self::over(Transport::InProcess(Box::new(local)), token));
            }
            // The record may be that of a server that crashed, while a command has the lock.
            let console = folder.server()?.and_then(|server| server.console);
            if let (Some(console), Some(token)) = (console, folder.cli_token()?) {
                let transport = http::HttpTransport::new(console);
                if transport.is_reachable().await {
                    return Ok(Self::over(Transport::Http(Box::new(transport)), token));
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err(folder.held_by_another()?.into());
            }
            tokio::time::sleep(FOLDER_POLL).await;
        }
    }

    fn over(transport: Transport, token: SecretString) -> Self {
        Self { transport, token, key: None, changes: AtomicU32::new(0) }
    }

    /// The same client, whose changes are made under `key`, where there is one.
    pub(crate) fn under(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }

    /// The same client in the name of another token.
    pub(crate) fn bearing(self, token: SecretString) -> Self {
        Self { token, ..self }
    }

    /// A client of the API at a known address.
    pub(crate) fn at(console: std::net::SocketAddr, token: SecretString) -> Self {
        Self::over(Transport::Http(Box::new(http::HttpTransport::new(console))), token)
    }

    /// Reads one document.
    ///
    /// # Errors
    /// [`ApiError`] when the API refuses or cannot be reached.
    pub(crate) async fn get(&self, path: &Path) -> Result<Box<RawValue>, ApiError> {
        self.get_within(ANSWER_SECONDS_MAX, path).await
    }

    /// The same, of what may take longer than other calls: up to so many seconds.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) async fn get_within(
        &self,
        seconds_max: u64,
        path: &Path,
    ) -> Result<Box<RawValue>, ApiError> {
        self.call(Method::GET, &path.0, Bytes::new(), seconds_max).await
    }

    /// Posts one document. Each call carries an idempotency key of its own.
    ///
    /// # Errors
    /// [`ApiError`] when the API refuses or cannot be reached.
    pub(crate) async fn post(
        &self,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Box<RawValue>, ApiError> {
        self.post_within(ANSWER_SECONDS_MAX, path, body).await
    }

    /// The same, of what may take longer than other calls: up to so many seconds.
    ///
    /// # Errors
    /// As [`Api::post`].
    pub(crate) async fn post_within(
        &self,
        seconds_max: u64,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Box<RawValue>, ApiError> {
        let body = serde_json::to_vec(body).map_err(ApiError::Request)?;
        self.call(Method::POST, &path.0, body.into(), seconds_max).await
    }

    /// Reads a list page by page, handing each one to `take`, until there is no more or `take`
    /// has enough and answers `false`.
    ///
    /// # Errors
    /// [`CliError`] when the API refuses, or what `take` says.
    pub(crate) async fn pages(
        &self,
        path: &Path,
        mut take: impl FnMut(Vec<Box<RawValue>>) -> Result<bool, CliError>,
    ) -> Result<(), CliError> {
        let mut cursor: Option<String> = None;
        loop {
            let page = path.clone().with("cursor", cursor.as_deref());
            let document = self.get(&page).await?;
            let page: Page = serde_json::from_str(document.get()).map_err(ApiError::Answer)?;
            if !take(page.items)? {
                return Ok(());
            }
            // A cursor that does not move would loop for ever.
            match page.next_cursor {
                Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// Reads a whole list.
    ///
    /// # Errors
    /// [`CliError`] when the API refuses or cannot be reached.
    pub(crate) async fn list(&self, path: &Path) -> Result<Vec<Box<RawValue>>, CliError> {
        let mut items = Vec::new();
        self.pages(path, |page| {
            items.extend(page);
            Ok(true)
        })
        .await?;
        Ok(items)
    }

    /// Opens a file, whose bytes are then taken piece by piece.
    ///
    /// # Errors
    /// [`ApiError`] when the API refuses or cannot be reached.
    pub(crate) async fn download(&self, path: &Path) -> Result<Download, ApiError> {
        let request = self.request(&Method::GET, &path.0, "*/*");
        let request = request.body(Full::default()).map_err(ApiError::Uri)?;
        let answer = in_time(self.open(request)).await??;
        if answer.status().is_success() {
            return Ok(Download::new(answer));
        }
        let (parts, body) = in_time(collect(answer)).await??.into_parts();
        Err(ApiError::from_problem(parts.status, &body))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        seconds_max: u64,
    ) -> Result<Box<RawValue>, ApiError> {
        let mut request = self.request(&method, path, "application/json");
        let key = (method == Method::POST).then(|| self.idempotency_key());
        if let Some(key) = &key {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", key);
        }
        let request = request.body(Full::new(body)).map_err(ApiError::Uri)?;
        let answer = async { collect(self.open(request).await?).await };
        match (within(seconds_max, answer).await.flatten(), key) {
            (Err(cause), Some(key)) => Err(ApiError::Unsure { key, cause: Box::new(cause) }),
            (answer, _) => read(answer?),
        }
    }

    /// That of the next change: the one that was asked for, or a new one.
    fn idempotency_key(&self) -> String {
        let before = self.changes.fetch_add(1, Ordering::Relaxed);
        match &self.key {
            None => permille_types::RequestId::new(SystemClock.now()).to_string(),
            Some(key) if before == 0 => key.clone(),
            Some(key) => format!("{key}/{}", before.saturating_add(1)),
        }
    }

    fn request(&self, method: &Method, path: &str, accept: &str) -> ::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose_secret()))
            .header(header::ACCEPT, accept)
    }

    async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<AnswerBody>, ApiError> {
        match &self.transport {
            Transport::Http(transport) => transport.send(request).await,
            Transport::InProcess(local) => Ok(local.send(request).await),
        }
    }
}

/// Waits for an answer, or a part of one, no longer than for any other.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, ApiError> {
    within(ANSWER_SECONDS_MAX, answer).await
}

async fn within<T>(seconds: u64, answer: impl Future<Output = T>) -> Result<T, ApiError> {
    let waited = tokio::time::timeout(Duration::from_secs(seconds), answer).await;
    waited.map_err(|_| ApiError::Slow { seconds })
}

/// The secret in the answer to a key's or token's creation.
///
/// # Errors
/// [`ApiError::Answer`] when there is none.
pub(crate) fn created_secret(created: &RawValue) -> Result<SecretString, ApiError> {
    /// The one field that matters here.
    #[derive(Deserialize)]
    struct Created {
        secret: SecretString,
    }
    let created: Created = serde_json::from_str(created.get()).map_err(ApiError::Answer)?;
    Ok(created.secret)
}

/// The document of a successful answer, or the problem of another one.
fn read(answer: Response<Bytes>) -> Result<Box<RawValue>, ApiError> {
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        return serde_json::from_slice(&body).map_err(ApiError::Answer);
    }
    Err(ApiError::from_problem(parts.status, &body))
}

/// The body of an answer, over either transport.
type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

fn answer_body<B>(body: B) -> AnswerBody
where
    B: ::http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Collects an answer's body within its bound.
async fn collect(answer: Response<AnswerBody>) -> Result<Response<Bytes>, ApiError> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(ApiError::Body)?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// A path under `/api/v1/` with its query. Every part is escaped here and nowhere else.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    /// A path of these segments.
    pub(crate) fn of(segments: &[&str]) -> Self {
        let escaped: Vec<String> = segments.iter().map(|segment| escape(segment)).collect();
        Self(escaped.join("/"))
    }

    /// Adds a query parameter, when there is a value.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&escape(value));
        }
        self
    }
}

/// Nouns have dashes, and a server compares them as they come. A dot stays escaped: `..` is no id.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_slashes_and_chinese_stay_one_segment() {
        let path = Path::of(&["customers", "a/b 文"]).with("x", None).with("y", Some("&=1"));

        assert_eq!(path.0, "customers/a%2Fb%20%E6%96%87?y=%26%3D1");
        assert_eq!(Path::of(&["session-summary", ".."]).0, "session-summary/%2E%2E");
    }
}
