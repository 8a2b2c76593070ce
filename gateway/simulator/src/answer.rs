//! Responses with the headers that providers send.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use crate::{
    ask::Family,
    refusal,
    stream::{Reset, StreamBody},
    whole::HalfBody,
};

/// The body of any response.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// Everything at once; none when it was handed over.
    Whole(Option<Bytes>),
    Half(Box<HalfBody>),
    Stream(Box<StreamBody>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Half(half) => Pin::new(half).poll_frame(context),
            Self::Stream(stream) => Pin::new(stream).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Half(half) => half.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A response of `family` that carries `request_id` and the limits that such providers announce.
pub(crate) fn answer(
    family: Family,
    status: StatusCode,
    request_id: &str,
    body: AnswerBody,
) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match family {
        Family::OpenAi => openai_headers(headers, request_id),
        Family::Anthropic => anthropic_headers(headers, request_id),
    }
    response
}

fn fixed(headers: &mut HeaderMap, pairs: &'static [(&'static str, &'static str)]) {
    for (name, value) in pairs {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

fn openai_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    fixed(
        headers,
        &[
            ("openai-organization", "org-simulated"),
            ("openai-processing-ms", "12"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "1999000"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "30ms"),
        ],
    );
}

fn anthropic_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("request-id", id);
    }
    fixed(
        headers,
        &[
            ("anthropic-organization-id", "00000000-0000-0000-0000-000000000000"),
            ("anthropic-ratelimit-requests-limit", "1000"),
            ("anthropic-ratelimit-requests-remaining", "999"),
            ("anthropic-ratelimit-input-tokens-limit", "80000"),
            ("anthropic-ratelimit-input-tokens-remaining", "79000"),
            ("anthropic-ratelimit-output-tokens-limit", "16000"),
            ("anthropic-ratelimit-output-tokens-remaining", "16000"),
        ],
    );
}

/// A body that is sent at once.
pub(crate) fn whole(body: impl Into<Bytes>) -> AnswerBody {
    AnswerBody::Whole(Some(body.into()))
}

/// An error of `family`.
pub(crate) fn refuse(
    family: Family,
    status: StatusCode,
    request_id: &str,
    message: &str,
    param: Option<&str>,
) -> Response<AnswerBody> {
    let body = refusal::body(family, status, message, param, request_id);
    let mut response = answer(family, status, request_id, whole(body));
    if let Some(seconds) = refusal::retry_after_seconds(status) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
