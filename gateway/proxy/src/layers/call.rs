//! The innermost service: one call to one upstream.

use std::task::{Context, Poll};

use http::Response;
use http_body_util::Full;
use tower::Service;

use crate::{
    context::Outgoing, known::chain, refusal::Refusal, reply_body::UpstreamBody, stage::Boxed,
};

#[derive(Clone)]
pub(crate) struct Call;

impl Service<Outgoing> for Call {
    type Response = Response<UpstreamBody>;
    type Error = Refusal;
    type Future = Boxed<Response<UpstreamBody>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Outgoing { upstream, request, .. }: Outgoing) -> Self::Future {
        Box::pin(async move {
            let (client, room) = upstream.lanes.enter();
            let sent = client.request(request.map(Full::new));
            match tokio::time::timeout(upstream.idle_max, sent).await {
                Ok(Ok(response)) => Ok(response.map(|body| UpstreamBody::new(body, room))),
                Ok(Err(cause)) => {
                    tracing::warn!(upstream = %upstream.name, error = %chain(&cause), "call failed");
                    let name = upstream.name.to_string();
                    Err(if cause.is_connect() {
                        Refusal::UpstreamUnreachable { upstream: name }
                    } else {
                        Refusal::UpstreamReset { upstream: name }
                    })
                }
                Err(_) => Err(Refusal::UpstreamTimeout {
                    upstream: upstream.name.to_string(),
                    seconds: upstream.idle_max.as_secs(),
                }),
            }
        })
    }
}
