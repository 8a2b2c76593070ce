//! The usage record of one request: opened before the upstream call, settled exactly once (M1).

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use permille_journal::{JournalError, Settled, Unsettled, Written};
use permille_otlp::Trace;
use permille_session::{Placed, Replied};
use permille_types::{
    Ended, Endpoint, Flag, KeyPolicy, ModelName, Progress, Source, SpendAccount, TokenClass,
    TokenCount, TokenCounts, USAGE_EVENT_VERSION, UnitCounts, UsageEvent,
};
use permille_usage::{Ahead, Counted, Estimator, Reading, Stop, Tap, Usage};

use crate::{
    attempts::{Attempts, reported},
    auditor::Sampled,
    config::BudgetEnd,
    context::{Candidate, InSession},
    cost::{Cost, Told},
    limiter::Reserved,
    metering::Metering,
    policy::Policy,
    refusal::{Framing, Refusal},
    stored::Created,
};

/// Stands in the row of an endpoint that takes no model, such as the models list.
const NO_MODEL: &str = "(none)";

/// What a reply says, and for whom it is counted.
pub(crate) enum Reply {
    /// It is counted for the customer.
    Counted(Box<Reading>),
    /// An error body: what it reports is the provider's account and never the customer's (M8).
    Failed(Box<Reading>),
    /// The provider's filter rejected the prompt, which it bills all the same.
    Rejected(Box<Reading>),
    /// Nothing of it is counted: a free endpoint, or a call that was never answered.
    Nothing,
}

impl Reply {
    /// Whether settling it must tokenise text, which is no work for the event loop.
    pub(crate) fn must_count(&self) -> bool {
        let reading = match self {
            Self::Counted(reading) => reading,
            Self::Rejected(_) => return true,
            Self::Failed(_) | Self::Nothing => return false,
        };
        let said_nothing = reading.usage.is_none() && reading.text.is_empty();
        !(is_complete(reading) || (reading.error && said_nothing))
    }
}

/// An open request. Its intent is in the journal; [`Record::settle`] closes it. In a box: it has
/// hundreds of bytes, and goes from hand to hand.
pub(crate) struct Record {
    event: UsageEvent,
    attempts: Attempts,
    policy: Policy,
    placed: Option<Placed>,
    request_body: Bytes,
    /// The response of the background that this request reads, to settle it.
    settles: Option<Arc<Created>>,
    started: Instant,
    metering: Arc<Metering>,
    /// Whose limits it meets, and what it holds of them.
    key: Arc<KeyPolicy>,
    reserved: Option<Reserved>,
    /// Its span, where OpenTelemetry is told of it.
    pub(crate) trace: Option<Box<Trace>>,
    /// Where its cost is told, where its client asks for it.
    pub(crate) cost: Option<Told>,
    /// What has been counted of a long reply already; most replies are not long.
    ahead: Option<SharedAhead>,
}

/// The text of a long reply as far as it was counted: the event loop leaves pieces, other
/// threads count them. Its lock is held while a piece is counted, so that the event loop only ever
/// tries it.
pub(crate) type SharedAhead = Arc<Mutex<Ahead>>;

impl Record {
    /// Writes the intent: from here on the request exists, whatever crashes.
    pub(crate) async fn open(
        metering: Arc<Metering>,
        request: &mut InSession,
        attempts: Attempts,
    ) -> Result<Box<Self>, Refusal> {
        let mut record = Self::new(metering, request, attempts)?;
        record.reserved = request.reserved.take();
        record.placed = request.placed.take();
        let request_bytes = u64::try_from(record.request_body.len()).unwrap_or(u64::MAX);
        // As it reads should we die now; how it ends decides anew who pays.
        let spared = record.policy.spares(&record.event);
        if spared {
            record.event.flags.push(Flag::NotBilled);
        }
        let admitted = record.metering.journal.admit_durable(&record.event, request_bytes);
        if spared {
            record.event.flags.pop();
        }
        let admitted = admitted.map_err(|cause| unrecordable(&cause))?;
        let mut unsent = Unsent(Some(record));
        admitted.await.map_err(|cause| unrecordable(&cause))?;
        let gone = || Refusal::JournalUnavailable { reason: "the record is gone".to_owned() };
        unsent.0.take().ok_or_else(gone)
    }

