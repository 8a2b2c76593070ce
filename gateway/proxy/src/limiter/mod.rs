//! Limits of customers, projects, keys and sessions, as a request meets them: what it takes of
//! which, what is said when there is no room, and what takes the place of its reservation.
//!
//! The counters themselves are in `permille-limits`.

mod counters;
mod reserved;
mod spendings;
mod told;
mod worst;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;
use permille_journal::Journal;
use permille_limits::{
    Blocked, Health, Kind, Limits, OutputLengths, Place, Post, Refused, SharedBooks, SharedError,
    Use, WhenAway,
};
use permille_rating::{price_book::PriceBook, rate::rate, round::to_nano};
use permille_types::{
    Clock, ControlPlane, Currency, Ended, KeyPolicy, Level, Limit, Measure, RequestId, SessionId,
    UsageEvent,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Away, LimitsConfig},
    context::InSession,
    known::{Knowledge, chain},
    metrics::Metrics,
    refusal::Refusal,
};
use counters::{Subject, kind, limits_of};
use worst::{Unpriced, Worst, worst};

pub(crate) use reserved::Reserved;

/// A settlement that was written so long ago is not told again after a restart: it may have been
/// told before, and nobody remembers.
const TOLD_AGAIN_MAX: TimeDelta = TimeDelta::minutes(50);

/// Refused rates that are remembered, and how long at most: a full minute's worth is free again by
/// then.
const CLOSED_MAX: u64 = 10_000;
const CLOSED_TIME: Duration = Duration::from_mins(1);

/// See the module's text.
pub(crate) struct Limiter {
    limits: Arc<Limits>,
    lengths: OutputLengths,
    knowledge: Knowledge,
    journal: Journal,
    metrics: Arc<Metrics>,
    /// Rates that were refused, by counter and limit, and until when they surely are.
    closed: Cache<(Arc<str>, u64), DateTime<Utc>>,
}

/// What the limiter stands on.
pub(crate) struct Ground {
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) knowledge: Knowledge,
    pub(crate) journal: Journal,
    pub(crate) metrics: Arc<Metrics>,
    /// The longest that one request may take, its drain included.
    pub(crate) longest: Duration,
}

impl Limiter {
    pub(crate) fn new(config: &LimitsConfig, ground: Ground) -> Result<Self, SharedError> {
        let Ground { control, knowledge, journal, metrics, longest } = ground;
        let place = match &config.redis_url {
            None => Place::Local(longest),
            Some(url) => {
                let wait = Duration::from_millis(config.section.wait_ms.into());
                let away = match config.section.away {
                    Away::Refuse => WhenAway::Refuse,
                    Away::Share => WhenAway::Share(config.section.gateways),
                };
                Place::Shared(SharedBooks::open(url, wait)?, away)
            }
        };
        let spendings =
            spendings::Spent { control, journal: journal.clone(), knowledge: knowledge.clone() };
        let limits = Limits::new(place, journal.node().clone(), Arc::new(spendings));
        let lengths = OutputLengths::default();
        let closed = Cache::builder().max_capacity(CLOSED_MAX).time_to_live(CLOSED_TIME).build();
        Ok(Self { limits, lengths, knowledge, journal, metrics, closed })
    }

    /// How the shared books fare.
    pub(crate) fn health(&self) -> Health {
        self.limits.health()
    }

    /// Looks after the books until `stop`; on return everything settled is told, within a bound.
    pub(crate) async fn tend(&self, clock: &dyn Clock, stop: CancellationToken) {
        if self.limits.is_shared() {
            self.tell_again(clock);
        }
        self.limits.tend(stop).await;
    }

    /// Refuses a request of `key` while a rate of requests that refused one before leaves no room:
    /// without a step, and without asking anybody who it is of.
    pub(crate) fn still_closed(&self, key: &KeyPolicy, at: DateTime<Utc>) -> Result<(), Refusal> {
        let nobody = SessionId::from(RequestId::new(at));
        let subject = Subject { key, session: &nobody, at };
        for limit in limits_of(key) {
            if limit.measure != Measure::RequestsPerMinute {
                continue;
            }
            let closed = self.closed.get(&(subject.counter(&limit), limit.max));
            let left = closed.and_then(|until| (until - at).to_std().ok());
            let wait_ms = left.and_then(|left| u64::try_from(left.as_millis()).ok());
            if let Some(wait_ms) = wait_ms.filter(|wait| *wait > 0) {
                self.metrics.limits.refused(&limit);
                let is = Use { used: limit.max, held: 0 };
                let blocked = Blocked { line: 0, is, wait_ms: Some(wait_ms) };
                return Err(told::refusal(subject, &limit, 1, blocked));
            }
        }
        Ok(())
    }

