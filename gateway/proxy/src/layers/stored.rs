//! A stored response is its customer's own: nobody else reads, continues or deletes it, and it is
//! asked for where it lies. What went on in the background is counted before it is continued or
//! deleted, because afterwards nobody would read it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::Method;
use permille_types::Endpoint;
use tower::{Layer, Service};

use crate::{
    context::{InSession, Targeted},
    metering::Metering,
    refusal::Refusal,
    stage::{Below, Boxed},
    stored::StoredResponses,
};

pub(crate) struct StoredLayer {
    pub(crate) metering: Arc<Metering>,
}

impl<S> Layer<S> for StoredLayer {
    type Service = Stored<S>;

    fn layer(&self, inner: S) -> Stored<S> {
        Stored { metering: Arc::clone(&self.metering), inner: Below::new(inner) }
    }
}

#[derive(Clone)]
pub(crate) struct Stored<S> {
    metering: Arc<Metering>,
    inner: Below<S>,
}

impl<S> Service<Box<InSession>> for Stored<S>
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
        let Some(id) = named(&request.targeted) else {
            return Either::Right(self.inner.call(request));
        };
        let metering = Arc::clone(&self.metering);
        let inner = self.inner.share();
        Either::Left(Box::pin(async move {
            if let Err(refusal) = enter(&metering.stored, &mut request.targeted, id).await {
                request.turn_away(&metering.recogniser);
                return Err(refusal);
            }
            inner.call(request).await
        }))
    }
}

/// The stored response that a request names.
fn named(targeted: &Targeted) -> Option<String> {
    let classified = &targeted.classified;
    match classified.routed.endpoint {
        Endpoint::StoredResponse => in_path(&classified.routed.upstream_path).map(str::to_owned),
        _ => classified.facts.as_ref()?.previous_response.clone(),
    }
}

fn in_path(path: &str) -> Option<&str> {
    let (_, behind) = path.split_once("/responses/")?;
    behind.split(['/', '?']).next()
}

async fn enter(
    stored: &StoredResponses,
    targeted: &mut Targeted,
    id: String,
) -> Result<(), Refusal> {
    let head = &targeted.classified.routed;
    let created = stored.find(&head.key.customer, &id).await?;
    let reads = head.endpoint == Endpoint::StoredResponse && head.parts.method != Method::DELETE;
    if !reads && !stored.is_counted(&created).await? {
        return Err(Refusal::ResponseNotCounted { response: id });
    }
    targeted.candidates.retain(|candidate| created.lies_at(&candidate.upstream.name));
    if targeted.candidates.is_empty() {
        return Err(Refusal::UnknownResponse { response: id });
    }
    targeted.settles = Some(created).filter(|created| reads && created.awaits_settlement());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_what_follows_the_responses() {
        for (path, id) in [
            ("/responses/resp_1", Some("resp_1")),
            ("/responses/resp_1?stream=true", Some("resp_1")),
            ("/openai/v1/responses/resp_1/cancel", Some("resp_1")),
            ("/openai/responses/resp_1/input_items?api-version=x", Some("resp_1")),
            ("/responses", None),
        ] {
            assert_eq!(in_path(path), id, "{path}");
        }
    }
}
