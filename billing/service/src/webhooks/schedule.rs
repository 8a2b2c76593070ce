//! When a failed attempt is made again, and when its endpoint is left alone.

use chrono::TimeDelta;
use permille_ledger::DueDelivery;

use super::FAILURES_MAX;

/// Most retries of one event that can be configured.
pub const RETRIES_MAX: usize = 32;
/// Seconds before each retry: ten attempts over three days.
///
/// Source: Standard Webhooks, "Deliverability and reliability".
const RETRY_SECONDS: [u32; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// First and longest pause of an endpoint, in milliseconds.
const PAUSE_MS: (i64, i64) = (30_000, 3_600_000);
/// A wait is so many hundredths of its nominal length, at least and at most: endpoints that failed
/// together are not tried together.
const JITTER: std::ops::RangeInclusive<i64> = 80..=120;

/// Waits between the attempts of one event, in seconds; after the last it is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<u32>);

impl Default for Schedule {
    fn default() -> Self {
        Self(RETRY_SECONDS.to_vec())
    }
}

impl Schedule {
    /// Waits of these seconds, at most [`RETRIES_MAX`] of them.
    #[must_use]
    pub fn of_seconds(mut seconds: Vec<u32>) -> Self {
        seconds.truncate(RETRIES_MAX);
        Self(seconds)
    }

    /// The waits in seconds.
    #[must_use]
    pub fn seconds(&self) -> &[u32] {
        &self.0
    }

    /// How long to wait after the attempt of `due` failed; nothing, if it was the last.
    pub(super) fn wait(&self, due: &DueDelivery) -> Option<TimeDelta> {
        let seconds = self.0.get(usize::try_from(due.attempts).ok()?)?;
        Some(jittered(i64::from(*seconds).saturating_mul(1_000)))
    }
}

/// How long an endpoint is left alone that fails once more after `failures` others.
pub(super) fn pause(failures: u32) -> Option<TimeDelta> {
    let beyond = failures.saturating_add(1).checked_sub(FAILURES_MAX)?;
    let (first, longest) = PAUSE_MS;
    let doubled = 1_i64.checked_shl(beyond).unwrap_or(i64::MAX).max(1);
    Some(jittered(first.saturating_mul(doubled).min(longest)))
}

fn jittered(ms: i64) -> TimeDelta {
    TimeDelta::milliseconds(ms.saturating_mul(fastrand::i64(JITTER)) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_paused_longer_and_longer_but_never_for_more_than_an_hour() {
        assert!((0..FAILURES_MAX - 1).all(|failures| pause(failures).is_none()));
        for (failures, nominal) in [(4, 30_000), (5, 60_000), (10, 1_920_000), (11, 3_600_000)] {
            let paused = pause(failures).unwrap().num_milliseconds();
            assert!(
                (nominal * 8 / 10..=nominal * 12 / 10).contains(&paused),
                "{failures}: {paused}"
            );
        }
        assert!(pause(u32::MAX).unwrap() <= TimeDelta::milliseconds(4_320_000));
    }

    #[test]
    fn the_retries_reach_over_three_days() {
        let seconds: u32 = Schedule::default().seconds().iter().sum();

        assert_eq!(Schedule::default().seconds().len(), 9);
        assert!(seconds > 3 * 86_400 && seconds < 4 * 86_400, "{seconds}");
    }
}
