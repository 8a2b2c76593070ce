//! In which order the upstreams of a model are called: by priority, and inside a priority by
//! weight or by latency. Who is unwell is found out when the call is made.

use std::time::Instant;

use fastrand::Rng;

use crate::{config::Choose, context::Candidate};

/// Puts `candidates` into the order in which they are called.
pub(crate) fn order(candidates: &mut [Candidate], choose: Choose, chance: &mut Rng) {
    candidates.sort_by_key(|candidate| candidate.upstream.priority);
    let groups =
        candidates.chunk_by_mut(|left, right| left.upstream.priority == right.upstream.priority);
    for group in groups {
        // By chance first, for those whose latency is equal.
        shuffle(group, chance);
        if choose == Choose::LeastLatency {
            let now = Instant::now();
            group.sort_by_cached_key(|candidate| candidate.upstream.health.latency(now));
        }
    }
}

/// Draws one place after the other, each candidate in proportion to its weight.
fn shuffle(mut group: &mut [Candidate], chance: &mut Rng) {
    while group.len() > 1 {
        let weights = group.iter().map(|candidate| u64::from(candidate.upstream.weight));
        // At least one: a weight of zero is refused by the configuration.
        let mut drawn = chance.u64(0..weights.clone().sum::<u64>().max(1));
        let place = weights.into_iter().position(|weight| match drawn.checked_sub(weight) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        });
        group.swap(0, place.unwrap_or_default());
        let Some((_, rest)) = group.split_first_mut() else { return };
        group = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::upstream::{
        Upstream,
        tests::{BREAKER, config},
    };

    /// Candidates of (priority, weight), named by their place.
    fn candidates(of: &[(u32, u32)]) -> Vec<Candidate> {
        let candidate = |(place, (priority, weight)): (usize, &(u32, u32))| {
            let mut config = config("http://127.0.0.1:9");
            config.section.name = place.to_string().parse().unwrap();
            config.section.priority = *priority;
            config.section.weight = *weight;
            Candidate { upstream: Upstream::new(&config, BREAKER).unwrap(), model: None }
        };
        of.iter().enumerate().map(candidate).collect()
    }

    fn names(candidates: &[Candidate]) -> String {
        candidates.iter().map(|candidate| candidate.upstream.name.as_str()).collect()
    }

    #[test]
    fn upstreams_share_calls_by_weight_and_a_lower_priority_always_comes_first() {
        let mut candidates = candidates(&[(1, 1), (0, 3), (0, 1)]);
        let (mut chance, mut first) = (Rng::with_seed(7), [0_u32; 3]);

        for _ in 0..4_000 {
            order(&mut candidates, Choose::Weighted, &mut chance);
            let names = names(&candidates);
            assert!(names.ends_with('0'), "{names}");
            first[names[..1].parse::<usize>().unwrap()] += 1;
        }

        assert_eq!(first[0], 0);
        assert!((2_900..3_100).contains(&first[1]), "{first:?}");
    }

    #[test]
    fn the_quickest_is_first_and_an_unknown_one_before_it() {
        let mut candidates = candidates(&[(0, 1), (0, 1), (0, 1)]);
        for (candidate, latency) in candidates.iter().zip([300, 100]) {
            let health = &Arc::clone(&candidate.upstream).health;
            health.replied_after(Instant::now(), Duration::from_millis(latency));
        }

        order(&mut candidates, Choose::LeastLatency, &mut Rng::with_seed(1));

        assert_eq!(names(&candidates), "210");
    }
}
