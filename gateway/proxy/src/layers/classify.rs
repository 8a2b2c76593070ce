//! Reads the request body, within bounds: which model, whether a stream, whether the client asked
//! for usage. Asks the provider for usage where the client did not.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use permille_limits::{Budget, Taken};
use permille_types::{Endpoint, Family};
use permille_usage::request::{Asked, ask_for_usage, classify};

use crate::{
    context::{Admitted, Authenticated, Classified, Head, Routed},
    layers::READ_AT_ONCE_BYTES,
    refusal::Refusal,
    stage::{Step, Waiting},
    upstream::Upstream,
};

pub(crate) struct Classify {
    /// In order of preference.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Largest accepted body, in bytes.
    pub(crate) body_bytes_max: u64,
    /// Bytes of all bodies held at once.
    pub(crate) bodies: Arc<Budget>,
    /// How long a body may take to arrive.
    pub(crate) body_time_max: Duration,
}

impl Waiting<Routed> for Classify {
    type Out = Classified;

    fn enter(self: Arc<Self>, routed: Routed) -> Step<Classified> {
        let Routed { authenticated, family, provider, endpoint, model, upstream_path } = routed;
        let Authenticated { admitted: Admitted { inbound, place }, key, known } = authenticated;
        if let Err(refusal) = refuse_encoded(&inbound.head.headers) {
            return Step::Taken(Err(refusal));
        }
        let body = inbound.body;
        let mut head = Box::new(Head {
            id: inbound.id,
            at: inbound.at,
            started: inbound.started,
            parts: inbound.head,
            held: None,
            key,
            known,
            family,
            provider,
            endpoint,
            model_in_path: model.is_some(),
            upstream_path,
        });
        Step::Begun(Box::pin(async move {
            let read = self.read(&head.parts.headers, body);
            let (body, memory) = tokio::time::timeout(self.body_time_max, read)
                .await
                .map_err(|_| Refusal::BodyTimeout { seconds: self.body_time_max.as_secs() })??;
            head.held = Some((place, memory));
            if body.len() <= READ_AT_ONCE_BYTES {
                return self.classified(head, model.as_deref(), body);
            }
            let read = move || self.classified(head, model.as_deref(), body);
            // It is cancelled only by the end of the runtime, which ends this too.
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|broken| {
                std::panic::resume_unwind(broken.into_panic());
            })
        }))
    }
}

impl Classify {
    /// A request whose body has been read.
    fn classified(
        &self,
        head: Box<Head>,
        model: Option<&str>,
        body: Bytes,
    ) -> Result<Classified, Refusal> {
        let endpoint = head.endpoint;
        // Tencent counts tokens of a text, whatever the model.
        let names_none = head.family == Family::Hunyuan && endpoint == Endpoint::CountTokens;
        if names_none || !endpoint.names_model() {
            let upstream_body = body.clone();
            return Ok(Classified {
                routed: head,
                facts: None,
                body,
                upstream_body,
                usage_added: false,
            });
        }
        let invalid = |cause: permille_usage::request::RequestError| {
            Refusal::InvalidRequest(cause.to_string())
        };
        // Where a request names no model, its server has only one.
        let provider = head.provider.as_deref();
        let first = self.upstreams.iter().find(|first| first.answers(head.family, provider));
        let asked = Asked {
            family: head.family,
            endpoint,
            model,
            unnamed: first.and_then(|first| first.own_model.as_deref()),
            stream: head.family == Family::Dashscope && dashscope_streams(&head.parts.headers)?,
            api_version: head.parts.uri.query().and_then(api_version),
            description: first.and_then(|first| first.api.as_deref()),
        };
        let facts = classify(asked, &body).map_err(invalid)?;
        let asks = facts.stream && !facts.usage_wanted && facts.usage_askable;
        let asking = if asks { ask_for_usage(&body).map_err(invalid)? } else { None };
        let usage_added = asking.is_some();
        let upstream_body = asking.map_or_else(|| body.clone(), Bytes::from);
        Ok(Classified { routed: head, facts: Some(facts), body, upstream_body, usage_added })
    }

    /// The whole body, never more than the bounds allow in memory.
    async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
    ) -> Result<(Bytes, Taken), Refusal> {
        let too_large = || Refusal::BodyTooLarge { bytes_max: self.body_bytes_max };
        let overloaded = || Refusal::Overloaded { what: "request bodies in memory" };
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Err(too_large());
        }
        let mut memory = self.bodies.take(0).ok_or_else(overloaded)?;
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut length = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::InvalidRequest("the request body broke off before its end".to_owned())
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            length = length.saturating_add(more);
            if length > self.body_bytes_max {
                return Err(too_large());
            }
            if !memory.grow(more) {
                return Err(overloaded());
            }
            // Most bodies arrive in one piece, which is then kept as it is.
            if first.is_empty() && rest.is_empty() {
                first = bytes;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&bytes);
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, memory))
    }
}

/// Azure's way to name the version of its API.
fn api_version(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("api-version="))
}

/// Whether a request to `DashScope` asks for a stream. One that asks for a task is refused: what
/// the task consumes is told to whoever asks for its result, and not here.
///
/// Source: Alibaba Cloud Model Studio, "`DashScope` API reference", request headers.
fn dashscope_streams(headers: &HeaderMap) -> Result<bool, Refusal> {
    let is = |name: &str, value: &str| {
        headers.get(name).is_some_and(|sent| sent.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if headers.contains_key("x-dashscope-async") {
        return Err(Refusal::InvalidRequest(
            "X-DashScope-Async is not accepted here: call without it".to_owned(),
        ));
    }
    Ok(is("x-dashscope-sse", "enable") || is("accept", "text/event-stream"))
}

fn refuse_encoded(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(value) => Err(Refusal::EncodedBody {
            encoding: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }),
    }
}
