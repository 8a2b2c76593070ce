//! Billing in another process: the same two traits as in process, over HTTP.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use permille_types::{
    Ack, BATCH_MEDIA_TYPE, Batch, ControlError, ControlPlane, CustomerId, INTAKE_PATH, Intake,
    IntakeReply, SNAPSHOT_PATH, SPENT_PATH, STORED_RESPONSE_PATH, SessionId, Snapshot, SpendQuery,
    Spent, StoredReply, StoredResponse, TURN_PATH, TurnReply,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::upstream::{HttpClient, UpstreamError, client_over, connector};

/// Seconds to connect to billing.
const CONNECT_SECONDS: u32 = 5;
/// Longest wait for an answer. Above the 20 s for which billing holds a snapshot request open.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
/// Largest accepted answer, in bytes: a snapshot with some hundred thousand keys.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Why billing's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its URL is not one.
    #[error("billing url `{url}` is not accepted: give http:// or https:// and a host")]
    Url {
        /// What was given.
        url: String,
    },
    /// Its token cannot travel in a header.
    #[error("the billing token holds characters that a header cannot carry")]
    Token,
    /// The client cannot be built.
    #[error("connect to billing")]
    Client(#[source] UpstreamError),
}

/// A client of the internal routes of `permille billing`.
pub struct RemoteBilling {
    base: String,
    token: HeaderValue,
    client: HttpClient,
}

impl RemoteBilling {
    /// Billing at `url`, with a token of role `gateway`.
    ///
    /// # Errors
    /// [`RemoteError`] when the URL or the token cannot be used.
    pub fn new(url: &str, token: &SecretString) -> Result<Self, RemoteError> {
        let refused = || RemoteError::Url { url: url.to_owned() };
        let base: Uri = url.parse().map_err(|_| refused())?;
        let scheme = base.scheme().ok_or_else(refused)?;
        base.authority().ok_or_else(refused)?;
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut token = HeaderValue::from_str(&bearer).map_err(|_| RemoteError::Token)?;
        token.set_sensitive(true);
        let connector =
            connector(scheme, None, CONNECT_SECONDS, false).map_err(RemoteError::Client)?;
        Ok(Self {
            client: client_over(&connector, false),
            base: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Asks for what is at `path`, or hands a body of a content type over there.
    async fn call(
        &self,
        operation: &'static str,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Option<Bytes>, ControlError> {
        let uri = format!("{}{path}", self.base);
        let (request, body) = match body {
            Some((kind, body)) => (Request::post(uri).header(header::CONTENT_TYPE, kind), body),
            None => (Request::get(uri), Bytes::new()),
        };
        let request = request
            .header(header::AUTHORIZATION, self.token.clone())
            .body(Full::new(body))
            .map_err(|cause| unavailable(operation, cause))?;
        let answer = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|cause| unavailable(operation, cause))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|cause| ControlError::Unavailable { operation, cause })?
                .to_bytes();
            Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(ANSWER_TIME_MAX, answer)
            .await
            .map_err(|cause| unavailable(operation, cause))??;
        match status {
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status if status.is_client_error() => Err(ControlError::Refused {
                operation,
                reason: format!("{status}: {}", String::from_utf8_lossy(&body)),
            }),
            status => Err(unavailable(operation, Answered(status))),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
    ) -> Result<Option<T>, ControlError> {
        let body = self.call(operation, path, None).await?;
        body.map(|body| parse(operation, &body)).transpose()
    }
}

/// An answer with a status that promises nothing.
#[derive(Debug, thiserror::Error)]
#[error("answered {0}")]
struct Answered(StatusCode);

fn unavailable(operation: &'static str, cause: impl Error + Send + Sync + 'static) -> ControlError {
    ControlError::Unavailable { operation, cause: Box::new(cause) }
}

fn parse<T: DeserializeOwned>(operation: &'static str, body: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|cause| unavailable(operation, cause))
}

/// A query value, percent-encoded.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Intake for RemoteBilling {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        const OPERATION: &str = "ship usage";
        Box::pin(async move {
            let answer = self
                .call(OPERATION, INTAKE_PATH, Some((BATCH_MEDIA_TYPE, batch.to_wire())))
                .await?;
            let reply: IntakeReply = parse(OPERATION, &answer.unwrap_or_default())?;
            Ok(Ack { sequence: reply.sequence, quarantined: reply.quarantined })
        })
    }
}

impl ControlPlane for RemoteBilling {
    fn snapshot(
        &self,
        known: Option<u64>,
    ) -> BoxFuture<'_, Result<Option<Snapshot>, ControlError>> {
        let path = match known {
            Some(version) => format!("{SNAPSHOT_PATH}?known={version}"),
            None => SNAPSHOT_PATH.to_owned(),
        };
        Box::pin(async move { self.get("fetch snapshot", &path).await })
    }

    fn last_turn<'a>(
        &'a self,
        customer: &'a CustomerId,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<u32, ControlError>> {
        let (customer, session) = (encoded(customer.as_str()), encoded(session.as_str()));
        let path = format!("{TURN_PATH}?customer={customer}&session={session}");
        Box::pin(async move {
            let reply: Option<TurnReply> = self.get("ask for the last turn", &path).await?;
            Ok(reply.map_or(0, |reply| reply.turn))
        })
    }

    fn stored_response<'a>(
        &'a self,
        customer: &'a CustomerId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredResponse>, ControlError>> {
        let (customer, id) = (encoded(customer.as_str()), encoded(id));
        let path = format!("{STORED_RESPONSE_PATH}?customer={customer}&id={id}");
        Box::pin(async move {
            let reply: Option<StoredReply> = self.get("ask for a stored response", &path).await?;
            Ok(reply.and_then(|reply| reply.response))
        })
    }

    fn spent<'a>(&'a self, query: &'a SpendQuery) -> BoxFuture<'a, Result<Spent, ControlError>> {
        const OPERATION: &str = "ask what was spent";
        Box::pin(async move {
            let body = serde_json::to_vec(query).map_err(|cause| unavailable(OPERATION, cause))?;
            let body = Some(("application/json", body.into()));
            let answer = self.call(OPERATION, SPENT_PATH, body).await?;
            parse(OPERATION, &answer.unwrap_or_default())
        })
    }
}
