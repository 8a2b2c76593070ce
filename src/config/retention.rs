//! How long rows of usage are kept, and how long it is known that they were there.

use super::{ConfigError, sections::StoreSection};

/// Fewest days of usage: the longest month, and the day on which it ends elsewhere.
const USAGE_DAYS_MIN: u32 = 33;
/// Most days of either: a century.
const DAYS_MAX: u32 = 36_500;
/// Days for which a request that comes again is known, unless they are given: a year and a month,
/// longer than a gateway's disk lies about before somebody ships its journal.
const REPLAY_DAYS_DEFAULT: u32 = 400;

/// How long usage is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Days for which rows are kept; for ever, if absent.
    pub(crate) usage_days: Option<u32>,
    /// Days for which keys of dropped rows are kept.
    pub(crate) replay_days: u32,
}

impl StoreSection {
    /// How long usage is kept.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(crate) fn retention(&self) -> Result<Retention, ConfigError> {
        let within = |key, given: u32, least: u32| {
            if (least..=DAYS_MAX).contains(&given) {
                return Ok(given);
            }
            let problem = format!("is {given}, accepted: {least} to {DAYS_MAX}");
            Err(ConfigError::value(key, problem))
        };
        let usage_days = self
            .usage_days
            .map(|days| within("store.usage_days", days, USAGE_DAYS_MIN))
            .transpose()?;
        let least = usage_days.unwrap_or(USAGE_DAYS_MIN);
        let replay_days = match self.replay_days {
            Some(days) => within("store.replay_days", days, least)?,
            None => REPLAY_DAYS_DEFAULT.max(least),
        };
        Ok(Retention { usage_days, replay_days })
    }
}
