//! The outermost layer: names every request, and turns a refusal into an answer in the caller's
//! own format.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use permille_types::{Clock, Family, RequestId};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    body::ReplyBody, context::Inbound, headers, metrics::Metrics, refusal::Refusal,
    routes::family_of,
};

pub(crate) struct AnswerLayer {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answer<S>;

    fn layer(&self, inner: S) -> Answer<S> {
        Answer { clock: Arc::clone(&self.clock), metrics: Arc::clone(&self.metrics), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Answer<S> {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    inner: S,
}

impl<S> Service<Request<Incoming>> for Answer<S>
where
    S: Service<Inbound, Response = Response<ReplyBody>, Error = Refusal>,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No layer below waits for readiness: each refuses in `call` when it is at its bound.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let at = self.clock.now();
        let id = RequestId::new(at);
        let (head, body) = request.into_parts();
        let family = family_of(&head);
        let inbound = Inbound { id, at, started: Instant::now(), head, body };
        let answer = self.inner.call(inbound);
        Answered { answer, id, family, metrics: Arc::clone(&self.metrics) }
    }
}

pin_project! {
    /// A request on its way through the layers.
    pub(crate) struct Answered<F> {
        #[pin]
        answer: F,
        id: RequestId,
        family: Family,
        metrics: Arc<Metrics>,
    }
}

impl<F> Future for Answered<F>
where
    F: Future<Output = Result<Response<ReplyBody>, Refusal>>,
{
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (id, family, metrics) = (*this.id, *this.family, &**this.metrics);
        let mut response = ready!(this.answer.poll(cx)).unwrap_or_else(|refusal| {
            tracing::debug!(request.id = %id, code = refusal.code(), "refused");
            metrics.refused(refusal.code());
            refusal.answer(family, id).map(|bytes| ReplyBody::Own(Some(bytes)))
        });
        metrics.answered(family, response.status());
        if let Ok(value) = HeaderValue::from_str(id.text_in(&mut [0; 36])) {
            response.headers_mut().insert(&headers::REQUEST_ID, value);
        }
        Poll::Ready(Ok(response))
    }
}
