//! The innermost service: one call to one upstream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body_util::Full;
use hyper_util::client::legacy::ResponseFuture;
use permille_limits::Taken;
use pin_project_lite::pin_project;
use tokio::time::{Timeout, timeout};
use tower::Service;

use crate::{
    context::Outgoing, known::chain, refusal::Refusal, reply_body::UpstreamBody, upstream::Upstream,
};

#[derive(Clone)]
pub(crate) struct Call;

impl Service<Outgoing> for Call {
    type Response = Response<UpstreamBody>;
    type Error = Refusal;
    type Future = Called;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Outgoing { upstream, request, .. }: Outgoing) -> Called {
        let (client, room) = upstream.lanes.enter();
        let sent = timeout(upstream.idle_max, client.request(request.map(Full::new)));
        Called { sent, upstream, room }
    }
}

pin_project! {
    /// A call whose answer is waited for as long as its upstream may be silent.
    pub(crate) struct Called {
        #[pin]
        sent: Timeout<ResponseFuture>,
        upstream: Arc<Upstream>,
        // Its reply takes it over.
        room: Option<Taken>,
    }
}

impl Future for Called {
    type Output = Result<Response<UpstreamBody>, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.sent.poll(cx));
        let (upstream, room) = (&**this.upstream, this.room.take());
        Poll::Ready(match answered {
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
        })
    }
}
