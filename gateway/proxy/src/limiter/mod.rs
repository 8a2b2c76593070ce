//! Limits of customers, projects, keys and sessions, as a request meets them: what it takes of
//! which, what is said when there is no room, and what takes the place of its reservation.
//!
//! The counters themselves are in `permille-limits`.

mod counters;
mod growth;
mod reserved;
mod spendings;
mod told;
mod unbooked;
mod worst;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use moka::sync::Cache;
use parking_lot::Mutex;
use permille_journal::{Journal, JournalError, Write};
use permille_limits::{
    Blocked, Health, Kind, Limits, LoadError, OutputLengths, Place, Post, Refused, SharedBooks,
    SharedError, Use, WhenAway,
};
use permille_rating::{
    price_book::PriceBook,
    rate::rate,
    round::{from_nano, to_nano},
};
use permille_types::{
    Clock, ControlPlane, Currency, Ended, KeyPolicy, Level, Limit, Measure, Money, RequestId,
    SessionId, Source, UsageEvent,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Away, LimitsConfig},
    context::InSession,
    known::{Knowledge, Known, chain},
    metrics::Metrics,
    refusal::Refusal,
};
use counters::{Subject, kind, limits_of};
use unbooked::{Settled, Unbooked};
use worst::{Unpriced, Worst, worst};

pub(crate) use reserved::Reserved;

