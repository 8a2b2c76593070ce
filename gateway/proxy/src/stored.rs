//! Responses that a provider stores: whose they are, where they lie, and what settles those whose
//! work went on in the background (decision 0007).
//!
//! What this gateway created is in memory, within bounds; billing knows all of it, and is asked for
//! the rest. The provider's own id only finds a response and never names a record (M1).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::DateTime;
use moka::sync::Cache;
use permille_journal::Journal;
use permille_types::{
    Attempt, ControlPlane, CustomerId, Ended, Endpoint, Flag, Source, USAGE_EVENT_VERSION,
    UsageEvent,
};
use permille_usage::{Counted, Reading, Usage, count};

use crate::{known::chain, policy::Policies, record::mark, refusal::Refusal};

/// Responses that are kept in memory, each with its event of about a kilobyte.
const CREATED_MAX: u64 = 20_000;
/// And for so long: by then billing has them.
const CREATED_IDLE: Duration = Duration::from_hours(1);
/// Billing may take so long to tell of a response.
const ASK_TIME_MAX: Duration = Duration::from_secs(1);
/// So long a read waits until billing has what was journaled before it: after a start, mostly.
const LAG_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two questions meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is known of stored responses.
pub(crate) struct StoredResponses {
    control: Arc<dyn ControlPlane>,
    journal: Journal,
    created: Cache<(CustomerId, String), Arc<Created>>,
}

/// A response with the request that created it.
pub(crate) struct Created {
    event: UsageEvent,
    settled: AtomicBool,
}

impl StoredResponses {
    pub(crate) fn new(control: Arc<dyn ControlPlane>, journal: Journal) -> Self {
        let created = Cache::builder().max_capacity(CREATED_MAX).time_to_idle(CREATED_IDLE).build();
        Self { control, journal, created }
    }

    /// Remembers the response that a settled request created, if it created one.
    pub(crate) fn note(&self, event: &UsageEvent) {
        if event.endpoint != Endpoint::Responses {
            return;
        }
        if let Some(id) = provider_id(event) {
            self.keep(&event.customer, id, event.clone(), false);
        }
    }

    fn keep(
        &self,
        customer: &CustomerId,
        id: &str,
        event: UsageEvent,
        settled: bool,
    ) -> Arc<Created> {
        let created = Arc::new(Created { event, settled: AtomicBool::new(settled) });
        self.created.insert((customer.clone(), id.to_owned()), Arc::clone(&created));
        created
    }

    /// The response that `customer` created under the provider's `id`.
    ///
    /// # Errors
    /// [`Refusal::UnknownResponse`] where there is none, [`Refusal::ResponseNotKnownYet`] where
    /// billing cannot say.
    pub(crate) async fn find(
        &self,
        customer: &CustomerId,
        id: &str,
    ) -> Result<Arc<Created>, Refusal> {
        if let Some(created) = self.created.get(&(customer.clone(), id.to_owned())) {
            return Ok(created);
        }
        let (asked_at, written) = (Instant::now(), self.journal.stats().appended_sequence);
        loop {
            // Looked at before billing is asked: what it has acknowledged, it knows.
            let stats = self.journal.stats();
            let caught_up = stats.lag_records == 0 || stats.acknowledged_sequence >= written;
            if let Some(created) = self.ask(customer, id).await? {
                return Ok(created);
            }
            if caught_up {
                return Err(Refusal::UnknownResponse { response: id.to_owned() });
            }
            if asked_at.elapsed() >= LAG_TIME_MAX {
                return Err(Refusal::ResponseNotKnownYet { response: id.to_owned() });
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Whether all that `created` consumed is counted, as far as billing or this gateway knows.
    pub(crate) async fn is_counted(&self, created: &Created) -> Result<bool, Refusal> {
        let Some(id) = provider_id(&created.event).filter(|_| created.awaits_settlement()) else {
            return Ok(true);
        };
        // Another gateway may have settled it.
        let known = self.ask(&created.event.customer, id).await?;
        Ok(known.is_some_and(|known| !known.awaits_settlement()))
    }

    async fn ask(&self, customer: &CustomerId, id: &str) -> Result<Option<Arc<Created>>, Refusal> {
        let unknown = || Refusal::ResponseNotKnownYet { response: id.to_owned() };
        let asked = self.control.stored_response(customer, id);
        match tokio::time::timeout(ASK_TIME_MAX, asked).await {
            Ok(Ok(found)) => {
                Ok(found.map(|found| self.keep(customer, id, found.created, found.settled)))
            }
            Ok(Err(cause)) => {
                tracing::warn!(error = %chain(&cause), "a stored response is not known");
                Err(unknown())
            }
            Err(_) => Err(unknown()),
        }
    }
}

impl Created {
    /// Whether the upstream `name` stores it.
    pub(crate) fn lies_at(&self, name: &permille_types::UpstreamName) -> bool {
        self.event.upstream.as_ref() == Some(name)
    }

    /// Whether its work went on in the background and what it consumed is not settled.
    pub(crate) fn awaits_settlement(&self) -> bool {
        let pending = self.event.flags.contains(&Flag::Background);
        pending && self.event.source == Source::Missing && !self.settled.load(Ordering::Relaxed)
    }

    /// Its settlement is written.
    pub(crate) fn settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// The event that settles it, once `reading` is of its end. Made of nothing but the request
    /// that created it and the response itself, so that it reads the same whoever makes it and
    /// however often: billing takes it once (B6).
    pub(crate) fn settlement(&self, reading: &Reading, policies: &Policies) -> Option<UsageEvent> {
        let created = &self.event;
        let is_this = reading.provider_id.as_deref() == provider_id(created);
        if !(self.awaits_settlement() && is_this && reading.terminal && !reading.pending) {
            return None;
        }
        // Without usage nothing can be estimated: the prompt is not known any more (S1).
        let reported = reading.usage.as_ref().is_some_and(Usage::is_complete);
        let counted =
            if reported { count(reading, Endpoint::Responses, &[]) } else { Counted::nothing() };
        let ended = if reading.error { Ended::UpstreamError } else { Ended::Complete };
        let attempts = created.attempts.last().map(|last| Attempt {
            provider_request_id: None,
            ended,
            tokens: counted.tokens.clone(),
            ..last.clone()
        });
        let mut event = UsageEvent {
            version: USAGE_EVENT_VERSION,
            request_id: created.request_id.settlement(),
            // As billing stores it.
            at: DateTime::from_timestamp_micros(created.at.timestamp_micros())?,
            endpoint: Endpoint::StoredResponse,
            // The turn is that of the request which created it, and is on its row.
            turn_kind: None,
            resent_tokens: None,
            model_served: reading.model.as_deref().and_then(|name| name.parse().ok()),
            service_tier: reading.service_tier.clone().or_else(|| created.service_tier.clone()),
            ended,
            source: counted.source,
            tokens: counted.tokens,
            input_total: counted.input_total,
            output_total: counted.output_total,
            units: counted.units,
            attempts: attempts.into_iter().collect(),
            latency_ms: 0,
            first_token_ms: None,
            flags: vec![Flag::Background],
            ..created.clone()
        };
        let simulated = created.flags.iter().filter(|flag| **flag == Flag::Simulated);
        for flag in counted.flags.iter().chain(simulated) {
            event.flag(*flag);
        }
        mark(&mut event, reading);
        let model = created.model_requested.as_str();
        policies.of(created.customer.as_str(), model, Endpoint::Responses).apply(&mut event);
        Some(event)
    }
}

fn provider_id(event: &UsageEvent) -> Option<&str> {
    event.attempts.last()?.provider_id.as_deref()
}
