//! Opens the record, has the upstream called and meters its reply, whatever happens to the client
//! in the meantime.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Response, header};
use permille_types::Endpoint;
use tower::{Layer, Service};

use crate::{
    attempts::Attempts,
    body::{MeteredBody, ReplyBody},
    context::{Calls, InSession, Targeted},
    cost,
    exchange::Exchange,
    headers,
    known::chain,
    metering::Metering,
    models,
    record::Record,
    refusal::Refusal,
    reply::Asked,
    reply_body::UpstreamBody,
    stage::{Below, Boxed},
};

pub(crate) struct MeterLayer {
    pub(crate) metering: Arc<Metering>,
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter { metering: Arc::clone(&self.metering), inner: Below::new(inner) }
    }
}

#[derive(Clone)]
pub(crate) struct Meter<S> {
    metering: Arc<Metering>,
    inner: Below<S>,
}

impl<S> Service<Box<InSession>> for Meter<S>
where
    S: Service<Calls, Response = Response<UpstreamBody>, Error = Refusal> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Refusal;
    type Future = Boxed<Response<ReplyBody>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Box<InSession>) -> Self::Future {
        let metering = Arc::clone(&self.metering);
        let inner = self.inner.share();
        Box::pin(async move {
            // Before its headers are made fit for the upstream.
            let cost = cost::wanted(&request);
            let mut calls = calls(&mut request);
            let (asked, attempts) = (calls.asked, calls.attempts.clone());
            let mut record =
                Record::open(Arc::clone(&metering), &mut request, attempts.clone()).await?;
            record.cost.clone_from(&cost);
            if let Some(telemetry) = &metering.telemetry {
                let head = &request.targeted.classified.routed;
                record.trace = telemetry.begin(head.endpoint, head.at, &mut calls.headers);
            }
            metering.metrics.overhead_seconds.observe(record.elapsed().as_secs_f64());
            let place = request.targeted.classified.routed.held.take();
            let call = Box::pin(inner.call(calls));
            let mut exchange =
                Exchange::new(Arc::clone(&metering), record, (asked, attempts), place, call);
            let mut head = match exchange.answer().await {
                Ok(head) => head,
                Err(refusal) => {
                    // The record is written at once; nobody waits for its sync, because no
                    // reply is acknowledged by it.
                    drop(exchange.settle(refusal.ending(), &[]));
                    return Err(refusal);
                }
            };
            headers::for_client(&mut head.headers);
            name_session(&mut head.headers, &request);
            for warning in std::mem::take(&mut request.warnings) {
                head.headers.append(&headers::LIMIT_WARNING, warning);
            }
            if asked.usage_added {
                // The frame that is cut out is missing from the announced length.
                head.headers.remove(header::CONTENT_LENGTH);
            }
            let idle_max = exchange.idle_max();
            let mut body = Box::new(MeteredBody::new(exchange, idle_max));
            body.gather().await.map_err(|cause| {
                tracing::error!(error = %chain(&cause), "a reply is withheld");
                Refusal::JournalUnavailable { reason: cause.to_string() }
            })?;
            let reply = Response::from_parts(head, body);
            Ok(match cost {
                Some(cost) => cost::in_head(reply, &cost, &request, &metering.limiter).await,
                None => models::listed(reply, &request.targeted.aliases).await,
            })
        })
    }
}

/// What goes upstream, whoever is called. Takes the headers out of `request`.
fn calls(request: &mut InSession) -> Calls {
    let Targeted { classified, candidates, settles, .. } = &mut request.targeted;
    let head = &mut classified.routed;
    let mut headers = std::mem::take(&mut head.parts.headers);
    headers::for_upstream(&mut headers);
    Calls {
        candidates: candidates.clone(),
        method: head.parts.method.clone(),
        headers,
        path: head.upstream_path.clone(),
        body: classified.upstream_body.clone(),
        asked: Asked {
            // A read that settles a response is read as the response would have been.
            endpoint: settles.as_ref().map_or(head.endpoint, |_| Endpoint::Responses),
            stream: classified.facts.as_ref().is_some_and(|facts| facts.stream),
            usage_added: classified.usage_added,
        },
        attempts: Attempts::default(),
    }
}

fn name_session(headers: &mut HeaderMap, request: &InSession) {
    if let Ok(session) = HeaderValue::from_str(request.session.as_str()) {
        headers.insert(&headers::SESSION[0], session);
    }
    headers.insert(&headers::TURN, HeaderValue::from(request.turn));
}
