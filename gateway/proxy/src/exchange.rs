//! An open exchange with an upstream. Whoever holds it must end it; dropping it is an ending too:
//! the client has left or the gateway is stopping, and the policy decides what happens (M7).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::BodyExt as _;
use permille_journal::{JournalError, Settled};
use permille_limits::Taken;
use permille_types::{Ended, Flag};
use permille_usage::{Piece, Stop, Tap};
use tokio::time::{timeout, timeout_at};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    attempts::Attempts,
    auditor,
    config::ClientGone,
    known::chain,
    metering::Metering,
    policy::Policy,
    record::{Record, Reply},
    refusal::{Framing, Refusal},
    reply,
    reply_body::UpstreamBody,
    stage::Boxed,
};

/// How far the upstream is.
pub(crate) enum Upstream {
    /// It has not answered yet.
    Called(Boxed<Response<UpstreamBody>>),
    /// Its reply is being read.
    Replying(UpstreamBody),
    /// Its reply has ended.
    Ended,
}

/// What is made of the reply's bytes.
pub(crate) enum Reader {
    /// There is no reply yet.
    Unanswered,
    /// They are metered.
    Tap(Tap),
    /// They are an error's: read for the provider's account only.
    Failed(Tap),
    /// They only pass: an endpoint that bills nothing, or no reply. Ends like this.
    Plain(Ended),
}

/// How far a reply was read whose client has left.
enum ReadOn {
    /// To its own end, however good.
    End,
    /// To a bound of the drain.
    Bound,
    /// To where its budget had no room for the rest.
    Budget,
}

/// Resolves when the journal has the settled record durably.
pub(crate) enum Durably {
    /// It is appended and will be synced; absent where it was settled before.
    Appended(Option<Settled>),
    /// It could not be appended.
    Failed(Option<SettleError>),
    /// Its tokens are being counted.
    Counted(BoxFuture<'static, Result<(), SettleError>>),
}

impl Durably {
    fn of(settled: Result<Settled, JournalError>) -> Self {
        match settled {
            Ok(settled) => Self::Appended(Some(settled)),
            Err(cause) => Self::Failed(Some(cause.into())),
        }
    }
}

impl Durably {
    /// Has the record written, where there is one that is not.
    pub(crate) fn write(&self) -> Result<(), SettleError> {
        match self {
            Self::Appended(Some(settled)) => Ok(settled.write()?),
            Self::Appended(None) | Self::Failed(_) | Self::Counted(_) => Ok(()),
        }
    }
}

impl Future for Durably {
    type Output = Result<(), SettleError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Appended(None) => Poll::Ready(Ok(())),
            Self::Appended(Some(settled)) => Pin::new(settled).poll(cx).map_err(SettleError::from),
            Self::Failed(cause) => Poll::Ready(cause.take().map_or(Ok(()), Err)),
            Self::Counted(counted) => counted.as_mut().poll(cx),
        }
    }
}

/// Client, record and upstream of one request that is still open.
pub(crate) struct Exchange {
    pub(crate) metering: Arc<Metering>,
    pub(crate) upstream: Upstream,
    pub(crate) reader: Reader,
    record: Option<Box<Record>>,
    attempts: Attempts,
    asked: reply::Asked,
    /// Silence that the upstream which answers is allowed.
    pub(crate) idle_max: Duration,
    /// Whether an error that is the content filter's bills the prompt.
    bills_a_rejected_prompt: bool,
    /// Whether only the end of its connection ends the reply.
    ended_by_connection: bool,
    /// The request's place and the memory of its body, given back when the exchange has ended.
    held: Option<(Taken, Taken)>,
    /// Whether the client's leaving is already being dealt with.
    left: bool,
    /// Shutdown waits for it: HTTP/2 replies outlive the task of their connection.
    _open: TaskTrackerToken,
}

impl Exchange {
    pub(crate) fn new(
        metering: Arc<Metering>,
        record: Box<Record>,
        (asked, attempts): (reply::Asked, Attempts),
        held: Option<(Taken, Taken)>,
        call: Boxed<Response<UpstreamBody>>,
    ) -> Self {
        Self {
            _open: metering.tasks.token(),
            idle_max: metering.deadline,
            metering,
            upstream: Upstream::Called(call),
            reader: Reader::Unanswered,
            record: Some(record),
            attempts,
            asked,
            bills_a_rejected_prompt: false,
            ended_by_connection: false,
            held,
            left: false,
        }
    }

