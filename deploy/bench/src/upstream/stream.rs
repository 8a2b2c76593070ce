//! A streamed reply: one write to the socket for each frame, as model servers do.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;

use super::answers::Answers;

/// The body of one streamed reply.
#[derive(Debug)]
pub(super) struct Stream {
    answers: Arc<Answers>,
    id: String,
    wants_usage: bool,
    next: Next,
    /// Whether the frame before has been given time to reach the socket.
    flushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Frame(usize),
    Usage,
    Done,
    End,
}

impl Stream {
    /// A reply with this id.
    pub(super) fn new(answers: Arc<Answers>, id: String, wants_usage: bool) -> Self {
        Self { answers, id, wants_usage, next: Next::Frame(0), flushed: true }
    }

    fn take(&mut self) -> Option<Bytes> {
        match self.next {
            Next::Frame(index) => {
                if let Some(frame) = self.answers.frame(index, &self.id) {
                    self.next = Next::Frame(index + 1);
                    return Some(frame);
                }
                self.next = if self.wants_usage { Next::Usage } else { Next::Done };
                self.take()
            }
            Next::Usage => {
                self.next = Next::Done;
                Some(self.answers.usage(&self.id))
            }
            Next::Done => {
                self.next = Next::End;
                Some(Answers::done())
            }
            Next::End => None,
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // hyper gathers frames while there are any and writes them out when there is none.
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.flushed = false;
        Poll::Ready(self.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    fn frames(wants_usage: bool) -> Vec<String> {
        let mut stream = Stream::new(Arc::new(Answers::new(64)), "x".to_owned(), wants_usage);
        std::iter::from_fn(|| stream.take())
            .map(|frame| String::from_utf8(frame.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_stream_has_its_chunks_then_the_reason_then_usage_if_asked_then_done() {
        let (plain, with_usage) = (frames(false), frames(true));

        assert_eq!((plain.len(), with_usage.len()), (66, 67));
        assert!(plain.iter().all(|frame| !frame.contains("\"usage\"")));
        assert!(with_usage[64].contains("\"finish_reason\":\"stop\""));
        assert!(with_usage[65].contains("\"total_tokens\":168"));
        assert_eq!(with_usage[66], "data: [DONE]\n\n");
    }

    #[test]
    fn each_frame_gets_its_own_write() {
        let mut stream = Stream::new(Arc::new(Answers::new(2)), "x".to_owned(), false);
        let mut context = Context::from_waker(std::task::Waker::noop());

        let polled: Vec<bool> =
            (0..7).map(|_| Pin::new(&mut stream).poll_frame(&mut context).is_ready()).collect();

        assert_eq!(polled, [true, false, true, false, true, false, true]);
    }
}
