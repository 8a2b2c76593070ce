//! The body of an upstream's reply, which can be looked at before it is read.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use permille_limits::Taken;
use tokio::time::timeout;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    /// What was looked at, to be read first.
    seen: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    rest: Incoming,
    /// The room that it takes on its way, given back with it.
    _lane: Option<Taken>,
}

impl UpstreamBody {
    /// A body that comes through `lane`.
    pub(crate) fn new(rest: Incoming, lane: Option<Taken>) -> Self {
        Self { seen: VecDeque::new(), rest, _lane: lane }
    }

    /// The whole body, when it has at most `bytes_max` bytes and comes within `time_max`. Whatever
    /// was looked at is still there to be read.
    pub(crate) async fn look(&mut self, bytes_max: usize, time_max: Duration) -> Option<Bytes> {
        timeout(time_max, self.whole(bytes_max)).await.ok().flatten()
    }

    async fn whole(&mut self, bytes_max: usize) -> Option<Bytes> {
        let mut body = BytesMut::new();
        while let Some(frame) = self.rest.frame().await {
            let bytes = frame.as_ref().ok().map(|frame| frame.data_ref().cloned());
            self.seen.push_back(frame);
            // A body that breaks off is not whole; trailers add nothing.
            body.extend_from_slice(&bytes?.unwrap_or_default());
            if body.len() > bytes_max {
                return None;
            }
        }
        Some(body.freeze())
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.seen.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    // What is held back at the end of a reply is its last frame: these tell which one that is.
    fn is_end_stream(&self) -> bool {
        self.seen.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let unread = self.seen.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let unread = unread.map(|bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let unread = unread.fold(0, u64::saturating_add);
        let rest = self.rest.size_hint();
        let mut all = SizeHint::new();
        if let Some(upper) = rest.upper() {
            all.set_upper(upper.saturating_add(unread));
        }
        all.set_lower(rest.lower().saturating_add(unread));
        all
    }
}