    /// Waits for the head of the reply. After a refusal nothing more is to come.
    pub(crate) async fn answer(&mut self) -> Result<http::response::Parts, Refusal> {
        let Upstream::Called(call) = &mut self.upstream else {
            return Err(Refusal::InvalidRequest("the upstream was already read".to_owned()));
        };
        let deadline = self.metering.deadline;
        let started = self.record.as_deref().map_or_else(Instant::now, Record::started);
        let answered = timeout_at((started + deadline).into(), call)
            .await
            .unwrap_or(Err(Refusal::Deadline { seconds: deadline.as_secs() }));
        let head = answered.and_then(|response| self.answered(response));
        if let Err(refusal) = &head {
            self.upstream = Upstream::Ended;
            self.reader = Reader::Plain(refusal.ending());
        }
        head
    }

    fn answered(
        &mut self,
        response: Response<UpstreamBody>,
    ) -> Result<http::response::Parts, Refusal> {
        let (head, body) = response.into_parts();
        let nobody = || Refusal::InvalidRequest("no upstream was called".to_owned());
        let asked = self.asked;
        self.attempts
            .of_upstream(|upstream| {
                self.reader = reply::reader(&head, asked, upstream);
                self.idle_max = upstream.idle_max;
                self.bills_a_rejected_prompt =
                    reply::bills_a_rejected_prompt(&head, asked, upstream);
            })
            .ok_or_else(nobody)?;
        if let Some(record) = &mut self.record {
            record.answered(head.status);
        }
        self.ended_by_connection = reply::is_ended_by_its_connection(&head);
        self.upstream = Upstream::Replying(body);
        Ok(head)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.record.is_none()
    }