    fn new(
        metering: Arc<Metering>,
        request: &InSession,
        attempts: Attempts,
    ) -> Result<Box<Self>, Refusal> {
        let classified = &request.targeted.classified;
        let head = &classified.routed;
        let candidates = &request.targeted.candidates;
        let first = candidates.first();
        let facts = classified.facts.as_ref();
        let model_requested = match facts {
            Some(facts) => facts.model.clone(),
            None => NO_MODEL
                .parse()
                .map_err(|cause| Refusal::InvalidRequest(format!("no model name: {cause}")))?,
        };
        let simulated = candidates.iter().any(|candidate| candidate.upstream.simulated);
        let policies = metering.policies.load();
        let customer = head.key.customer.as_str();
        let policy = policies.of(customer, model_requested.as_str(), head.endpoint);
        let event = UsageEvent {
            version: USAGE_EVENT_VERSION,
            request_id: head.id,
            at: head.at,
            customer: head.key.customer.clone(),
            project: head.key.project.clone(),
            key: head.key.key.clone(),
            session: request.session.clone(),
            session_explicit: request.is_named,
            turn: request.turn,
            turn_kind: request.kind,
            resent_tokens: None,
            // Every candidate is of the path's family.
            family: head.family,
            endpoint: head.endpoint,
            model_requested,
            model_served: None,
            service_tier: first.and_then(|first| first.upstream.service_tier.clone()),
            region: first.and_then(|first| first.upstream.region.clone()),
            upstream: first.map(|first| first.upstream.name.clone()),
            status: None,
            streamed: facts.is_some_and(|facts| facts.stream),
            ended: Ended::Orphaned,
            source: Source::Missing,
            tokens: TokenCounts::new(),
            input_total: None,
            output_total: None,
            estimate_error_permille: None,
            units: UnitCounts::new(),
            // Should we die now: the call that is about to be made.
            attempts: first.into_iter().map(Candidate::attempt).collect(),
            latency_ms: 0,
            first_token_ms: None,
            flags: simulated.then_some(Flag::Simulated).into_iter().collect(),
        };
        let request_body = classified.body.clone();
        Ok(Box::new(Self {
            event,
            attempts,
            policy,
            placed: None,
            request_body,
            settles: request.targeted.settles.clone(),
            started: head.started,
            metering,
            key: Arc::clone(&head.key),
            reserved: None,
            trace: None,
            cost: None,
            ahead: None,
        }))
    }

