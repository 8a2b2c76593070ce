//! `[usage_stream]`: usage on its way from gateways to billing through Redis.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{ConfigError, redis::RedisUrl, sections::Settings};

/// Most batches that the stream may be allowed to hold: 100 GiB at 1 MiB each.
const BATCHES_MAX: u32 = 100_000;
/// Shortest time before an entry is taken over: enough for a store that is never slow.
const RECLAIM_SECONDS_MIN: u32 = 1;
/// Longest.
const RECLAIM_SECONDS_MAX: u32 = 3_600;

/// `[usage_stream]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UsageStreamSection {
    /// Whether gateways hand usage over through it, and billing reads it.
    pub(crate) enabled: bool,
    /// Where its Redis listens; absent, it is that of `[redis]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<RedisUrl>,
    /// Batches of at most 1 MiB that it may hold; beyond it usage waits in the journals.
    pub(crate) batches_max: u32,
    /// Seconds that a batch may be in the hands of a billing process before another one takes it.
    pub(crate) reclaim_seconds: u32,
}

impl Default for UsageStreamSection {
    fn default() -> Self {
        Self { enabled: false, url: None, batches_max: 256, reclaim_seconds: 60 }
    }
}

impl UsageStreamSection {
    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        if let Some(url) = &self.url {
            url.check().map_err(|problem| ConfigError::value("usage_stream.url", problem))?;
        } else if self.enabled && settings.redis.is_none() {
            let problem = "needs a Redis, give redis.url or usage_stream.url";
            return Err(ConfigError::value("usage_stream.enabled", problem));
        }
        for (key, value, from, to) in [
            ("usage_stream.batches_max", self.batches_max, 1, BATCHES_MAX),
            (
                "usage_stream.reclaim_seconds",
                self.reclaim_seconds,
                RECLAIM_SECONDS_MIN,
                RECLAIM_SECONDS_MAX,
            ),
        ] {
            if !(from..=to).contains(&value) {
                let problem = format!("is {value}, accepted: {from} to {to}");
                return Err(ConfigError::value(key, problem));
            }
        }
        Ok(())
    }
}

impl Settings {
    /// Where the Redis of the usage stream listens, when usage goes through it.
    pub(crate) fn usage_stream_url(&self) -> Option<SecretString> {
        let section = &self.usage_stream;
        let of_redis = || self.redis.as_ref().map(|redis| &redis.url);
        let url = section.url.as_ref().or_else(of_redis).filter(|_| section.enabled)?;
        Some(url.secret())
    }

    /// How long a batch may be in the hands of a billing process.
    pub(crate) fn usage_stream_reclaim(&self) -> Duration {
        Duration::from_secs(self.usage_stream.reclaim_seconds.into())
    }
}
