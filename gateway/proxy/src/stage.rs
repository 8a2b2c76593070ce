//! A layer that turns one stage of a request into the next, or refuses it.
//!
//! `tower::filter` does the same with boxed errors; ours keep their type, because every refusal
//! must become an answer in the caller's own format. Most steps are taken at once; one that may
//! have to wait has a layer of its own, and needs a box for its future only where it does.

use std::{
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::Either;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use crate::refusal::Refusal;

/// A future that is boxed, so that the stack's type stays readable.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// One step from a stage of the request to the next.
pub(crate) trait Stage<In>: Send + Sync + 'static {
    /// The stage after this step.
    type Out: Send;

    /// Takes the step.
    fn enter(&self, input: In) -> Result<Self::Out, Refusal>;
}

/// A step that may have to wait for something: a body, an answer of Redis or billing.
pub(crate) trait Waiting<In>: Send + Sync + 'static {
    /// The stage after this step.
    type Out: Send;

    /// Takes the step, or begins it.
    fn enter(self: Arc<Self>, input: In) -> Step<Self::Out>;
}

/// A step of a [`Waiting`] stage.
pub(crate) enum Step<T> {
    /// It is taken.
    Taken(Result<T, Refusal>),
    /// It is waited for.
    Begun(Boxed<T>),
}

/// Puts a [`Stage`] in front of a service.
pub(crate) fn stage<T, S>(stage: T) -> impl Layer<S, Service = Staged<T, S>> + Clone {
    let stage = Arc::new(stage);
    layer_fn(move |inner| Staged { stage: Arc::clone(&stage), inner })
}

/// Puts a [`Waiting`] step in front of a service.
pub(crate) fn waiting<T, S>(stage: T) -> impl Layer<S, Service = Waited<T, S>> + Clone {
    let stage = Arc::new(stage);
    layer_fn(move |inner| Waited { stage: Arc::clone(&stage), inner: Below::new(inner) })
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
    S: Service<T::Out, Error = Refusal>,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Either<Ready<Result<S::Response, Refusal>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, input: In) -> Self::Future {
        match self.stage.enter(input) {
            Ok(next) => Either::Right(self.inner.call(next)),
            Err(refusal) => Either::Left(ready(Err(refusal))),
        }
    }
}

/// What follows a layer that waits, or that calls it more than once: shared by the requests of one
/// connection, so that none of them copies what is below. Each connection has its own, and holds
/// its lock while a call begins, never while it is waited for.
pub(crate) struct Below<S>(Arc<Mutex<S>>);

impl<S: Clone> Clone for Below<S> {
    /// That of another connection.
    fn clone(&self) -> Self {
        Self::new(self.0.lock().clone())
    }
}

impl<S> Below<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }

    /// The same one, for a request of this connection.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(crate) fn poll_ready<In>(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<In>,
    {
        self.0.lock().poll_ready(cx)
    }

    /// Begins a call. No layer waits to be ready: each refuses in its answer.
    pub(crate) fn call<In>(&self, input: In) -> S::Future
    where
        S: Service<In>,
    {
        self.0.lock().call(input)
    }
}

/// A service behind a [`Waiting`] step.
pub(crate) struct Waited<T, S> {
    stage: Arc<T>,
    inner: Below<S>,
}

impl<T, S: Clone> Clone for Waited<T, S> {
    fn clone(&self) -> Self {
        Self { stage: Arc::clone(&self.stage), inner: self.inner.clone() }
    }
}

impl<T, S, In> Service<In> for Waited<T, S>
where
    T: Waiting<In>,
    S: Service<T::Out, Error = Refusal>,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Either<Ready<Result<S::Response, Refusal>>, Entered<T::Out, S, S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, input: In) -> Self::Future {
        Either::Right(match Arc::clone(&self.stage).enter(input) {
            Step::Taken(Ok(next)) => Entered::Inside { call: self.inner.call(next) },
            Step::Taken(Err(refusal)) => return Either::Left(ready(Err(refusal))),
            Step::Begun(step) => Entered::Waiting { step, inner: self.inner.share() },
        })
    }
}

pin_project! {
    /// A request in a [`Waiting`] step or behind it. Only what waits is in a box.
    #[project = EnteredNow]
    pub(crate) enum Entered<T, S, F> {
        Waiting { step: Boxed<T>, inner: Below<S> },
        Inside { #[pin] call: F },
    }
}

impl<T, S> Future for Entered<T, S, S::Future>
where
    S: Service<T, Error = Refusal>,
{
    type Output = Result<S::Response, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let call = match self.as_mut().project() {
                EnteredNow::Inside { call } => return call.poll(cx),
                EnteredNow::Waiting { step, inner } => inner.call(ready!(step.as_mut().poll(cx))?),
            };
            self.set(Self::Inside { call });
        }
    }
}