/// Tokens that were used so long ago are no part of a minute's rate any more.
const RATES_TIME: TimeDelta = TimeDelta::minutes(1);
/// What billing acknowledged is kept for so long beside it: a load takes two seconds at most.
const KEPT_TIME: Duration = Duration::from_secs(3);
/// Pause after the journal could not be read.
const READ_AGAIN: Duration = Duration::from_secs(5);

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
    /// What was settled and billing may not have.
    unbooked: Arc<Unbooked>,
    /// How far billing was, second by second.
    acknowledged: Mutex<VecDeque<(Instant, u64)>>,
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
                    Away::Share => WhenAway::Share(config.section.gateways.unwrap_or(1)),
                };
                Place::Shared(SharedBooks::open(url, wait)?, away)
            }
        };
        let unbooked = Arc::new(Unbooked::default());
        let spendings = spendings::Spent {
            control,
            journal: journal.clone(),
            knowledge: knowledge.clone(),
            unbooked: Arc::clone(&unbooked),
        };
        let limits = Limits::new(place, journal.node().clone(), Arc::new(spendings));
        let lengths = OutputLengths::default();
        let closed = Cache::builder().max_capacity(CLOSED_MAX).time_to_live(CLOSED_TIME).build();
        let acknowledged = Mutex::default();
        Ok(Self { limits, lengths, knowledge, journal, metrics, closed, unbooked, acknowledged })
    }

    /// How the shared books fare.
    pub(crate) fn health(&self) -> Health {
        self.limits.health()
    }

    /// Looks after the books until `stop`; on return everything settled is told, within a bound.
    pub(crate) async fn tend(&self, clock: &dyn Clock, stop: CancellationToken) {
        tokio::join!(self.read_journal(clock, &stop), self.limits.tend(stop.clone()));
    }

    /// Waits, within a bound, until the shared books have every settlement up to `sequence`;
    /// whether they have.
    pub(crate) async fn told_up_to(&self, sequence: u64) -> bool {
        self.limits.told_up_to(sequence).await
    }

    /// Billing has everything up to `sequence`, as of `now`. Told every second.
    pub(crate) fn acknowledged(&self, sequence: u64, now: Instant) {
        let mut acknowledged = self.acknowledged.lock();
        let is_long_ago = |at: &(Instant, u64)| now.saturating_duration_since(at.0) >= KEPT_TIME;
        let mut up_to = None;
        while let Some((_, sequence)) = acknowledged.pop_front_if(|first| is_long_ago(first)) {
            up_to = Some(sequence);
        }
        acknowledged.push_back((now, sequence));
        if let Some(up_to) = up_to {
            self.unbooked.drop_up_to(up_to);
        }
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
                let minted = !request.is_named && request.turn == 1;
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
        for (limit, is) in near.filter(|(limit, is)| told::is_near(subject, limit, **is)) {
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
        let is_kept = known.as_deref().is_none_or(|known| known.limits_money_of(&event.customer));
        // Nobody asks what an event costs whose customer may spend what it likes.
        let is_rated = is_kept || key.limits.iter().any(|limit| limit.measure.is_money());
        // A customer has one currency, whichever key it is.
        let prices = known.as_deref().map(|known| &*known.prices).filter(|_| is_rated);
        let nano = prices.map_or(0, |prices| cost_nano(event, prices, key.currency));
        let kept_cost = is_kept.then_some(nano);
        let settled = Settled { sequence, event, kept_cost };
        // Where the creator's key is gone, the ledger has the cost, for counters that are loaded.
        if event.key != key.key || !is_limited(key, reserved.as_ref()) {
            self.unbooked.settled(settled, || {});
            return;
        }
        if let (Ended::Complete, Some(output)) = (event.ended, event.output_total) {
            self.lengths.learn(&key.key, output);
        }
        let posts = posts(event, key, nano);
        if let Some(reserved) = &reserved {
            let spent = posts.iter().filter(|post| post.kind == Kind::Money);
            if spent.map(|post| post.amount).max() > Some(reserved.nano()) {
                self.metrics.limits.overages.inc();
            }
        }
        self.unbooked.settled(settled, || match reserved {
            Some(reserved) => reserved.settle(sequence, posts),
            None => self.limits.post(&key.customer, event.request_id, sequence, posts),
        });
    }

    /// When a settled record is to be written: other gateways count it by its number, which must
    /// stay its own should we die before its sync. A key that had no limit when the request came
    /// may have one by now.
    pub(crate) fn when_to_write(&self) -> Write {
        if self.limits.is_shared() { Write::Now } else { Write::Later }
    }

    /// What `event` costs at the prices of now, exact, as its row will say; absent where nothing of
    /// it was counted, or a price is missing.
    pub(crate) fn cost(&self, event: &UsageEvent, key: &KeyPolicy) -> Option<Money> {
        let known = self.knowledge.current().filter(|_| event.source != Source::Missing)?;
        rate(event, &known.prices, key.currency).ok()?.cost
    }

    /// What may be spent behind the settled record `sequence`, that of `request`: what is left of
    /// the limit of money that has least left among those that it meets, less than nothing where it
    /// went beyond. What open requests hold is not spent. Absent where nothing limits its money,
    /// and where that is not known.
    pub(crate) async fn left(&self, request: &InSession, sequence: u64) -> Option<Money> {
        let head = &request.targeted.classified.routed;
        let known = self.knowledge.current();
        let now = known.as_deref().and_then(|known| known.policy(&head.key.hash)).cloned();
        let key = now.unwrap_or_else(|| Arc::clone(&head.key));
        let subject = Subject { key: &key, session: &request.session, at: head.at };
        let limits = key.limits.iter().filter(|limit| limit.measure.is_money());
        if limits.clone().next().is_none() || !self.told_up_to(sequence).await {
            return None;
        }
        let mut least: Option<i128> = None;
        for limit in limits {
            let (kind, counter) = (kind(limit.measure), subject.counter(limit));
            let is = self.limits.read(&key.customer, kind, &counter).await?;
            let left = i128::from(limit.max).saturating_sub(is.used.into());
            least = Some(least.map_or(left, |least| least.min(left)));
        }
        let nano = i64::try_from(least?).ok()?;
        Some(Money::new(from_nano(nano), key.currency))
    }

    /// Reads what this node settled before it was started and billing may not have, once there are
    /// prices to rate it.
    async fn read_journal(&self, clock: &dyn Clock, stop: &CancellationToken) {
        let mut versions = self.knowledge.versions();
        while self.knowledge.current().is_none() {
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
        loop {
            let earlier = Earlier {
                journal: self.journal.clone(),
                known: self.knowledge.current(),
                unbooked: Arc::clone(&self.unbooked),
                limits: self.limits.is_shared().then(|| Arc::clone(&self.limits)),
                now: clock.now(),
            };
            let read = tokio::task::spawn_blocking(move || earlier.read()).await;
            match read.map_err(LoadError::from).and_then(|read| read.map_err(LoadError::from)) {
                Ok(()) => return self.unbooked.is_read(),
                Err(error) => tracing::error!(
                    error = %chain(&*error),
                    "the journal cannot be read: requests of limited money are refused"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(READ_AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// What this node settled before it was started.
struct Earlier {
    journal: Journal,
    known: Option<Arc<Known>>,
    unbooked: Arc<Unbooked>,
    /// The books that others share, which may not have been told.
    limits: Option<Arc<Limits>>,
    now: DateTime<Utc>,
}

impl Earlier {
    fn read(&self) -> Result<(), JournalError> {
        let Some(known) = &self.known else { return Ok(()) };
        self.journal.uncommitted(|written| {
            // An event that does not read is none that costs anything; billing quarantines it.
            let Ok(event) = UsageEvent::from_payload(&written.payload) else { return };
            let Some(key) = known.key_of(&event.key) else { return };
            let nano = cost_nano(&event, &known.prices, key.currency);
            let sequence = written.sequence;
            let kept_cost = known.limits_money_of(&event.customer).then_some(nano);
            self.unbooked.found(Settled { sequence, event: &event, kept_cost });
            // What was open when it died holds nothing any more, and has cost what its record says.
            if let Some(limits) = &self.limits {
                let mut posts = posts(&event, key, nano);
                if self.now - event.at > RATES_TIME {
                    posts.retain(|post| post.kind == Kind::Money);
                }
                limits.post(&event.customer, event.request_id, written.sequence, posts);
            }
        })?;
        Ok(())
    }
}

/// Whether a request of `key` that holds `reserved` meets limits.
fn is_limited(key: &KeyPolicy, reserved: Option<&Reserved>) -> bool {
    !key.limits.is_empty() || key.rpm.is_some() || reserved.is_some()
}

/// What `event`, which costs `nano`, adds to the counters of `key`.
fn posts(event: &UsageEvent, key: &KeyPolicy, nano: u64) -> Vec<Post> {
    let subject = Subject::of_event(key, event);
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
