//! The token endpoint of Qianfan v1. Its clients exchange a key for a token that goes into the
//! query of every call; ours is the key itself, which says whose it is and can be revoked.
//!
//! Nothing is called and nothing is metered here.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderValue, Response, header};
use permille_types::Endpoint;
use tower::{Layer, Service};

use crate::{body::ReplyBody, client_key, context::Routed, refusal::Refusal};

/// How long a token may be kept: what Baidu's own are good for. A revoked key ends it at once.
const EXPIRES_SECONDS: u32 = 30 * 24 * 3600;

pub(crate) struct TokenLayer;

impl<S> Layer<S> for TokenLayer {
    type Service = Token<S>;

    fn layer(&self, inner: S) -> Token<S> {
        Token { inner }
    }
}

#[derive(Clone)]
pub(crate) struct Token<S> {
    inner: S,
}

impl<S> Service<Routed> for Token<S>
where
    S: Service<Routed, Response = Response<ReplyBody>, Error = Refusal>,
{
    type Response = Response<ReplyBody>;
    type Error = Refusal;
    type Future = Either<Ready<Result<Response<ReplyBody>, Refusal>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        if routed.endpoint != Endpoint::AccessToken {
            return Either::Right(self.inner.call(routed));
        }
        let key = client_key::find(&routed.authenticated.admitted.inbound.head);
        let answer = key.map(token).ok_or(Refusal::MissingKey);
        Either::Left(ready(answer))
    }
}

/// Source: Baidu Qianfan documentation, "Access token".
fn token(key: &str) -> Response<ReplyBody> {
    let body = serde_json::json!({ "access_token": key, "expires_in": EXPIRES_SECONDS });
    let mut response = Response::new(ReplyBody::Own(Some(Bytes::from(body.to_string()))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
