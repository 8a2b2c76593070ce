//! A layer that turns one stage of a request into the next, or refuses it.
//!
//! `tower::filter` does the same with boxed errors; ours keep their type, because every refusal
//! must become an answer in the caller's own format.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::refusal::Refusal;

/// The future of every layer, boxed so that the stack's type stays readable.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// One step from a stage of the request to the next.
pub(crate) trait Stage<In>: Send + Sync + 'static {
    /// The stage after this step.
    type Out: Send;

    /// Takes the step.
    fn enter(&self, input: In) -> impl Future<Output = Result<Self::Out, Refusal>> + Send;
}

/// Puts a [`Stage`] in front of a service.
pub(crate) struct StageLayer<T>(Arc<T>);

/// The layer of `stage`.
pub(crate) fn stage<T>(stage: T) -> StageLayer<T> {
    StageLayer(Arc::new(stage))
}

impl<T, S> Layer<S> for StageLayer<T> {
    type Service = Staged<T, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Staged { stage: Arc::clone(&self.0), inner }
    }
}

/// A service behind a [`Stage`].
pub(crate) struct Staged<T, S> {
    stage: Arc<T>,
    inner: S,
}

impl<T, S: Clone> Clone for Staged<T, S> {
    fn clone(&self) -> Self {
        Self { stage: Arc::clone(&self.stage), inner: self.inner.clone() }
    }
}

impl<T, S, In> Service<In> for Staged<T, S>
where
    T: Stage<In>,
    In: Send + 'static,
    S: Service<T::Out, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Boxed<S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, input: In) -> Self::Future {
        let stage = Arc::clone(&self.stage);
        // The clone takes the place of the service that was polled ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let next = stage.enter(input).await?;
            inner.call(next).await
        })
    }
}
