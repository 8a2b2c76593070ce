//! Limits of the customer, the project, the key and the session, in one step, before anything is
//! recorded or sent.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tower::{Layer, Service};

use crate::{
    context::InSession,
    metering::Metering,
    refusal::Refusal,
    stage::{Below, Boxed},
};

pub(crate) struct LimitLayer {
    pub(crate) metering: Arc<Metering>,
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { metering: Arc::clone(&self.metering), inner: Below::new(inner) }
    }
}

#[derive(Clone)]
pub(crate) struct Limit<S> {
    metering: Arc<Metering>,
    inner: Below<S>,
}

impl<S> Service<Box<InSession>> for Limit<S>
where
    S: Service<Box<InSession>, Error = Refusal> + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Either<Boxed<S::Response>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Box<InSession>) -> Self::Future {
        let key = &request.targeted.classified.routed.key;
        if key.limits.is_empty() && key.rpm.is_none() {
            return Either::Right(self.inner.call(request));
        }
        let metering = Arc::clone(&self.metering);
        let inner = self.inner.share();
        Either::Left(Box::pin(async move {
            if let Err(refusal) = metering.limiter.reserve(&mut request).await {
                request.turn_away(&metering.recogniser);
                return Err(refusal);
            }
            inner.call(request).await
        }))
    }
}
