//! Replies that are not streamed: generated at the same pace, handed over at once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    account::Account,
    books::Ended,
    config::Pace,
    connection::ResetSwitch,
    control::Break,
    generation::{Finish, Generation, Kind},
    stream::Reset,
};

/// One generated choice, put together.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reasoning: String,
    pub(crate) text: String,
    /// Name and arguments.
    pub(crate) tool: Option<(String, String)>,
    pub(crate) finish: Finish,
}

/// Generates everything at `pace`. When the client leaves meanwhile, this future is dropped and
/// `account` holds what was generated until then.
pub(crate) async fn generate(
    mut generation: Generation,
    account: &mut Account,
    pace: Pace,
) -> Vec<Answer> {
    let mut answers: Vec<Answer> = generation
        .choices()
        .iter()
        .map(|choice| Answer {
            reasoning: String::new(),
            text: String::new(),
            tool: None,
            finish: choice.finish,
        })
        .collect();
    let mut due = tokio::time::Instant::now() + pace.first_token;
    if !pace.first_token.is_zero() {
        tokio::time::sleep_until(due).await;
    }
    let mut first = true;
    while let Some((index, piece)) = generation.next() {
        if !pace.per_chunk.is_zero() && !std::mem::take(&mut first) {
            due += pace.per_chunk;
            tokio::time::sleep_until(due).await;
        }
        account.generated(&piece);
        let Some(answer) = answers.get_mut(index) else { continue };
        match piece.kind {
            Kind::Reasoning => answer.reasoning.push_str(&piece.text),
            Kind::Text => answer.text.push_str(&piece.text),
            Kind::ToolName => answer.tool = Some((piece.text.into_owned(), String::new())),
            Kind::ToolArguments => {
                if let Some((_, arguments)) = &mut answer.tool {
                    arguments.push_str(&piece.text);
                }
            }
        }
    }
    answers
}

/// The body of a whole reply that stops half way.
#[derive(Debug)]
pub(crate) struct HalfBody {
    half: Option<Bytes>,
    length: u64,
    then: Break,
    flushed: bool,
    account: Account,
    switch: Arc<ResetSwitch>,
}

impl HalfBody {
    /// The first half of `body`, then `then` (a stall or a cut).
    pub(crate) fn new(
        mut body: Bytes,
        then: Break,
        account: Account,
        switch: Arc<ResetSwitch>,
    ) -> Self {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        body.truncate(body.len() / 2);
        Self { half: Some(body), length, then, flushed: false, account, switch }
    }
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if self.then == Break::Stall {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.flushed, true) {
            // One turn without anything to write makes the connection flush the first half.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.account.close(Ended::Fault);
        self.switch.arm();
        Poll::Ready(Some(Err(Reset)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
