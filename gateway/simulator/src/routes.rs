//! From an HTTP request to a reply: which endpoint, who asks, what is asked, what comes back.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::{
    account::Account,
    answer::{AnswerBody, answer, refuse, whole},
    ask::{AskError, Asked, Endpoint, Family, Reading},
    connection::ResetSwitch,
    models,
    provider::Provider,
    reply,
    stream::Reset,
    vocabulary,
};

/// Largest request body, in bytes; a little above what the real providers take.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Bodies above this many bytes are measured on a thread that may block.
const INLINE_BYTES_MAX: usize = 128 << 10;

/// Answers one request, unless it asked for a reset.
pub(crate) async fn respond(
    provider: Arc<Provider>,
    switch: Arc<ResetSwitch>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Reset> {
    let path = request.uri().path();
    if let Some(page) = path.strip_prefix("/simulator/") {
        return Ok(inspect(&provider, page));
    }
    provider.counters.requests.fetch_add(1, Ordering::Relaxed);
    let (below_anthropic, rest) = match path.strip_prefix("/anthropic") {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    let endpoint = match rest {
        "/v1/messages" => Some(Endpoint::Messages),
        "/v1/messages/count_tokens" => Some(Endpoint::CountTokens),
        _ if below_anthropic => None,
        "/v1/chat/completions" => Some(Endpoint::ChatCompletions),
        "/v1/completions" => Some(Endpoint::Completions),
        "/v1/embeddings" => Some(Endpoint::Embeddings),
        _ => None,
    };
    if let Some(endpoint) = endpoint {
        return post(provider, switch, endpoint, request).await;
    }
    let speaks_anthropic = below_anthropic || request.headers().contains_key("anthropic-version");
    let family = if speaks_anthropic { Family::Anthropic } else { Family::OpenAi };
    Ok(list_models(&provider, family, rest, &request))
}

/// `GET /simulator/books` and `/simulator/stats`; no credential, nothing secret.
fn inspect(provider: &Provider, page: &str) -> Response<AnswerBody> {
    let shown = match page {
        "books" => serde_json::to_vec(&provider.books.totals()),
        "stats" => serde_json::to_vec(&provider.counters.read()),
        _ => {
            let message = "unknown page: accepted are books and stats";
            return refuse(Family::OpenAi, StatusCode::NOT_FOUND, "", message, None);
        }
    };
    answer(Family::OpenAi, StatusCode::OK, "", whole(shown.unwrap_or_default()))
}

/// `GET /v1/models` and `/v1/models/{id}`.
fn list_models(
    provider: &Provider,
    family: Family,
    path: &str,
    request: &Request<Incoming>,
) -> Response<AnswerBody> {
    let request_id = provider.new_id("req_");
    let refused = |status, message: &str| refuse(family, status, &request_id, message, None);
    let listed = match path.strip_prefix("/v1/models") {
        Some("") => models::list(family),
        Some(rest) if rest.len() > 1 && rest.starts_with('/') => {
            models::one(family, rest.trim_start_matches('/'))
        }
        _ => {
            let message = format!("Invalid URL ({} {path})", request.method());
            return refused(StatusCode::NOT_FOUND, &message);
        }
    };
    if request.method() != Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed here");
    }
    if !provider.accepts(credential(request.headers())) {
        return refused(StatusCode::UNAUTHORIZED, WRONG_KEY);
    }
    answer(family, StatusCode::OK, &request_id, whole(listed))
}

/// What a request with a missing or wrong credential is told.
const WRONG_KEY: &str = "Incorrect or missing API key";

/// The credential, wherever the provider's clients put it; empty when there is none.
fn credential(headers: &HeaderMap) -> &str {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    bearer.or(text("x-api-key")).or(text("api-key")).unwrap_or("").trim()
}

async fn post(
    provider: Arc<Provider>,
    switch: Arc<ResetSwitch>,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Reset> {
    let family = endpoint.family();
    let request_id = provider.new_id("req_");
    let mut account = Account::open(Arc::clone(&provider), endpoint, &request_id);
    // A failing HTTP/2 body resets its stream; the connection goes on with the others.
    let alone = request.version() < Version::HTTP_2;
    let switch = if alone { switch } else { Arc::default() };

    let early = if request.method() != Method::POST {
        Some((StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed here"))
    } else if !provider.accepts(credential(request.headers())) {
        Some((StatusCode::UNAUTHORIZED, WRONG_KEY))
    } else {
        None
    };
    if let Some((status, message)) = early {
        account.refuse(status);
        return Ok(refuse(family, status, &request_id, message, None));
    }
    let asked = match read(&provider, endpoint, request).await {
        Ok(asked) => asked,
        Err(error) => {
            account.refuse(error.status());
            let (status, message) = (error.status(), error.to_string());
            return Ok(refuse(family, status, &request_id, &message, error.param()));
        }
    };
    account.identify(asked.model(), asked.controls().written.as_ref());
    reply::reply(&provider, endpoint, asked, account, switch, &request_id).await
}

async fn read(
    provider: &Arc<Provider>,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Result<Asked, AskError> {
    let (head, body) = request.into_parts();
    let too_large = AskError::TooLarge { bytes_max: BODY_BYTES_MAX };
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > BODY_BYTES_MAX) {
        return Err(too_large); // Announced, so not even read.
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { too_large } else { AskError::Unreadable }
    })?;
    let body: Bytes = body.to_bytes();
    let blocks = body.len() > INLINE_BYTES_MAX || !vocabulary::is_loaded();
    let provider = Arc::clone(provider);
    let measure = move || {
        vocabulary::load();
        let header = head.headers.get("x-simulate").and_then(|value| value.to_str().ok());
        let credential = credential(&head.headers);
        let reading = Reading { memo: &provider.memo, credential, header };
        let asked = Asked::read(endpoint, &body, reading)?;
        asked.check()?;
        Ok(asked)
    };
    if blocks {
        tokio::task::spawn_blocking(measure).await.unwrap_or(Err(AskError::Unreadable))
    } else {
        measure()
    }
}
