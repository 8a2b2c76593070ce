//! How an upstream has been doing: whether it is to be called, and how soon its replies begin.
//!
//! Three things, each in a few words: a **circuit** that opens after failures in a row and lets
//! one request through at a time until one succeeds; a **rest** that the upstream asked for
//! (`retry-after`) or that follows a failure; a **latency**, smoothed, that fades when it is old.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Longest rest, whatever the upstream asks for: a mistaken header must not switch it off.
const REST_MAX: Duration = Duration::from_mins(1);
/// A latency counts half after so long without a new one, so that a slow upstream is tried again.
const LATENCY_HALF_LIFE: Duration = Duration::from_secs(10);

/// What a failure counts as where the quickest upstream is preferred: one that is quick to refuse
/// must not draw all requests to itself.
const FAILED_LATENCY: Duration = Duration::from_secs(5);

/// When a circuit opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Breaker {
    /// Failures in a row that open it; 0: never.
    pub(crate) failures: u32,
    pub(crate) open_for: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Health {
    breaker: Breaker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    rest_until: Option<Instant>,
    latency: Option<(Duration, Instant)>,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One request is trying it.
    Probed,
}

impl Health {
    pub(crate) fn new(breaker: Breaker) -> Arc<Self> {
        let circuit = Circuit::Closed { failures: 0 };
        let state = State { circuit, rest_until: None, latency: None };
        Arc::new(Self { breaker, state: Mutex::new(state) })
    }

    /// Leave to make one call now; `None` while the circuit is open.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Option<Permit> {
        let mut state = self.state.lock();
        let probe = match state.circuit {
            Circuit::Closed { .. } => false,
            Circuit::Open { until } if now >= until => true,
            Circuit::Open { .. } | Circuit::Probed => return None,
        };
        if probe {
            state.circuit = Circuit::Probed;
        }
        Some(Permit { health: Arc::clone(self), probe, told: false })
    }

    /// How long until its circuit lets a request through, or zero.
    pub(crate) fn opens_in(&self, now: Instant) -> Duration {
        match self.state.lock().circuit {
            Circuit::Open { until } => until.saturating_duration_since(now),
            Circuit::Closed { .. } | Circuit::Probed => Duration::ZERO,
        }
    }

    /// It is to be left alone for so long.
    pub(crate) fn rest(&self, now: Instant, asked: Duration) {
        let until = now + asked.min(REST_MAX);
        let mut state = self.state.lock();
        state.rest_until = Some(state.rest_until.map_or(until, |before| before.max(until)));
    }

    /// How much of its rest is left, or zero.
    pub(crate) fn rests_for(&self, now: Instant) -> Duration {
        let until = self.state.lock().rest_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// A reply began after `latency`.
    pub(crate) fn replied_after(&self, now: Instant, latency: Duration) {
        let mut state = self.state.lock();
        let smoothed = match state.latency {
            None => latency,
            Some((before, _)) => (before * 7 + latency * 3) / 10,
        };
        state.latency = Some((smoothed, now));
    }

    /// A call gave no reply that is one.
    pub(crate) fn failed(&self, now: Instant) {
        self.replied_after(now, FAILED_LATENCY);
    }

    /// How soon its replies begin; zero while nothing is known, so that it is tried.
    pub(crate) fn latency(&self, now: Instant) -> Duration {
        let Some((latency, at)) = self.state.lock().latency else { return Duration::ZERO };
        let age = now.saturating_duration_since(at).as_secs() / LATENCY_HALF_LIFE.as_secs();
        let halvings = u32::try_from(age).unwrap_or(u32::MAX);
        latency.checked_div(2_u32.saturating_pow(halvings)).unwrap_or_default()
    }
}

/// Leave to make one call. Dropped without a word (the client has left), it says nothing of the
/// upstream, and the next request may try it.
#[derive(Debug)]
pub(crate) struct Permit {
    health: Arc<Health>,
    /// Whether it is the one that tries an open circuit.
    probe: bool,
    told: bool,
}

