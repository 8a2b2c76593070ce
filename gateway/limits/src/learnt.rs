//! How many output tokens the replies to a key have: what is reserved where a client sets no limit.

use moka::sync::Cache;
use parking_lot::Mutex;
use permille_types::KeyId;
use std::sync::Arc;

/// Keys whose replies are remembered, in 20 MiB at most.
const KEYS_MAX: u64 = 100_000;
/// Powers of two, up to 2³¹ tokens.
const BUCKETS: usize = 32;
/// Counts are halved at so many replies, so that the last thousand weigh most.
const REPLIES_MAX: u32 = 2_000;
/// Fewer replies say nothing of their hundredth part.
const REPLIES_MIN: u32 = 20;
/// Least that is reserved.
const LEAST: u64 = 256;
/// What is reserved before anything is learnt.
const UNLEARNT: u64 = 1_024;

/// See the module's text.
#[derive(Debug)]
pub struct OutputLengths {
    keys: Cache<KeyId, Arc<Mutex<[u32; BUCKETS]>>>,
}

impl Default for OutputLengths {
    fn default() -> Self {
        Self { keys: Cache::new(KEYS_MAX) }
    }
}

impl OutputLengths {
    /// Takes note of a reply of `tokens`.
    pub fn learn(&self, key: &KeyId, tokens: u64) {
        let counts = self.keys.get_with_by_ref(key, Arc::default);
        let mut counts = counts.lock();
        let place = usize::try_from(u64::BITS - tokens.leading_zeros()).unwrap_or_default();
        if let Some(count) = counts.get_mut(place.min(BUCKETS - 1)) {
            *count += 1;
        }
        if counts.iter().sum::<u32>() >= REPLIES_MAX {
            for count in counts.iter_mut() {
                *count /= 2;
            }
        }
    }

    /// An upper bound of the output of 99 of 100 replies to `key`, at least 256; a guess where too
    /// few are known.
    #[must_use]
    pub fn expected(&self, key: &KeyId) -> u64 {
        let Some(counts) = self.keys.get(key) else { return UNLEARNT };
        let counts = counts.lock();
        let all: u32 = counts.iter().sum();
        if all < REPLIES_MIN {
            return UNLEARNT;
        }
        let mut within = 0;
        for (place, count) in counts.iter().enumerate() {
            within += count;
            if u64::from(within) * 100 >= u64::from(all) * 99 {
                return LEAST.max(1 << place);
            }
        }
        LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_follows_all_but_one_of_a_hundred_replies() {
        let lengths = OutputLengths::default();
        let key: KeyId = "key_1".parse().unwrap();
        assert_eq!(lengths.expected(&key), UNLEARNT);

        for n in 0..200 {
            lengths.learn(&key, if n % 200 == 0 { 100_000 } else { 900 });
        }

        assert_eq!(lengths.expected(&key), 1_024);
        for _ in 0..20 {
            lengths.learn(&key, 5_000);
        }
        assert_eq!(lengths.expected(&key), 8_192);
        assert_eq!(lengths.expected(&"key_2".parse().unwrap()), UNLEARNT);
    }

    #[test]
    fn short_replies_reserve_the_least_and_old_ones_fade() {
        let lengths = OutputLengths::default();
        let key: KeyId = "key_1".parse().unwrap();
        for _ in 0..100 {
            lengths.learn(&key, 3_000);
        }
        for _ in 0..20_000 {
            lengths.learn(&key, 3);
        }

        assert_eq!(lengths.expected(&key), LEAST);
    }
}
