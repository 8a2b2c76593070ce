//! How many calls may be made beside those that requests need: a part of what came of late.

use std::time::Instant;

use parking_lot::Mutex;

/// For so long requests and retries count; kept second by second.
const WINDOW_SECONDS: u64 = 10;
const PARTS: usize = 10;

/// Bounds retries to a percentage of the requests of the last ten seconds, and to so many a second
/// in any case.
///
/// `tower`'s `TpsBudget` rounds to one retry in a whole number of requests, so that 60 % would be
/// 100 %, and its window passes in little more than half the time that it is given.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u64,
    /// Retries in a window whatever came.
    in_any_case: u64,
    start: Instant,
    parts: Mutex<[Part; PARTS]>,
}

/// What came in one second, counted from the start.
#[derive(Debug, Default, Clone, Copy)]
struct Part {
    second: u64,
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// `percent` of all requests, and `per_second` in any case, from `now` on.
    #[must_use]
    pub fn new(percent: u16, per_second: u16, now: Instant) -> Self {
        Self {
            percent: percent.into(),
            in_any_case: u64::from(per_second) * WINDOW_SECONDS,
            start: now,
            parts: Mutex::default(),
        }
    }

    /// A request has come.
    pub fn request(&self, now: Instant) {
        let second = self.second(now);
        count(&mut self.parts.lock(), second, |part| part.requests += 1);
    }

    /// Takes leave for one retry; false when the budget is used up.
    pub fn retry(&self, now: Instant) -> bool {
        let second = self.second(now);
        let mut parts = self.parts.lock();
        let recent =
            parts.iter().filter(|part| second.saturating_sub(part.second) < WINDOW_SECONDS);
        let (requests, retries) = recent.fold((0, 0), |(requests, retries), part| {
            (requests + part.requests, retries + part.retries)
        });
        let within = (retries + 1) * 100 <= requests * self.percent + self.in_any_case * 100;
        if within {
            count(&mut parts, second, |part| part.retries += 1);
        }
        within
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

/// Counts in the part of `second`, which takes the place of the one that has left the window.
fn count(parts: &mut [Part; PARTS], second: u64, add: impl FnOnce(&mut Part)) {
    let place = usize::try_from(second % WINDOW_SECONDS).unwrap_or_default();
    let Some(part) = parts.get_mut(place) else { return };
    if part.second != second {
        *part = Part { second, ..Part::default() };
    }
    add(part);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many of `tries` are within the budget.
    fn retries(budget: &RetryBudget, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| budget.retry(now)).count()
    }

    #[test]
    fn every_percentage_is_exact() {
        let now = Instant::now();
        for percent in 0..=100 {
            let budget = RetryBudget::new(percent, 0, now);
            for _ in 0..1_000 {
                budget.request(now);
            }

            assert_eq!(retries(&budget, 2_000, now), usize::from(percent) * 10, "{percent} %");
        }
    }

    #[test]
    fn so_many_a_second_are_allowed_in_any_case_and_no_more_over_time() {
        let start = Instant::now();
        let budget = RetryBudget::new(20, 10, start);

        // Tried without a pause, at no whole second.
        let tries = (0..100_000).map(|place| start + Duration::from_micros(1_003 * place));
        let made = tries.filter(|now| budget.retry(*now)).count();

        assert!((1_000..=1_100).contains(&made), "{made} in 100 s");
    }

    #[test]
    fn what_came_more_than_ten_seconds_ago_counts_no_more() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let budget = RetryBudget::new(50, 0, start);
        for _ in 0..100 {
            budget.request(start);
        }

        assert_eq!(retries(&budget, 10, after(9)), 10);
        assert_eq!(retries(&budget, 10, after(10)), 0, "the requests have left the window");
        budget.request(after(60));
        assert_eq!(retries(&budget, 1, after(61)), 0, "half a retry");
        budget.request(after(61));
        assert_eq!(retries(&budget, 2, after(62)), 1);
        assert_eq!(retries(&budget, 2, after(500)), 0);
    }
}