impl Permit {
    /// The upstream works.
    pub(crate) fn succeeded(mut self) {
        self.told = true;
        self.health.state.lock().circuit = Circuit::Closed { failures: 0 };
    }

    /// It does not. Tells whether that opened its circuit.
    pub(crate) fn failed(mut self, now: Instant) -> bool {
        self.told = true;
        let Breaker { failures: bound, open_for } = self.health.breaker;
        let mut state = self.health.state.lock();
        let failures = match state.circuit {
            Circuit::Closed { failures } => failures.saturating_add(1),
            Circuit::Probed if self.probe => bound,
            // Calls from before it opened say nothing new.
            Circuit::Probed | Circuit::Open { .. } => return false,
        };
        let opens = bound > 0 && failures >= bound;
        state.circuit = if opens {
            Circuit::Open { until: now + open_for }
        } else {
            Circuit::Closed { failures }
        };
        opens
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.told || !self.probe {
            return;
        }
        let mut state = self.health.state.lock();
        if let Circuit::Probed = state.circuit {
            state.circuit = Circuit::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn health(failures: u32) -> Arc<Health> {
        Health::new(Breaker { failures, open_for: OPEN_FOR })
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_one_request_tries_it_later() {
        let (health, start) = (health(2), Instant::now());
        let later = start + OPEN_FOR;

        assert!(!health.admit(start).unwrap().failed(start));
        health.admit(start).unwrap().succeeded();
        assert!(!health.admit(start).unwrap().failed(start), "a success starts the count anew");
        assert!(health.admit(start).unwrap().failed(start));

        assert!(health.admit(start).is_none());
        assert_eq!(health.opens_in(start), OPEN_FOR);
        let probe = health.admit(later).unwrap();
        assert!(health.admit(later).is_none(), "one at a time");
        assert!(probe.failed(later), "a failed try opens it again");
        assert!(health.admit(later).is_none());
        health.admit(later + OPEN_FOR).unwrap().succeeded();
        assert!(health.admit(later).is_some());
    }

    #[test]
    fn a_try_that_is_given_up_leaves_the_next_one_to_others() {
        let (health, start) = (health(1), Instant::now());
        assert!(health.admit(start).unwrap().failed(start));

        drop(health.admit(start + OPEN_FOR).unwrap());

        assert!(health.admit(Instant::now() + OPEN_FOR).is_some());
    }

    #[test]
    fn a_call_from_before_it_opened_does_not_end_the_try_of_another() {
        let (health, start) = (health(1), Instant::now());
        let [left, failed, first] = [(); 3].map(|()| health.admit(start).unwrap());
        assert!(first.failed(start));
        let later = start + OPEN_FOR;
        let probe = health.admit(later).unwrap();

        drop(left);
        assert!(health.admit(later).is_none(), "one at a time");
        assert!(!failed.failed(later), "it was open already");
        probe.succeeded();

        assert!(health.admit(later).is_some());
    }

    #[test]
    fn a_breaker_of_zero_failures_never_opens() {
        let (health, now) = (health(0), Instant::now());

        for _ in 0..100 {
            assert!(!health.admit(now).unwrap().failed(now));
        }
    }

    #[test]
    fn a_rest_is_bounded_and_a_shorter_one_does_not_cut_it() {
        let (health, now) = (health(1), Instant::now());

        health.rest(now, Duration::from_secs(5));
        health.rest(now, Duration::from_secs(1));
        assert_eq!(health.rests_for(now), Duration::from_secs(5));
        health.rest(now, Duration::from_hours(24));
        assert_eq!(health.rests_for(now), REST_MAX);
    }

    #[test]
    fn latency_follows_the_replies_and_fades() {
        let (health, now) = (health(1), Instant::now());
        let ms = Duration::from_millis;

        assert_eq!(health.latency(now), ms(0));
        health.replied_after(now, ms(100));
        health.replied_after(now, ms(200));
        assert_eq!(health.latency(now), ms(130));
        assert_eq!(health.latency(now + LATENCY_HALF_LIFE * 2), Duration::from_micros(32_500));
        assert_eq!(health.latency(now + Duration::from_hours(1)), ms(0));
    }
}
