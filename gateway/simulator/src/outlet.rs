//! How written bytes become frames: as they come, all at once, at odd places, or compressed.

use std::{
    io::Write,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};

use crate::control::Controls;

/// Hands out the bytes of one reply.
#[derive(Debug)]
pub(crate) struct Outlet {
    coalesce: bool,
    gzip: Option<GzEncoder<Vec<u8>>>,
    split: Option<Split>,
}

/// Frames of 1, 3, 5, … bytes, each flushed by itself.
#[derive(Debug, Default)]
struct Split {
    waiting: Bytes,
    length: usize,
    paused: bool,
}

impl Split {
    /// Longest frame, in bytes; short enough to cut inside most events.
    const LENGTH_MAX: usize = 31;

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        if !std::mem::replace(&mut self.paused, true) {
            // A turn without a frame makes the connection write out the one before.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.paused = false;
        self.length = if self.length >= Self::LENGTH_MAX { 1 } else { (self.length + 2) | 1 };
        Poll::Ready(self.waiting.split_to(self.length.min(self.waiting.len())))
    }
}

impl Outlet {
    pub(crate) fn new(controls: &Controls) -> Self {
        Self {
            coalesce: controls.coalesce,
            gzip: controls.gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            split: controls.split.then(Split::default),
        }
    }

    /// The next frame of what is in `written`; none when more has to be written first. `over`:
    /// nothing more will be written; `ends`: and the body ends cleanly after it.
    pub(crate) fn poll(
        &mut self,
        written: &mut BytesMut,
        over: bool,
        ends: bool,
        context: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        if let Some(split) = self.split.as_mut().filter(|split| split.waiting.has_remaining()) {
            return split.next(context).map(Some);
        }
        if self.coalesce && !over {
            return Poll::Ready(None);
        }
        let frame = self.frame(written, ends);
        match &mut self.split {
            Some(split) if !frame.is_empty() => {
                split.waiting = frame;
                split.next(context).map(Some)
            }
            _ => Poll::Ready((!frame.is_empty()).then_some(frame)),
        }
    }

    fn frame(&mut self, written: &mut BytesMut, ends: bool) -> Bytes {
        let plain = written.split().freeze();
        let Some(encoder) = &mut self.gzip else { return plain };
        // Writing to memory cannot fail.
        if !plain.is_empty() {
            encoder.write_all(&plain).unwrap_or_default();
            encoder.flush().unwrap_or_default();
        }
        if ends {
            let finished = self.gzip.take().and_then(|encoder| encoder.finish().ok());
            return finished.unwrap_or_default().into();
        }
        std::mem::take(encoder.get_mut()).into()
    }
}

/// `plain` as one gzip member.
pub(crate) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap_or_default();
    encoder.finish().unwrap_or_default().into()
}