    pub(crate) fn record_mut(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// What the tap knows now.
    fn reply(&self) -> Reply {
        match &self.reader {
            Reader::Tap(tap) => Reply::Counted(Box::new(tap.reading())),
            Reader::Failed(tap) => {
                let reading = Box::new(tap.reading());
                let filtered = reading.error && reading.stop == Some(Stop::ContentFilter);
                if filtered && self.bills_a_rejected_prompt {
                    Reply::Rejected(reading)
                } else {
                    Reply::Failed(reading)
                }
            }
            Reader::Unanswered => match self.attempts.in_flight() {
                Some(upstream) => reply::unanswered(self.asked, &upstream),
                None => Reply::Nothing,
            },
            Reader::Plain(_) => Reply::Nothing,
        }
    }

    /// The same, of a reply that ends so. Where it is us who stop waiting, nobody pays for what
    /// nobody answered.
    fn reply_ended(&self, ended: Ended) -> Reply {
        let is_ours = ended == Ended::Shutdown && matches!(self.reader, Reader::Unanswered);
        if is_ours { Reply::Nothing } else { self.reply() }
    }

    /// Writes what is known so far, off the event loop. Where others are doing so already, what was
    /// written last must do until the next time.
    pub(crate) fn progress(&self) {
        let Some(place) = self.metering.progresses.take(1) else { return };
        if let (Some(record), Reply::Counted(reading)) = (&self.record, self.reply()) {
            let write = record.progress(*reading);
            self.metering.off_the_loop(move || {
                write();
                drop(place);
            });
        }
    }

    /// Gives bytes that came at `now` to the reader; what may go to the client is added to `out`.
    pub(crate) fn read(&mut self, bytes: Bytes, now: Instant, out: &mut Vec<Piece>) {
        if let Some(record) = &mut self.record {
            record.first_byte(now);
        }
        match &mut self.reader {
            Reader::Tap(tap) | Reader::Failed(tap) => tap.push(bytes, out),
            Reader::Plain(_) | Reader::Unanswered => out.push(Piece::Pass(bytes)),
        }
        self.count_ahead();
        if let (Reader::Tap(tap), Some(record)) = (&self.reader, &self.record) {
            record.grow(|| tap.text_bytes());
        }
    }

    /// Has the text of a long reply counted while the rest of it comes. Where others are at it, or
    /// the piece before is not counted yet, the text waits, and is extrapolated beyond its bound.
    fn count_ahead(&mut self) {
        let (Reader::Tap(tap), Some(record)) = (&mut self.reader, &mut self.record) else { return };
        if !tap.is_text_due() {
            return;
        }
        let Some(place) = self.metering.progresses.take(1) else { return };
        let Some(count) = record.count_ahead(tap) else { return };
        self.metering.off_the_loop(move || {
            count();
            drop(place);
        });
    }

    /// The upstream's reply has ended well, as far as HTTP can tell.
    pub(crate) fn finish(&mut self, out: &mut Vec<Piece>) {
        self.upstream = Upstream::Ended;
        self.read_all(out);
    }

    /// No more bytes will come; what the reader still holds is given out.
    pub(crate) fn read_all(&mut self, out: &mut Vec<Piece>) {
        if let Reader::Tap(tap) | Reader::Failed(tap) = &mut self.reader {
            tap.finish(out);
        }
    }

    /// How the reply's events are told apart; absent where none of ours can stand among them:
    /// documents, the binary frames of Bedrock, Gemini's list, anything encoded.
    fn framing(&self) -> Option<Framing> {
        let Reader::Tap(tap) = &self.reader else { return None };
        match tap.framing()? {
            permille_usage::Framing::Sse => Some(Framing::Events),
            permille_usage::Framing::JsonLines => Some(Framing::Lines),
            _ => None,
        }
    }

    /// Whether a reply that has ended lacks its own end: where HTTP has none, or a stream tells it.
    pub(crate) fn is_cut_short(&self) -> bool {
        let Reader::Tap(tap) = &self.reader else { return false };
        // Most streams were settled with their own end.
        !self.is_settled()
            && (self.ended_by_connection || self.framing().is_some())
            && reply::lacks_its_end(&tap.reading(), self.ended_by_connection)
    }

    /// The error that ends a stream whose budget has no room for the rest, after `sent`: where an
    /// event ends with it. What was held back of an unfinished one goes nowhere.
    pub(crate) fn stop(&mut self, sent: &[u8]) -> Option<Bytes> {
        let framing = self.framing().filter(|framing| framing.ends_with(sent))?;
        let error = self.record.as_ref()?.stop(framing)?;
        self.break_off(&mut Vec::new());
        Some(error)
    }

    /// The upstream's reply broke off: what was held back may still go to the client.
    pub(crate) fn break_off(&mut self, out: &mut Vec<Piece>) {
        self.upstream = Upstream::Ended;
        if let Reader::Tap(tap) | Reader::Failed(tap) = &mut self.reader {
            tap.abandon(out);
        }
    }

    /// How a reply that was read to its end has ended.
    fn ending(&self, reply: &Reply) -> Ended {
        match (&self.reader, reply) {
            (Reader::Plain(ended), _) => *ended,
            (_, Reply::Counted(reading)) if reply::is_whole(reading) => Ended::Complete,
            (_, Reply::Rejected(_)) => Ended::Complete,
            _ => Ended::UpstreamError,
        }
    }

    /// Settles the record of a reply that was read to its end.
    pub(crate) fn complete(&mut self) -> Durably {
        let reply = self.reply();
        self.settle_as(self.ending(&reply), reply, &[])
    }

    /// Settles the record of a reply that was left before its end.
    pub(crate) fn settle(&mut self, ended: Ended, flags: &'static [Flag]) -> Durably {
        self.settle_as(ended, self.reply(), flags)
    }

    fn settle_as(&mut self, ended: Ended, reply: Reply, flags: &'static [Flag]) -> Durably {
        let Some(record) = self.record.take() else { return Durably::Appended(None) };
        if !reply.must_count() {
            if ended == Ended::Complete && record.is_sampled() {
                self.audit(&record);
            }
            return Durably::of(record.settle(ended, &reply, flags));
        }
        let mut uncounted = Uncounted { record: Some(record), ended, reply, flags };
        let counting = self.metering.off_the_loop(move || uncounted.settle());
        Durably::Counted(Box::pin(async move {
            match counting.await? {
                Some(settled) => Durably::of(settled).await,
                None => Ok(()),
            }
        }))
    }

    /// Has a reply that reports usage counted here too.
    fn audit(&self, record: &Record) {
        let Reader::Tap(tap) = &self.reader else { return };
        auditor::audit(&self.metering, || record.sampled(tap.reading_with_text()));
    }

    /// Reads on after the client has left, within the bounds of a drain.
    async fn drain(&mut self, policy: Policy) -> ReadOn {
        let time_max = policy.drain_time_max;
        let cut = self.metering.cut.clone();
        tokio::select! {
            read = timeout(time_max, self.read_on(policy.drain_bytes_max)) => {
                read.unwrap_or(ReadOn::Bound)
            }
            () = cut.cancelled() => ReadOn::Bound,
        }
    }

    /// Reads the rest of the reply, up to a bound of bytes.
    async fn read_on(&mut self, mut bytes_left: u64) -> ReadOn {
        let (mut unsent, mut is_whole) = (Vec::new(), false);
        if matches!(self.upstream, Upstream::Called(_)) && self.answer().await.is_err() {
            return ReadOn::End;
        }
        while let Upstream::Replying(body) = &mut self.upstream {
            match body.frame().await.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                Some(Ok(Ok(bytes))) => {
                    let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.read(bytes, Instant::now(), &mut unsent);
                    is_whole |= unsent.iter().any(|piece| matches!(piece, Piece::Terminal(_)));
                    if !is_whole && self.is_over_its_budget() {
                        self.break_off(&mut unsent);
                        return ReadOn::Budget;
                    }
                    let Some(left) = bytes_left.checked_sub(read) else { return ReadOn::Bound };
                    bytes_left = left;
                }
                Some(Ok(Err(_trailers))) => {}
                Some(Err(_)) => self.break_off(&mut unsent),
                None => self.finish(&mut unsent),
            }
            unsent.clear();
        }
        ReadOn::End
    }

