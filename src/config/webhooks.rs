//! `[webhooks]`: how endpoints are told of changes.

use permille_service::{RETRIES_MAX, Schedule, WebhookSettings};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Longest wait before a retry, in seconds: a week.
const RETRY_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// `[webhooks]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhooksSection {
    /// Whether endpoints may be private, local or without TLS.
    pub(crate) allow_private: bool,
    /// Seconds before each retry of an event; after the last it is given up.
    pub(crate) retry_seconds: Vec<u32>,
}

impl Default for WebhooksSection {
    fn default() -> Self {
        Self { allow_private: false, retry_seconds: Schedule::default().seconds().to_vec() }
    }
}

impl WebhooksSection {
    /// What the types alone cannot say.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let count = self.retry_seconds.len();
        if count > RETRIES_MAX {
            let problem = format!("has {count} entries, accepted: at most {RETRIES_MAX}");
            return Err(ConfigError::value("webhooks.retry_seconds", problem));
        }
        for (place, seconds) in self.retry_seconds.iter().enumerate() {
            if !(1..=RETRY_SECONDS_MAX).contains(seconds) {
                let problem = format!("is {seconds}, accepted: 1 to {RETRY_SECONDS_MAX}");
                return Err(ConfigError::value(
                    format!("webhooks.retry_seconds[{place}]"),
                    problem,
                ));
            }
        }
        Ok(())
    }

    /// The same as the service knows it.
    pub(crate) fn settings(&self) -> WebhookSettings {
        WebhookSettings {
            allow_private: self.allow_private,
            schedule: Schedule::of_seconds(self.retry_seconds.clone()),
        }
    }
}
