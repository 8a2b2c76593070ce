//! A streamed reply: a body that generates as it is read, at its pace, and breaks as it was asked.
//! There is no task and no queue behind it: a client that does not read stops the generation, and
//! one that leaves drops the body, which books what was generated.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::{
    account::{Account, Tally},
    books::Ended,
    config::Pace,
    connection::ResetSwitch,
    control::{Break, Controls},
    generation::{Finish, Generation, Piece},
    outlet::Outlet,
    provider::OpenCount,
    sse::Sse,
};

/// How a provider writes its events.
pub(crate) trait Dialect: Send + fmt::Debug {
    /// What comes before the first piece.
    fn open(&mut self, sse: &mut Sse, choices: &[Finish], tally: &Tally);
    /// One piece of the choice of that number.
    fn piece(&mut self, sse: &mut Sse, choice: usize, piece: &Piece, tally: &Tally);
    /// What comes after the last piece, but for the terminal event.
    fn close(&mut self, sse: &mut Sse, choices: &[Finish], tally: &Tally);
    /// The event that says that the reply is whole.
    fn terminal(&mut self, sse: &mut Sse);
    /// An error in the middle of the stream.
    fn error(&mut self, sse: &mut Sse);
    /// An event that is no JSON and no UTF-8.
    fn garbled(&mut self, sse: &mut Sse);
    /// An event without content whose line is `line_bytes` long.
    fn padded(&mut self, sse: &mut Sse, line_bytes: usize);
}

/// The connection is to be reset here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply was cut as the request asked for")]
pub(crate) struct Reset;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Generate,
    Close,
    Terminal,
    /// Nothing more to write; then this.
    Over(Over),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    End,
    Stall,
    Cut,
}

/// See the module. About one kilobyte, whatever the length of the reply.
#[derive(Debug)]
pub(crate) struct StreamBody {
    phase: Phase,
    generation: Generation,
    finishes: Vec<Finish>,
    dialect: Box<dyn Dialect>,
    sse: Sse,
    outlet: Outlet,
    account: Account,
    broken: Option<(Break, u64)>,
    garble_after: Option<u64>,
    big_line: Option<usize>,
    pace: Pace,
    due: Instant,
    /// Made once, when the first wait is due.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    switch: Arc<ResetSwitch>,
    _open: OpenCount,
}

/// How long a cut waits, so that what was written before it has left for the client.
const CUT_HOLD: Duration = Duration::from_millis(5);

impl StreamBody {
    pub(crate) fn new(
        generation: Generation,
        dialect: Box<dyn Dialect>,
        controls: &Controls,
        pace: Pace,
        account: Account,
        switch: Arc<ResetSwitch>,
        open: OpenCount,
    ) -> Self {
        let finishes = generation.choices().iter().map(|choice| choice.finish).collect();
        let mut body = Self {
            phase: Phase::Open,
            generation,
            finishes,
            dialect,
            sse: Sse::new(controls.crlf, controls.comments),
            outlet: Outlet::new(controls),
            account,
            broken: controls.broken,
            garble_after: controls.garble_after,
            big_line: controls.big_line,
            pace,
            due: Instant::now(),
            timer: None,
            waiting: false,
            switch,
            _open: open,
        };
        body.wait(pace.first_token);
        body
    }

    fn wait(&mut self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        self.due += duration;
        self.waiting = true;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(self.due),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(self.due))),
        }
    }

    /// Does the next thing; what it wrote is in `sse`.
    fn advance(&mut self) {
        match self.phase {
            Phase::Open => {
                self.dialect.open(&mut self.sse, &self.finishes, &self.account.tally);
                self.phase = Phase::Generate;
            }
            Phase::Generate => self.generate(),
            Phase::Close => {
                self.dialect.close(&mut self.sse, &self.finishes, &self.account.tally);
                self.phase = Phase::Terminal;
            }
            Phase::Terminal => {
                self.account.close(Ended::Complete);
                self.dialect.terminal(&mut self.sse);
                self.phase = Phase::Over(Over::End);
            }
            Phase::Over(_) => {}
        }
    }

    fn generate(&mut self) {
        let sent = self.account.tally.chunks;
        if let Some((kind, _)) = self.broken.filter(|(_, after)| sent >= *after) {
            self.break_off(kind);
            return;
        }
        if self.garble_after.is_some_and(|after| sent >= after) {
            self.garble_after = None;
            self.dialect.garbled(&mut self.sse);
        }
        if sent > 0
            && let Some(line_bytes) = self.big_line.take()
        {
            self.dialect.padded(&mut self.sse, line_bytes);
        }
        let Some((choice, piece)) = self.generation.next() else {
            self.phase = Phase::Close;
            return;
        };
        self.account.generated(&piece);
        self.dialect.piece(&mut self.sse, choice, &piece, &self.account.tally);
        self.wait(self.pace.per_chunk);
    }

    fn break_off(&mut self, kind: Break) {
        let over = match kind {
            Break::Stall => Over::Stall,
            Break::Cut => {
                self.due = Instant::now();
                self.wait(CUT_HOLD);
                Over::Cut
            }
            Break::End => Over::End,
            Break::Error => {
                self.dialect.error(&mut self.sse);
                Over::End
            }
        };
        if over != Over::Stall {
            self.account.close(Ended::Fault);
        }
        self.phase = Phase::Over(over);
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        let this = &mut *self;
        loop {
            let over = matches!(this.phase, Phase::Over(_));
            let ends = this.phase == Phase::Over(Over::End);
            if let Some(bytes) = ready!(this.outlet.poll(&mut this.sse.out, over, ends, context)) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(timer) = this.timer.as_mut().filter(|_| this.waiting) {
                ready!(timer.as_mut().poll(context));
                this.waiting = false;
            }
            match this.phase {
                Phase::Over(Over::End) => return Poll::Ready(None),
                Phase::Over(Over::Stall) => return Poll::Pending,
                Phase::Over(Over::Cut) => {
                    this.switch.arm();
                    return Poll::Ready(Some(Err(Reset)));
                }
                _ => this.advance(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_less_than_a_kilobyte_beside_its_events() {
        assert!(size_of::<StreamBody>() < 1_024, "{}", size_of::<StreamBody>());
    }
}
