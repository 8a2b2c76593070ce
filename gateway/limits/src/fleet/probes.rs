//! When a gateway probes a Redis that is away: one probe after the other, each after a random
//! pause, so that the gateways of a fleet, which have lost it in one instant, do not come back in
//! one.

use std::time::Duration;

/// First and longest pause between two probes; each is a random part of it, half at least.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Probes until one says that Redis is back. The next begins when the last has ended.
pub(super) async fn until<F: Future<Output = bool>>(
    mut random: fastrand::Rng,
    mut is_back: impl FnMut() -> F,
) {
    let mut pause = PAUSE_MIN;
    loop {
        tokio::time::sleep(pause.mul_f64(random.f64().mul_add(0.5, 0.5))).await;
        if is_back().await {
            return;
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    const GATEWAYS: u64 = 500;

    /// When each of the gateways that lost Redis now has reached it, if it is there after `away`.
    async fn returns(away: Duration) -> Vec<Duration> {
        let lost = Instant::now();
        let all = (0..GATEWAYS).map(|seed| {
            tokio::spawn(async move {
                let random = fastrand::Rng::with_seed(seed);
                until(random, || std::future::ready(lost.elapsed() >= away)).await;
                lost.elapsed().checked_sub(away).unwrap()
            })
        });
        let mut returns: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
        returns.sort();
        returns
    }

    /// The most of `sorted` that lie within `span` of each other.
    fn most_within(sorted: &[Duration], span: Duration) -> usize {
        let near = |(place, from): (usize, &Duration)| {
            sorted.iter().skip(place).take_while(|at| **at <= *from + span).count()
        };
        sorted.iter().enumerate().map(near).max().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_that_lost_redis_in_one_instant_come_back_at_different_ones() {
        for (away_ms, spread_ms) in [(0, 100), (1_000, 1_000), (20_000, 4_000), (300_000, 4_000)] {
            let returns = returns(Duration::from_millis(away_ms)).await;

            let (first, last) = (returns[0], returns[returns.len() - 1]);
            let spread = Duration::from_millis(spread_ms);
            assert!(last <= PAUSE_MAX, "after {away_ms} ms: the last is back {last:?} later");
            assert!(last.checked_sub(first) >= Some(spread * 8 / 10), "{first:?} to {last:?}");
            let most = most_within(&returns, spread / 10);
            assert!(most <= returns.len() * 2 / 5, "after {away_ms} ms: {most} within a tenth");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_takes_long_is_the_only_one_of_its_gateway() {
        let (under_way, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let probe = async || {
            assert_eq!(under_way.fetch_add(1, Ordering::Relaxed), 0);
            tokio::time::sleep(PAUSE_MAX * 10).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            done.fetch_add(1, Ordering::Relaxed) == 4
        };

        until(fastrand::Rng::with_seed(1), probe).await;

        assert_eq!(done.load(Ordering::Relaxed), 5);
    }
}