    /// Reserves what `request` may use of every limit that it meets.
    pub(crate) async fn reserve(&self, request: &mut InSession) -> Result<(), Refusal> {
        let head = &request.targeted.classified.routed;
        let key = Arc::clone(&head.key);
        let limits = limits_of(&key);
        let worst = match worst(&request.targeted, self.lengths.expected(&key.key)) {
            Ok(worst) => worst,
            Err(Unpriced) if key.limits.iter().any(|limit| limit.measure.is_money()) => {
                return Err(unpriced(request));
            }
            Err(Unpriced) => Worst::default(),
        };
        let subject = Subject { key: &key, session: &request.session, at: head.at };
        let take = |measure: Measure| match measure {
            Measure::RequestsPerMinute | Measure::OpenRequests => 1,
            Measure::TokensPerMinute => worst.tokens,
            _ => worst.nano,
        };
        let lines: Vec<_> = limits
            .iter()
            .map(|limit| {
                // A session that its client names may have had turns that nobody told us of.
                let minted = request.named.is_none() && request.turn == 1;
                let fresh = limit.level == Level::Session && minted;
                subject.line(limit, take(limit.measure), fresh)
            })
            .collect();
        let timer = self.metrics.limits.reserve_seconds.start_timer();
        let reserved = self.limits.reserve(&key.customer, head.id, &lines).await;
        drop(timer);
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Refused::Unavailable) => return Err(Refusal::LimitsUnavailable),
            Err(Refused::Blocked(blocked)) => {
                let Some(limit) = limits.get(blocked.line) else {
                    return Err(Refusal::LimitsUnavailable);
                };
                self.metrics.limits.refused(limit);
                if let (Measure::RequestsPerMinute, Some(wait_ms)) =
                    (limit.measure, blocked.wait_ms)
                {
                    let wait = TimeDelta::milliseconds(i64::try_from(wait_ms).unwrap_or(i64::MAX));
                    let until = head.at.checked_add_signed(wait).unwrap_or(head.at);
                    self.closed.insert((subject.counter(limit), limit.max), until);
                }
                return Err(told::refusal(subject, limit, take(limit.measure), blocked));
            }
        };
        let near = limits.iter().zip(reservation.uses());
        for (limit, is) in near.filter(|(limit, is)| told::is_near(limit, **is)) {
            self.metrics.limits.near(limit);
            request.warnings.extend(told::warning(subject, limit, *is));
        }
        request.reserved = Some(Reserved::new(reservation, &lines, worst));
        Ok(())
    }

    /// Puts what `event` used in the place of what was reserved for it.
    pub(crate) fn settled(
        &self,
        event: &UsageEvent,
        key: &KeyPolicy,
        reserved: Option<Reserved>,
        sequence: u64,
    ) {
        // A limit that came while the request was open counts it too.
        let known = self.knowledge.current();
        let now = known.as_deref().and_then(|known| {
            // What a response of the background cost is its creator's, whoever read it.
            let own = event.key == key.key;
            if own { known.policy(&key.hash) } else { known.key_of(&event.key) }
        });
        let key = now.map_or(key, |now| &**now);
        if event.key != key.key {
            // The creator's key is gone. The ledger has the cost, for counters that are loaded.
            return;
        }
        if key.limits.is_empty() && key.rpm.is_none() && reserved.is_none() {
            return;
        }
        if let (Ended::Complete, Some(output)) = (event.ended, event.output_total) {
            self.lengths.learn(&key.key, output);
        }
        let prices = known.as_deref().map(|known| &*known.prices);
        let posts = posts(event, key, prices);
        match reserved {
            Some(reserved) => {
                let spent = posts.iter().filter(|post| post.kind == Kind::Money);
                if spent.map(|post| post.amount).max() > Some(reserved.nano()) {
                    self.metrics.limits.overages.inc();
                }
                reserved.settle(sequence, posts);
            }
            None => self.limits.post(&key.customer, event.request_id, sequence, posts),
        }
    }

    /// Tells the shared books what this node settled before it was started and may not have told:
    /// what was open when it died holds nothing any more, and has cost what its record says.
    fn tell_again(&self, clock: &dyn Clock) {
        let Some(known) = self.knowledge.current() else { return };
        let now = clock.now();
        let told = self.journal.uncommitted(|written| {
            let Ok(event) = UsageEvent::from_json(&written.payload) else { return };
            let recent = now - event.at < TOLD_AGAIN_MAX;
            if let Some(key) = known.key_of(&event.key)
                && (event.ended == Ended::Orphaned || recent)
            {
                self.settled(&event, key, None, written.sequence);
            }
        });
        if let Err(error) = told {
            tracing::warn!(error = %chain(&error), "the journal was not told to the limits");
        }
    }
}

/// What `event` adds to the counters of `key`.
fn posts(event: &UsageEvent, key: &KeyPolicy, prices: Option<&PriceBook>) -> Vec<Post> {
    let subject = Subject::of_event(key, event);
    let money = key.limits.iter().any(|limit| limit.measure.is_money());
    let nano = match prices.filter(|_| money) {
        Some(prices) => cost_nano(event, prices, key.currency),
        None => 0,
    };
    let tokens = match (event.input_total, event.output_total) {
        (None, None) => event.tokens.values().fold(0, |sum: u64, count| sum.saturating_add(*count)),
        (input, output) => input.unwrap_or_default().saturating_add(output.unwrap_or_default()),
    };
    let post = |limit: &Limit| {
        let amount = match limit.measure {
            Measure::RequestsPerMinute | Measure::OpenRequests => return None,
            Measure::TokensPerMinute => tokens,
            _ => nano,
        };
        let (kind, counter) = (kind(limit.measure), subject.counter(limit));
        Some(Post { kind, counter, limit: limit.max, amount })
    };
    key.limits.iter().filter_map(post).collect()
}

/// What `event` costs, as the ledger books it for budgets; nothing where that is not known yet.
fn cost_nano(event: &UsageEvent, prices: &PriceBook, currency: Currency) -> u64 {
    let rated = rate(event, prices, currency).ok();
    let cost = rated.and_then(|rated| rated.cost);
    let nano = cost.and_then(|cost| to_nano(cost.amount()).ok());
    nano.and_then(|nano| u64::try_from(nano).ok()).unwrap_or_default()
}

fn unpriced(request: &InSession) -> Refusal {
    let classified = &request.targeted.classified;
    match &classified.facts {
        Some(facts) => Refusal::UnpricedModel {
            model: facts.model.clone(),
            currency: classified.routed.key.currency,
        },
        None => Refusal::LimitsUnavailable,
    }
}