    /// Whether a budget has no room for the rest of the reply, and it is one that ends then.
    fn is_over_its_budget(&self) -> bool {
        let record = self.record.as_ref().filter(|_| self.framing().is_some());
        record.is_some_and(|record| record.ended_budget().is_some())
    }

    /// The rest of an exchange whose client is not there any more.
    async fn leave(mut self, ended: Ended) {
        self.attempts.stop();
        let policy =
            self.record.as_deref().map(Record::policy).filter(|policy| {
                ended == Ended::ClientGone && policy.client_gone == ClientGone::Drain
            });
        let place = policy.and_then(|_| self.metering.drains.take(1));
        let (ended, flags): (_, &[Flag]) = match (&self.upstream, policy, &place) {
            (Upstream::Ended, _, _) => (ended, &[]),
            (_, Some(policy), Some(_)) => match self.drain(policy).await {
                ReadOn::End => (ended, &[Flag::Drained]),
                ReadOn::Bound => (ended, &[Flag::Drained, Flag::DrainBound]),
                ReadOn::Budget => (Ended::Budget, &[Flag::Drained]),
            },
            (_, Some(_), None) => (ended, &[Flag::Cancelled, Flag::DrainBound]),
            (_, None, _) => (ended, &[Flag::Cancelled]),
        };
        // Dropping what is left of the call cancels it.
        self.upstream = Upstream::Ended;
        // Who leaves because the reply holds an error has not left first.
        let reply = self.reply_ended(ended);
        let failed = matches!(&reply, Reply::Counted(reading) if reading.error);
        let ended = if failed { Ended::UpstreamError } else { ended };
        if let Err(cause) = self.settle_as(ended, reply, flags).await {
            tracing::error!(error = %chain(&cause), "usage of a reply that was left not recorded");
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        let metering = Arc::clone(&self.metering);
        let ended = metering.ending_of_a_dropped_reply();
        if self.left || tokio::runtime::Handle::try_current().is_err() {
            // The runtime itself is going away: nobody can read on or wait any more.
            let reply = self.reply_ended(ended);
            if let Err(cause) = record.settle(ended, &reply, &[Flag::DrainBound]) {
                tracing::error!(error = %chain(&cause), "usage of a dropped reply not recorded");
            }
            return;
        }
        let rest = Self {
            _open: metering.tasks.token(),
            metering: Arc::clone(&metering),
            upstream: std::mem::replace(&mut self.upstream, Upstream::Ended),
            reader: std::mem::replace(&mut self.reader, Reader::Plain(Ended::UpstreamError)),
            record: Some(record),
            attempts: self.attempts.clone(),
            asked: self.asked,
            idle_max: self.idle_max,
            bills_a_rejected_prompt: self.bills_a_rejected_prompt,
            ended_by_connection: self.ended_by_connection,
            held: self.held.take(),
            // From here on: a runtime that is shutting down drops the task without polling it.
            left: true,
        };
        drop(metering.tasks.spawn(rest.leave(ended)));
    }
}

/// A record whose reply is still to be counted, off the event loop. A runtime that ends drops work
/// that has not begun: it is done then.
struct Uncounted {
    /// Absent once it is settled.
    record: Option<Box<Record>>,
    ended: Ended,
    reply: Reply,
    flags: &'static [Flag],
}

impl Uncounted {
    fn settle(&mut self) -> Option<Result<Settled, JournalError>> {
        Some(self.record.take()?.settle(self.ended, &self.reply, self.flags))
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        if let Some(Err(cause)) = self.settle() {
            tracing::error!(error = %chain(&cause), "usage of a dropped reply not recorded");
        }
    }
}

/// Why the end of a reply may not be released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error("record usage")]
    Journal(#[from] JournalError),
    #[error("count tokens")]
    Counting(#[from] tokio::task::JoinError),
}