    /// The metering policy that holds for it.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// When the request arrived.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Time since the request arrived.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// The client gets the answer of an upstream with this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.event.status = Some(status.as_u16());
    }

    /// The first byte of the reply's body is here.
    pub(crate) fn first_byte(&mut self, now: Instant) {
        if self.event.first_token_ms.is_none() {
            let elapsed = now.saturating_duration_since(self.started);
            self.event.first_token_ms = Some(milliseconds(elapsed));
            self.attempts.first_byte(now);
            self.metering.metrics.first_byte_seconds.observe(elapsed.as_secs_f64());
        }
    }

    /// Writes the settled record.
    pub(crate) fn settle(
        mut self: Box<Self>,
        ended: Ended,
        reply: &Reply,
        flags: &[Flag],
    ) -> Result<Settled, JournalError> {
        let (reading, counted) = match reply {
            Reply::Counted(reading) => (Some(&**reading), self.count(reading)),
            Reply::Failed(reading) => (Some(&**reading), Counted::nothing()),
            Reply::Rejected(reading) => (Some(&**reading), self.count_rejected(reading)),
            Reply::Nothing => (None, Counted::nothing()),
        };
        if let (Some(created), Reply::Counted(reading)) = (&self.settles, reply) {
            // Before its own record: whatever crashes, what has been read is settled.
            self.settle_background(created, reading)?;
        }
        for flag in counted.flags.iter().chain(flags) {
            self.event.flag(*flag);
        }
        if let Reply::Counted(reading) | Reply::Rejected(reading) = reply {
            self.event.model_served = reading.model.as_deref().and_then(|name| name.parse().ok());
            let tier = || self.attempts.of_upstream(|upstream| upstream.service_tier.clone());
            self.event.service_tier = reading.service_tier.clone().or_else(|| tier().flatten());
        }
        let read_to_its_end = reading.is_some_and(|reading| reading.terminal && !reading.error);
        let call_ended = if read_to_its_end { Ended::Complete } else { ended };
        match reply {
            Reply::Failed(reading) => {
                self.attempts.end(Ended::UpstreamError, Some(reading), &reported(reading));
            }
            _ => self.attempts.end(call_ended, reading, &counted.tokens),
        }
        let called =
            self.attempts.of_upstream(|upstream| (upstream.region.clone(), upstream.name.clone()));
        let (region, upstream) = called.unzip();
        (self.event.region, self.event.upstream) = (region.flatten(), upstream);
        self.attempts.take_to(&mut self.event.attempts);
        self.event.ended = ended;
        self.event.source = counted.source;
        self.event.tokens = counted.tokens;
        self.event.input_total = counted.input_total;
        self.event.output_total = counted.output_total;
        self.event.estimate_error_permille = counted.estimate_error_permille;
        self.event.units = counted.units;
        self.event.latency_ms = milliseconds(self.started.elapsed());
        if let Reply::Counted(reading) | Reply::Rejected(reading) = reply {
            mark(&mut self.event, reading);
            let resent = |placed: &Placed| placed.resent_tokens(self.event.input_total?);
            self.event.resent_tokens = self.placed.as_ref().and_then(resent);
        }
        if let Reply::Counted(reading) = reply {
            self.tell_session(reading);
        }
        let failed = matches!(ended, Ended::UpstreamError | Ended::Deadline | Ended::Shutdown);
        if let Some(placed) = self.placed.as_ref().filter(|_| failed) {
            self.metering.recogniser.failed(self.event.request_id, placed);
        }
        self.policy.apply(&mut self.event);
        let write = self.metering.limiter.when_to_write();
        match self.metering.journal.settle_or_owe(&self.event, write) {
            Ok(settled) => {
                self.written(settled.sequence());
                Ok(settled)
            }
            Err(Unsettled { cause, written }) => {
                self.when_written(written);
                Err(cause)
            }
        }
    }

    /// Tells everybody else what the journal has: counters, limits, the client, telemetry.
    fn written(mut self: Box<Self>, sequence: u64) {
        let reserved = self.reserved.take();
        self.metering.limiter.settled(&self.event, &self.key, reserved, sequence);
        self.metering.metrics.settled(&self.event);
        self.metering.metrics.called(&self.event);
        if let Some(told) = &self.cost
            && let Some(money) = self.metering.limiter.cost(&self.event, &self.key)
        {
            told.get_or_init(|| Cost { money, sequence });
        }
        if let Some(telemetry) = &self.metering.telemetry {
            let mut trace = self.trace.take().map(|trace| *trace);
            let event = &self.event;
            let told = self.attempts.of_upstream(|upstream| {
                telemetry.end(trace.take(), event, Some(&upstream.server()));
            });
            if told.is_none() {
                telemetry.end(trace, event, None);
            }
        }
        self.metering.stored.note(&self.event);
    }

    /// A record that the journal keeps until there is room for it holds its reservation until then.
    /// Where no runtime is left the process ends, and what it holds with it.
    fn when_written(self: Box<Self>, written: Option<Written>) {
        if let Some(written) = written {
            let runtime = self.metering.runtime.clone();
            drop(runtime.spawn(async move {
                if let Some(sequence) = written.await {
                    self.written(sequence);
                }
            }));
        }
    }

    /// Writes what a response of the background consumed, once it has ended.
    fn settle_background(&self, created: &Created, reading: &Reading) -> Result<(), JournalError> {
        let Some(event) = created.settlement(reading, &self.metering.policies.load()) else {
            return Ok(());
        };
        let write = self.metering.limiter.when_to_write();
        let settled = self.metering.journal.settle_or_owe(&event, write);
        match settled.map_err(|unsettled| unsettled.cause) {
            Ok(written_before_this_record) => {
                self.metering.metrics.settled(&event);
                let sequence = written_before_this_record.sequence();
                self.metering.limiter.settled(&event, &self.key, None, sequence);
            }
            Err(JournalError::AlreadySettled { .. }) => {}
            Err(cause) => return Err(cause),
        }
        created.settled();
        Ok(())
    }

    /// Lets the conversation's next request be told from those of others.
    fn tell_session(&self, reading: &Reading) {
        let Some(placed) = &self.placed else { return };
        let is_stored = self.event.endpoint == Endpoint::Responses;
        let stored_as = reading.provider_id.as_deref().filter(|_| is_stored);
        let replied = Replied { text: &reading.opening, stored_as, tokens: self.next_resends() };
        self.metering.recogniser.replied(self.event.request_id, placed, replied);
    }

    /// Tokens of this request that the next one of its conversation sends again: its input, and
    /// what the reply says but for its reasoning. Absent where the provider did not count them, or
    /// where the client did not get the whole reply.
    fn next_resends(&self) -> Option<TokenCount> {
        let event = &self.event;
        let is_sure = event.source == Source::Reported && event.ended == Ended::Complete;
        let reasoning = event.tokens.get(&TokenClass::REASONING).copied().unwrap_or_default();
        let said = event.output_total.filter(|_| is_sure)?.checked_sub(reasoning)?;
        event.input_total?.checked_add(said)
    }

    fn count(&self, reading: &Reading) -> Counted {
        let ahead = self.ahead.as_ref();
        count(&self.metering, ahead, reading, self.event.endpoint, &self.request_body)
    }

    fn count_rejected(&self, reading: &Reading) -> Counted {
        let corrections = Some(&self.metering.auditor.corrections);
        let estimator = Estimator { corrections, ahead: None };
        estimator.count_rejected(reading, self.event.endpoint, &self.request_body)
    }

    /// Whether this reply, which reports usage, is to be counted here too.
    pub(crate) fn is_sampled(&self) -> bool {
        self.metering.auditor.takes(self.event.request_id)
    }

    /// What an audit needs of it; absent when no upstream was called.
    pub(crate) fn sampled(&self, reading: Reading) -> Option<Sampled> {
        let upstream = self.attempts.of_upstream(|upstream| upstream.name.clone())?;
        let asked = self.attempts.model().unwrap_or_else(|| self.event.model_requested.clone());
        let served = reading.model.as_deref().and_then(|name| name.parse().ok());
        Some(Sampled {
            endpoint: self.event.endpoint,
            upstream,
            model: served.unwrap_or(asked),
            request_body: self.request_body.clone(),
            reading,
            ahead: self.ahead.clone(),
        })
    }

    /// Reserves more of the budgets where a reply has outgrown what is reserved.
    pub(crate) fn grow(&self, text_bytes: impl FnOnce() -> u64) {
        if let Some(reserved) = &self.reserved {
            reserved.grow(text_bytes(), &self.metering.tasks);
        }
    }

    /// The error that ends a stream here, in its own format: its budget has no room for the rest,
    /// and the policy is to stop.
    pub(crate) fn stop(&self, framing: Framing) -> Option<Bytes> {
        let full = self.ended_budget()?;
        let refusal = Refusal::budget_ended(full.level, &full.id);
        Some(refusal.in_stream(
            self.event.family,
            self.event.endpoint,
            self.event.request_id,
            framing,
        ))
    }

    /// The budget that has no room for the rest of the reply, where the policy is to stop then.
    pub(crate) fn ended_budget(&self) -> Option<Arc<SpendAccount>> {
        let stops = self.policy.budget_end == BudgetEnd::HardStop;
        self.reserved.as_ref().filter(|_| stops)?.full()
    }

    /// Work that counts what has come of a long reply's text, which is taken from `tap`; absent
    /// while the piece before is still being counted.
    pub(crate) fn count_ahead(&mut self, tap: &mut Tap) -> Option<impl FnOnce() + Send + use<>> {
        let model = &self.event.model_requested;
        let ahead = self.ahead.get_or_insert_with(|| {
            let model = self.attempts.model().unwrap_or_else(|| model.clone());
            Arc::new(Mutex::new(Ahead::of(model.as_str())))
        });
        {
            let mut free = ahead.try_lock().filter(|ahead| ahead.is_free())?;
            free.put(tap.take_text());
        }
        let ahead = Arc::clone(ahead);
        Some(move || ahead.lock().count())
    }

    /// Work that writes what is known so far, for the case that the gateway dies.
    pub(crate) fn progress(&self, reading: Reading) -> impl FnOnce() + Send + use<> {
        let (endpoint, body) = (self.event.endpoint, self.request_body.clone());
        let (request_id, metering) = (self.event.request_id, Arc::clone(&self.metering));
        let ahead = self.ahead.clone();
        move || {
            let counted = count(&metering, ahead.as_ref(), &reading, endpoint, &body);
            let progress = Progress {
                request_id,
                tokens: counted.tokens,
                source: counted.source,
                input_total: counted.input_total,
                output_total: counted.output_total,
                estimate_error_permille: counted.estimate_error_permille,
                model_served: reading.model.and_then(|name| name.parse::<ModelName>().ok()),
            };
            if let Err(cause) = metering.journal.progress(&progress) {
                tracing::debug!(%request_id, %cause, "progress not written");
            }
        }
    }
}

