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
    S: Service<
            Calls,
            Response = Response<UpstreamBody>,
            Error = Refusal,
            Future = Boxed<Response<UpstreamBody>>,
        > + Send
        + 'static,
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
            let attempts = Attempts::default();
            // Before the call takes the candidates: the record names the first of them.
            let opened = Record::open(Arc::clone(&metering), &mut request, attempts.clone());
            let mut record = opened.await?;
            let mut calls = calls(&mut request, attempts.clone());
            let asked = calls.asked;
            record.cost.clone_from(&cost);
            let cost = cost.map(|cost| (cost, Arc::clone(&metering)));
            if let Some(telemetry) = &metering.telemetry {
                let head = &request.targeted.classified.routed;
                let trace = telemetry.begin(head.endpoint, head.at, &mut calls.headers);
                record.trace = trace.map(Box::new);
            }
            metering.metrics.overhead_seconds.observe(record.elapsed().as_secs_f64());
            let place = request.targeted.classified.routed.held.take();
            let call = inner.call(calls);
            let mut exchange = Exchange::new(metering, record, (asked, attempts), place, call);
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
            let mut body = Box::new(MeteredBody::new(exchange));
            body.gather().await.map_err(|cause| {
                tracing::error!(error = %chain(&cause), "a reply is withheld");
                Refusal::JournalUnavailable { reason: cause.to_string() }
            })?;
            let reply = Response::from_parts(head, body);
            // Few replies wait here: these have their memory for themselves.
            Ok(if let Some((cost, metering)) = cost {
                Box::pin(cost::in_head(reply, &cost, &request, &metering.limiter)).await
            } else if request.targeted.aliases.is_empty() {
                reply.map(ReplyBody::Metered)
            } else {
                Box::pin(models::listed(reply, &request.targeted.aliases)).await
            })
        })
    }
}

/// What goes upstream, whoever is called. Takes it out of `request`.
fn calls(request: &mut InSession, attempts: Attempts) -> Calls {
    let Targeted { classified, candidates, settles, .. } = &mut request.targeted;
    let head = &mut classified.routed;
    let mut headers = std::mem::take(&mut head.parts.headers);
    headers::for_upstream(&mut headers);
    Calls {
        candidates: std::mem::take(candidates),
        method: head.parts.method.clone(),
        headers,
        path: std::mem::take(&mut head.upstream_path),
        body: std::mem::take(&mut classified.upstream_body),
        asked: Asked {
            // A read that settles a response is read as the response would have been.
            endpoint: settles.as_ref().map_or(head.endpoint, |_| Endpoint::Responses),
            stream: classified.facts.as_ref().is_some_and(|facts| facts.stream),
            usage_added: classified.usage_added,
        },
        attempts,
    }
}

fn name_session(headers: &mut HeaderMap, request: &InSession) {
    if let Ok(session) = HeaderValue::from_str(request.session.as_str()) {
        headers.insert(&headers::SESSION[0], session);
    }
    headers.insert(&headers::TURN, number(request.turn));
}

/// A number as the value of a header. One of a single digit needs no memory.
fn number(number: u32) -> HeaderValue {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    let digit = "0123456789".get(at..at.saturating_add(1));
    digit.map_or_else(|| HeaderValue::from(number), HeaderValue::from_static)
}
