//! The upstream calls of one request, while they are made. Shared by the layer that makes them and
//! the record that settles them, because a client may leave between two calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, StatusCode};
use parking_lot::Mutex;
use permille_types::{Attempt, Ended, ModelName, TokenCounts};
use permille_usage::Reading;
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::{context::Candidate, upstream::Upstream};

/// Headers in which providers name a request, in order of preference.
static PROVIDER_REQUEST_ID: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-tc-requestid"),
];
/// Longest provider id that is kept, in characters: what a tap takes over, for a stored response is
/// found by it, and proxies make ids of over 200.
const PROVIDER_ID_MAX: usize = 256;

/// See the module's text.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Of most requests, one.
    calls: Mutex<SmallVec<[Call; 1]>>,
    /// Nobody waits for an answer any more: no further call is made.
    enough: AtomicBool,
    /// Tells of it.
    stopped: Notify,
}

struct Call {
    attempt: Attempt,
    /// Whether the request itself was sent, not only a credential for it asked for.
    sent: bool,
    /// Whether its outcome is known.
    ended: bool,
    upstream: Arc<Upstream>,
    started: Instant,
}

impl Call {
    /// Whether it was answered with an error.
    fn failed(&self) -> bool {
        self.attempt.status.is_some_and(|status| status >= 400)
    }

    fn take(&mut self) -> Attempt {
        let told = &mut self.attempt;
        Attempt {
            upstream: told.upstream.clone(),
            model: told.model.clone(),
            status: told.status,
            provider_id: told.provider_id.take(),
            provider_request_id: told.provider_request_id.take(),
            ended: told.ended,
            tokens: std::mem::take(&mut told.tokens),
        }
    }
}

impl Candidate {
    /// The call of this candidate as it stands before anything is known of it.
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt {
            upstream: self.upstream.name.clone(),
            model: self.model.clone(),
            status: None,
            provider_id: None,
            provider_request_id: None,
            ended: Ended::Orphaned,
            tokens: TokenCounts::new(),
        }
    }
}

impl Attempts {
    /// `candidate` is called now.
    pub(crate) fn begin(&self, candidate: &Candidate) {
        self.0.calls.lock().push(Call {
            attempt: candidate.attempt(),
            sent: false,
            ended: false,
            upstream: Arc::clone(&candidate.upstream),
            started: Instant::now(),
        });
    }

    /// The request of the call made last is sent now.
    pub(crate) fn sent(&self) {
        self.last(|call| call.sent = true);
    }

    /// How often `candidate` was called.
    pub(crate) fn of(&self, candidate: &Candidate) -> usize {
        let same = |call: &&Call| {
            call.attempt.upstream == candidate.upstream.name
                && call.attempt.model == candidate.model
        };
        self.0.calls.lock().iter().filter(same).count()
    }

    /// How many calls were made.
    pub(crate) fn made(&self) -> usize {
        self.0.calls.lock().len()
    }

    /// The upstream that is at work and of which nothing has been heard yet.
    pub(crate) fn in_flight(&self) -> Option<Arc<Upstream>> {
        let calls = self.0.calls.lock();
        let unheard = |call: &&Call| call.sent && !call.ended && call.attempt.status.is_none();
        let last = calls.last().filter(unheard);
        last.map(|call| Arc::clone(&call.upstream))
    }

    /// The upstream called last answered with this head.
    pub(crate) fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        self.last(|call| {
            call.attempt.status = Some(status.as_u16());
            // In one pass: each look for a name alone hashes it.
            let ids = headers.iter().filter_map(|(name, id)| {
                let place = PROVIDER_REQUEST_ID.iter().position(|known| known == name)?;
                Some((place, id))
            });
            let (_, id) = ids.min_by_key(|(place, _)| *place).unzip();
            call.attempt.provider_request_id = id.and_then(|id| id.to_str().ok()).map(bounded);
        });
    }

    /// The first byte of the reply's body is here.
    pub(crate) fn first_byte(&self, now: Instant) {
        self.last(|call| {
            // An upstream that is quick to refuse is not a quick one.
            if call.failed() {
                return;
            }
            let latency: Duration = now.saturating_duration_since(call.started);
            call.upstream.health.replied_after(now, latency);
        });
    }

    /// The last call ended so, with `tokens` for the provider's account. The first word stands.
    pub(crate) fn end(&self, ended: Ended, reading: Option<&Reading>, tokens: &TokenCounts) {
        self.last(|call| {
            if call.ended {
                return;
            }
            call.ended = true;
            // Some providers refuse with a status of success, quickly.
            let succeeded = call.attempt.status.is_some() && !call.failed();
            if succeeded && ended == Ended::UpstreamError {
                call.upstream.health.failed(Instant::now());
            }
            // An error stays one, whatever became of the request while it was waited out.
            call.attempt.ended = if call.failed() { Ended::UpstreamError } else { ended };
            call.attempt.tokens.clone_from(tokens);
            call.attempt.provider_id =
                reading.and_then(|reading| reading.provider_id.as_deref()).map(bounded);
        });
    }

    /// What `look` makes of the upstream called last; `None` before the first call.
    pub(crate) fn of_upstream<T>(&self, look: impl FnOnce(&Upstream) -> T) -> Option<T> {
        self.0.calls.lock().last().map(|call| look(&call.upstream))
    }

    /// The model that the upstream called last was asked for, where it is not the client's word.
    pub(crate) fn model(&self) -> Option<ModelName> {
        self.0.calls.lock().last().and_then(|call| call.attempt.model.clone())
    }

    /// Puts every call, in order, in the place of those that the one record has in which they
    /// stand: ids and counts are not kept.
    pub(crate) fn take_to(&self, record: &mut Vec<Attempt>) {
        record.clear();
        record.extend(self.0.calls.lock().iter_mut().map(Call::take));
    }

    /// No further call is to be made.
    pub(crate) fn stop(&self) {
        self.0.enough.store(true, Ordering::Release);
        self.0.stopped.notify_waiters();
    }

    /// Waits until no further call is to be made.
    pub(crate) async fn stopped(&self) {
        let stopped = self.0.stopped.notified();
        tokio::pin!(stopped);
        // Listens before it looks, so that nothing is missed in between.
        stopped.as_mut().enable();
        if !self.are_stopped() {
            stopped.await;
        }
    }

    pub(crate) fn are_stopped(&self) -> bool {
        self.0.enough.load(Ordering::Acquire)
    }

    fn last(&self, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.0.calls.lock().last_mut() {
            change(call);
        }
    }
}

fn bounded(id: &str) -> String {
    if id.len() <= PROVIDER_ID_MAX {
        return id.to_owned();
    }
    id.chars().take(PROVIDER_ID_MAX).collect()
}

/// What a provider itself says that a reply consumed, by class; nothing of it is estimated.
pub(crate) fn reported(reading: &Reading) -> TokenCounts {
    let usage = reading.usage.iter();
    usage.flat_map(|usage| usage.input.iter().chain(&usage.output)).map(cloned).collect()
}

fn cloned<K: Clone, V: Copy>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), *value)
}