/// A record whose request has not been sent. Dropped, it is settled with nothing: the client has
/// left while its intent was being synced.
struct Unsent(Option<Box<Record>>);

impl Drop for Unsent {
    fn drop(&mut self) {
        let Some(record) = self.0.take() else { return };
        let ended = record.metering.ending_of_a_dropped_reply();
        if let Err(cause) = record.settle(ended, &Reply::Nothing, &[]) {
            tracing::error!(error = %crate::known::chain(&cause), "an unsent request not recorded");
        }
    }
}

fn count(
    metering: &Metering,
    ahead: Option<&SharedAhead>,
    reading: &Reading,
    endpoint: Endpoint,
    request_body: &[u8],
) -> Counted {
    // Complete usage is settled on the event loop, which must not wait for another thread.
    let ahead = ahead.filter(|_| !is_complete(reading)).map(counted_up);
    let corrections = Some(&metering.auditor.corrections);
    let estimator = Estimator { corrections, ahead: ahead.as_deref() };
    estimator.count(reading, endpoint, request_body)
}

/// `ahead`, once what nobody has counted yet is counted too.
pub(crate) fn counted_up(ahead: &SharedAhead) -> MutexGuard<'_, Ahead> {
    let mut ahead = ahead.lock();
    ahead.count();
    ahead
}

fn is_complete(reading: &Reading) -> bool {
    reading.usage.as_ref().is_some_and(Usage::is_complete)
}

/// Notes on a row what kind of answer it stands for.
pub(crate) fn mark(event: &mut UsageEvent, reading: &Reading) {
    match reading.stop {
        Some(Stop::ContentFilter) => event.flag(Flag::ContentFilter),
        Some(Stop::Refusal) => event.flag(Flag::Refusal),
        None => {}
    }
    let answers = !event.endpoint.is_embedding();
    if event.ended == Ended::Complete && answers && event.output_total == Some(0) {
        event.flag(Flag::EmptyReply);
    }
}

fn unrecordable(cause: &JournalError) -> Refusal {
    tracing::error!(error = %crate::known::chain(cause), "intent not written");
    Refusal::JournalUnavailable { reason: cause.to_string() }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
