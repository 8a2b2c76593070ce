//! The body that a client gets.
//!
//! Bytes go on at once and unchanged. The end of a metered reply (its terminal event, or the last
//! bytes of its body) waits until the journal has the settled record on disk (D1), at most
//! `journal.hold_max_ms`. A reply that broke off upstream breaks off here too: it never ends as
//! if it were whole.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use permille_types::Ended;
use permille_usage::Piece;
use tokio::time::Sleep;

use crate::{
    exchange::{Durably, Exchange, SettleError, Upstream},
    known::chain,
};

/// How often an open reply is looked at: its deadline, its upstream's silence, its progress
/// record. Also the precision of the first two.
const TICK: Duration = Duration::from_secs(5);

/// Why a reply breaks off. Clients see a connection that was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the upstream's reply broke off")]
    Upstream(#[source] hyper::Error),
    #[error("the upstream's connection ended before its reply")]
    CutShort,
    #[error("the upstream fell silent")]
    Silent,
    #[error("the request's deadline has passed")]
    Deadline,
    #[error("usage could not be recorded")]
    Unrecorded(#[source] SettleError),
}

/// A reply's body: made here, or passed on and metered.
pub(crate) enum ReplyBody {
    /// An answer of our own; empty once sent.
    Own(Option<Bytes>),
    /// A reply of an upstream.
    Metered(Box<MeteredBody>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Metered(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Own(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Metered(_) => SizeHint::default(),
        }
    }
}

/// An upstream's reply on its way to the client.
pub(crate) struct MeteredBody {
    exchange: Exchange,
    /// Read, not yet sent. Filled from one upstream frame at a time, so it holds at most one.
    pieces: VecDeque<Piece>,
    read: Vec<Piece>,
    trailers: Option<HeaderMap>,
    hold: Option<Hold>,
    broken: Option<Broken>,
    /// Whether its budget has ended the reply.
    stopped: bool,
    /// Whether the connection had a turn to send what came before the break.
    flushed: bool,
    last_read: Instant,
    tick: Option<Pin<Box<Sleep>>>,
}

/// The end of a reply, waiting for the journal.
struct Hold {
    bytes: Option<Bytes>,
    durable: Durably,
    since: Instant,
    bound: Pin<Box<Sleep>>,
}

impl MeteredBody {
    pub(crate) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            pieces: VecDeque::new(),
            read: Vec::new(),
            trailers: None,
            hold: None,
            broken: None,
            stopped: false,
            flushed: false,
            last_read: Instant::now(),
            tick: None,
        }
    }

    /// Takes what is already there of the reply. Where that is all of it, this waits until the
    /// end may be released, so that head and body go out in one write; else it does not wait.
    ///
    /// # Errors
    /// [`SettleError`] when the reply's usage could not be recorded. Nothing was sent yet, so the
    /// client can be answered properly.
    pub(crate) async fn gather(&mut self) -> Result<(), SettleError> {
        poll_fn(|cx| {
            if let Upstream::Replying(body) = &mut self.exchange.upstream
                && let Poll::Ready(frame) = Pin::new(body).poll_frame(cx)
            {
                self.take(frame);
            }
            Poll::Ready(())
        })
        .await;
        match self.pieces.pop_front() {
            Some(Piece::Terminal(bytes)) => {
                self.complete(Some(bytes));
                let released = poll_fn(|cx| self.poll_hold(cx)).await;
                // What its frame has behind it waits already, and stays behind it.
                if let Some(released) = released {
                    self.pieces.push_front(Piece::Pass(released));
                }
            }
            Some(piece) => self.pieces.push_front(piece),
            // Nobody asks for a body that the head says is empty, so its end is here.
            None if matches!(self.exchange.upstream, Upstream::Ended) => {
                self.complete(None);
                poll_fn(|cx| self.poll_hold(cx)).await;
            }
            None => {}
        }
        match self.broken.take() {
            Some(Broken::Unrecorded(cause)) => return Err(cause),
            other => self.broken = other,
        }
        Ok(())
    }

    /// All of a reply that has at most `bytes_max`. Of a larger one, or one that breaks off, what
    /// was read stands in front of the rest again.
    pub(crate) async fn collect(&mut self, bytes_max: usize) -> Option<Bytes> {
        let mut read = BytesMut::new();
        let whole = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                None => break true,
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    read.extend_from_slice(&bytes);
                    if read.len() > bytes_max {
                        break false;
                    }
                }
                Some(Err(broken)) => {
                    self.broken = Some(broken);
                    self.flushed = false;
                    break false;
                }
            }
        };
        let read = read.freeze();
        if whole {
            return Some(read);
        }
        self.pieces.push_front(Piece::Pass(read));
        None
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if self.hold.is_some() {
                if let Some(bytes) = ready!(self.poll_hold(cx)) {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                continue;
            }
            match self.pieces.pop_front() {
                Some(Piece::Pass(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Terminal(bytes)) => {
                    self.complete(Some(bytes));
                    continue;
                }
                None => {}
            }
            if self.broken.is_some() {
                // A break drops what the connection has not written yet, head included.
                if !std::mem::replace(&mut self.flushed, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(self.broken.take().map(Err));
            }
            let settled = self.exchange.is_settled();
            match &mut self.exchange.upstream {
                Upstream::Replying(body) => {
                    let frame = Pin::new(body).poll_frame(cx);
                    match frame {
                        Poll::Ready(frame) => self.take(frame),
                        Poll::Pending => ready!(self.poll_tick(cx)),
                    }
                }
                _ if !settled => self.complete(None),
                _ => return Poll::Ready(self.trailers.take().map(|map| Ok(Frame::trailers(map)))),
            }
        }
    }

    /// Takes one frame, error or end from the upstream.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) {
        self.last_read = Instant::now();
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => self.take_data(bytes),
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.exchange.finish(&mut self.read);
                }
            },
            Some(Err(cause)) => {
                self.exchange.break_off(&mut self.read);
                drop(self.exchange.settle(Ended::UpstreamError, &[]));
                self.broken = Some(Broken::Upstream(cause));
            }
            None => {
                self.exchange.finish(&mut self.read);
                if self.exchange.is_cut_short() {
                    drop(self.exchange.settle(Ended::UpstreamError, &[]));
                    self.broken = Some(Broken::CutShort);
                }
            }
        }
        let is_whole = self.read.iter().any(|piece| matches!(piece, Piece::Terminal(_)));
        let stop = match self.read.last() {
            Some(Piece::Pass(sent)) if self.broken.is_none() && !is_whole => {
                self.exchange.stop(sent)
            }
            _ => None,
        };
        if let Some(error) = stop {
            self.read.push(Piece::Terminal(error));
            self.stopped = true;
        }
        if self.pieces.capacity() == 0 {
            // A reply in one frame needs no second list.
            self.pieces = std::mem::take(&mut self.read).into();
        } else {
            self.pieces.extend(self.read.drain(..));
        }
    }

    fn take_data(&mut self, bytes: Bytes) {
        self.exchange.read(bytes, self.last_read, &mut self.read);
        // A body of known length ends with its last byte: that byte is what must be held back. Over
        // HTTP/2 the stream may end later; it is left open for that, or it would be reset.
        let at_end = match &self.exchange.upstream {
            Upstream::Replying(body) => body.is_end_stream() || body.size_hint().exact() == Some(0),
            _ => true,
        };
        if at_end {
            self.exchange.read_all(&mut self.read);
            let settles = self.read.iter().any(|piece| matches!(piece, Piece::Terminal(_)));
            if let (false, false, Some(last)) =
                (settles, self.exchange.is_settled(), self.read.last_mut())
            {
                let (Piece::Pass(bytes) | Piece::Terminal(bytes)) = last;
                *last = Piece::Terminal(std::mem::take(bytes));
            }
        }
    }

    /// Settles the record and holds `bytes` until the journal has it.
    fn complete(&mut self, bytes: Option<Bytes>) {
        let durable = if self.stopped {
            self.exchange.settle(Ended::Budget, &[])
        } else {
            self.exchange.complete()
        };
        let bound = Box::pin(tokio::time::sleep(self.exchange.metering.hold_max));
        self.hold = Some(Hold { bytes, durable, since: Instant::now(), bound });
    }

    /// The held bytes, once they may go; `None` when there were none.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(hold) = &mut self.hold else { return Poll::Ready(None) };
        let metrics = &self.exchange.metering.metrics;
        let released = match Pin::new(&mut hold.durable).poll(cx) {
            Poll::Ready(durable) => {
                durable.map(|()| metrics.hold_seconds.observe(hold.since.elapsed().as_secs_f64()))
            }
            Poll::Pending => {
                ready!(hold.bound.as_mut().poll(cx));
                // What the disk has not taken is written at least: it survives our own death. Of
                // a reply whose tokens are still being counted there is nothing to write yet.
                hold.durable.write().map(|()| {
                    metrics.hold_exceeded.inc();
                    tracing::warn!("the end of a reply is released before it is synced");
                })
            }
        };
        if let Err(cause) = released {
            // Without a record the client must not believe that the reply is whole.
            tracing::error!(error = %chain(&cause), "the end of a reply is withheld");
            self.hold = None;
            self.pieces.clear();
            self.exchange.upstream = Upstream::Ended;
            self.broken = Some(Broken::Unrecorded(cause));
            return Poll::Ready(None);
        }
        Poll::Ready(self.hold.take().and_then(|hold| hold.bytes))
    }

    /// Looks after an open reply now and then. Ready when something has changed.
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let wait = TICK.min(self.exchange.idle_max).min(self.exchange.metering.deadline);
            let tick = self.tick.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            ready!(tick.as_mut().poll(cx));
            self.tick = None;
            let late = match self.exchange.record_mut() {
                None => self.last_read.elapsed() >= self.exchange.idle_max,
                Some(record) => {
                    record.elapsed() >= self.exchange.metering.deadline
                        || self.last_read.elapsed() >= self.exchange.idle_max
                }
            };
            if late {
                let silent = self.last_read.elapsed() >= self.exchange.idle_max;
                self.exchange.break_off(&mut self.read);
                drop(self.exchange.settle(Ended::Deadline, &[]));
                self.pieces.extend(self.read.drain(..));
                self.broken = Some(if silent { Broken::Silent } else { Broken::Deadline });
                return Poll::Ready(());
            }
            self.exchange.progress();
        }
    }
}
