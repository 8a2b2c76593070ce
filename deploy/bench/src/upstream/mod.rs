//! A model provider that costs almost nothing: fixed chat completions in the OpenAI shape, whole
//! and streamed, counting and checking nothing. Not a simulation: `gateway/simulator` is one.

mod answers;
mod stream;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::server;
use answers::Answers;
use stream::Stream;

/// Longest accepted request, in bytes: the load client's have some 200.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Tokens of every prompt.
pub(crate) const PROMPT_TOKENS: u64 = 123;
/// Tokens of every completion.
pub(crate) const COMPLETION_TOKENS: u64 = 45;

/// The part of a request that changes the answer.
#[derive(Debug, Default, Deserialize)]
struct Ask {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Ask {
    fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true)
    }
}

/// What all connections share.
#[derive(Debug)]
struct Provider {
    answers: Arc<Answers>,
    served: AtomicU64,
}

/// Serves until the process is ended; a streamed answer has `chunks` pieces of text.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn run(chunks: u16) -> std::io::Result<()> {
    let answers = Arc::new(Answers::new(chunks));
    let provider = Arc::new(Provider { answers, served: AtomicU64::new(0) });
    server::serve(tower::service_fn(move |request| {
        let provider = Arc::clone(&provider);
        async move { Ok::<_, Infallible>(provider.answer(request).await) }
    }))
    .await
}

type Body = Either<Full<Bytes>, Stream>;

impl Provider {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() != Method::POST || !request.uri().path().ends_with("/chat/completions")
        {
            return refusal(StatusCode::NOT_FOUND);
        }
        let body = match Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return refusal(StatusCode::PAYLOAD_TOO_LARGE),
        };
        let Ok(ask) = serde_json::from_slice::<Ask>(&body) else {
            return refusal(StatusCode::BAD_REQUEST);
        };
        let id = format!("chatcmpl-bench{:010}", self.served.fetch_add(1, Ordering::Relaxed));
        if ask.stream == Some(true) {
            let stream = Stream::new(Arc::clone(&self.answers), id, ask.wants_usage());
            return answer("text/event-stream", Either::Right(stream));
        }
        answer("application/json", Either::Left(Full::new(self.answers.whole(&id))))
    }
}

fn answer(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = answer("application/json", Either::Left(Full::from("{\"error\":null}")));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_streamed_only_when_asked_for() {
        let wants = |body: &str| serde_json::from_str::<Ask>(body).unwrap().wants_usage();

        assert!(wants(r#"{"stream":true,"stream_options":{"include_usage":true}}"#));
        assert!(!wants(r#"{"stream":true,"stream_options":{"include_usage":false}}"#));
        assert!(!wants(r#"{"stream":true,"stream_options":null}"#));
        assert!(!wants(r#"{"stream":true}"#));
    }
}
