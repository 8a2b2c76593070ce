//! Opens the record, makes the upstream call and meters its reply, whatever happens to the client
//! in the meantime.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tower::{Layer, Service};

use crate::{
    body::{MeteredBody, ReplyBody},
    context::{InSession, Outgoing},
    exchange::Exchange,
    headers,
    known::chain,
    metering::Metering,
    record::Record,
    refusal::Refusal,
    stage::Boxed,
};

pub(crate) struct MeterLayer {
    pub(crate) metering: Arc<Metering>,
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter { metering: Arc::clone(&self.metering), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Meter<S> {
    metering: Arc<Metering>,
    inner: S,
}

impl<S> Service<InSession> for Meter<S>
where
    S: Service<Outgoing, Response = Response<Incoming>, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Refusal;
    type Future = Boxed<Response<ReplyBody>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: InSession) -> Self::Future {
        let metering = Arc::clone(&self.metering);
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let outgoing = outgoing(&mut request, metering.deadline)?;
            let record = Record::open(Arc::clone(&metering), &request).await?;
            metering.metrics.overhead_seconds.observe(record.elapsed().as_secs_f64());
            let call = Box::pin(inner.call(outgoing));
            let mut exchange = Exchange::new(metering, record, &mut request, call);
            let mut head = exchange.answer().await?;
            headers::for_client(&mut head.headers);
            name_session(&mut head.headers, &request);
            if request.targeted.classified.usage_added {
                // The frame that is cut out is missing from the announced length.
                head.headers.remove(header::CONTENT_LENGTH);
            }
            let mut body = MeteredBody::new(exchange, request.targeted.upstream.idle_max);
            body.gather().await.map_err(|cause| {
                tracing::error!(error = %chain(&cause), "a reply is withheld");
                Refusal::JournalUnavailable { reason: cause.to_string() }
            })?;
            Ok(Response::from_parts(head, ReplyBody::Metered(Box::new(body))))
        })
    }
}

fn outgoing(request: &mut InSession, deadline: Duration) -> Result<Outgoing, Refusal> {
    let upstream = Arc::clone(&request.targeted.upstream);
    let classified = &mut request.targeted.classified;
    let head = &mut classified.routed;
    let target = upstream.target(&head.upstream_path).map_err(|cause| {
        Refusal::InvalidRequest(format!("the path and query do not form a target: {cause}"))
    })?;
    let body: Bytes = classified.upstream_body.clone();
    let mut sent = Request::new(body);
    *sent.method_mut() = head.parts.method.clone();
    *sent.uri_mut() = target;
    *sent.headers_mut() = std::mem::take(&mut head.parts.headers);
    headers::for_upstream(sent.headers_mut());
    // The head may take as long as any other silence, but the deadline holds for it too.
    let head_time_max = upstream.idle_max.min(deadline.saturating_sub(head.started.elapsed()));
    Ok(Outgoing { upstream, request: sent, head_time_max })
}

fn name_session(headers: &mut HeaderMap, request: &InSession) {
    if let Ok(session) = HeaderValue::from_str(request.session.as_str()) {
        headers.insert(&headers::SESSION[0], session);
    }
    headers.insert(&headers::TURN, HeaderValue::from(request.turn));
}
