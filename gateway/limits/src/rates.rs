//! Requests per minute and key.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use parking_lot::Mutex;
use permille_types::KeyId;

/// A key has used up its requests per minute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key `{key}` may make {rpm} requests per minute")]
pub struct RateExceeded {
    /// Which key.
    pub key: KeyId,
    /// Its limit.
    pub rpm: u32,
    /// When the next request will be let in.
    pub retry_after: Duration,
}

/// Requests per minute of every key that has a limit: a full minute's worth may come at once,
/// then one each 60/n seconds. Holds one entry per limited key, so its size is bounded by the
/// number of keys.
#[derive(Debug, Default)]
pub struct RequestRates {
    keys: Mutex<HashMap<KeyId, (u32, Arc<DefaultDirectRateLimiter>)>>,
    clock: DefaultClock,
}

impl RequestRates {
    /// Counts one request of `key` against `rpm`.
    ///
    /// # Errors
    /// [`RateExceeded`] when the limit is used up; the request then does not count.
    pub fn check(&self, key: &KeyId, rpm: u32) -> Result<(), RateExceeded> {
        let exceeded = |retry_after| RateExceeded { key: key.clone(), rpm, retry_after };
        let Some(limit) = NonZeroU32::new(rpm) else {
            return Err(exceeded(Duration::from_mins(1)));
        };
        let limiter = self.limiter(key, limit);
        limiter.check().map_err(|early| exceeded(early.wait_time_from(self.clock.now())))
    }

    fn limiter(&self, key: &KeyId, limit: NonZeroU32) -> Arc<DefaultDirectRateLimiter> {
        let fresh = || (limit.get(), Arc::new(RateLimiter::direct(Quota::per_minute(limit))));
        let mut keys = self.keys.lock();
        let entry = keys.entry(key.clone()).or_insert_with(fresh);
        if entry.0 != limit.get() {
            *entry = fresh();
        }
        Arc::clone(&entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_after_the_limit_is_refused_and_says_when_to_come_back() {
        let rates = RequestRates::default();
        let key: KeyId = "key_1".parse().unwrap();

        for _ in 0..3 {
            rates.check(&key, 3).unwrap();
        }
        let refused = rates.check(&key, 3).unwrap_err();

        assert!(refused.retry_after <= Duration::from_secs(20), "{:?}", refused.retry_after);
        assert!(rates.check(&"key_2".parse().unwrap(), 3).is_ok());
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_in() {
        assert!(RequestRates::default().check(&"key".parse().unwrap(), 0).is_err());
    }
}
