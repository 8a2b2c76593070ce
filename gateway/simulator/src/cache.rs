//! The prompt cache: which prefixes the provider has seen, and what that makes of the next prompt.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{
    prompt::{Digest, Lifetime, Prompt},
    recent::Recent,
};

/// How a prompt splits into what was read from the cache, written to it, and neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheUse {
    /// Tokens read from the cache.
    pub(crate) read: u64,
    /// Tokens written for five minutes.
    pub(crate) write_5m: u64,
    /// Tokens written for one hour.
    pub(crate) write_1h: u64,
}

/// Remembered prefixes of all models and credentials.
#[derive(Debug)]
pub(crate) struct PromptCache {
    /// When each prefix is forgotten.
    prefixes: Mutex<Recent<Digest, Instant>>,
    minimum_tokens: u64,
}

/// Cached tokens are reported in steps of this many, where the cache works without marks. The real
/// step is 128; 64 goes with the smaller minimum.
const STEP_TOKENS: u64 = 64;

impl PromptCache {
    /// Prefixes remembered at most; 40 bytes each.
    const ENTRIES_MAX: usize = 131_072;
    /// How long a prefix is remembered without a mark.
    ///
    /// Source: OpenAI "Prompt caching": 5 to 10 minutes of inactivity.
    const UNMARKED: Duration = Duration::from_mins(10);

    pub(crate) fn new(minimum_tokens: u64) -> Self {
        Self { prefixes: Mutex::new(Recent::new(Self::ENTRIES_MAX)), minimum_tokens }
    }

    /// Models of this name never cache.
    pub(crate) fn serves(model: &str) -> bool {
        !model.to_ascii_uppercase().starts_with("ERNIE")
    }

    /// Caching without marks: reads the longest known prefix, in whole steps, and remembers every
    /// prefix of `prompt`.
    ///
    /// Source: OpenAI "Prompt caching".
    pub(crate) fn automatic(&self, prompt: &Prompt, now: Instant) -> CacheUse {
        let mut prefixes = self.prefixes.lock();
        let (mut before, mut known) = (0, 0);
        for segment in &prompt.segments {
            before += segment.tokens;
            if prefixes.get(segment.prefix).is_some_and(|until| until > now) {
                known = before;
            }
            prefixes.insert(segment.prefix, now + Self::UNMARKED);
        }
        let whole_steps = known - known % STEP_TOKENS;
        let read = if whole_steps >= self.minimum_tokens { whole_steps } else { 0 };
        CacheUse { read, ..CacheUse::default() }
    }

    /// Caching at marks: reads the longest prefix that an earlier prompt wrote, writes the rest up
    /// to the last mark, each part for the lifetime of the mark that ends it.
    ///
    /// Source: Anthropic "Prompt caching" (prefixes shorter than the minimum are not cached).
    pub(crate) fn marked(&self, prompt: &Prompt, now: Instant) -> CacheUse {
        let last_mark = prompt.segments.iter().rposition(|segment| segment.mark.is_some());
        let Some(last_mark) = last_mark else { return CacheUse::default() };
        let mut prefixes = self.prefixes.lock();
        let (mut at, mut used) = (0, CacheUse::default());
        let mut marks = Vec::new();
        for segment in prompt.segments.iter().take(last_mark + 1) {
            at += segment.tokens;
            if prefixes.get(segment.prefix).is_some_and(|until| until > now) {
                used.read = at;
            }
            marks.extend(segment.mark.map(|lifetime| (at, segment.prefix, lifetime)));
        }
        let mut written = used.read;
        for (at, prefix, lifetime) in marks {
            if at < self.minimum_tokens {
                continue;
            }
            let (counter, lives) = match lifetime {
                Lifetime::FiveMinutes => (&mut used.write_5m, Duration::from_mins(5)),
                Lifetime::OneHour => (&mut used.write_1h, Duration::from_hours(1)),
            };
            *counter += at.saturating_sub(written);
            written = written.max(at);
            prefixes.insert(prefix, now + lives);
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{CountMemo, Measure};

    /// A prompt of `(text number, tokens, mark)` segments.
    fn prompt(segments: &[(u32, u64, Option<Lifetime>)]) -> Prompt {
        let memo = CountMemo::new();
        let mut measure = Measure::new(&memo, ["key", "model"]);
        for (number, tokens, mark) in segments {
            measure.opaque(&(*number).into(), *tokens);
            measure.end_segment(*mark);
        }
        measure.finish(3)
    }

    const MARK: Option<Lifetime> = Some(Lifetime::FiveMinutes);
    const LONG: Option<Lifetime> = Some(Lifetime::OneHour);

    #[test]
    fn without_marks_the_longest_known_prefix_is_read_in_whole_steps() {
        let cache = PromptCache::new(256);
        let now = Instant::now();

        let first = cache.automatic(&prompt(&[(1, 200, None), (2, 130, None)]), now);
        let second = cache.automatic(&prompt(&[(1, 200, None), (2, 130, None), (3, 9, None)]), now);
        let other = cache.automatic(&prompt(&[(1, 200, None), (4, 500, None)]), now);

        assert_eq!(first.read, 0);
        assert_eq!(second.read, 320, "330 known, in steps of 64");
        assert_eq!(other.read, 0, "200 known tokens are below the minimum");
    }

    #[test]
    fn with_marks_the_first_prompt_writes_and_the_next_reads() {
        let cache = PromptCache::new(256);
        let now = Instant::now();

        let first = cache.marked(&prompt(&[(1, 300, LONG), (2, 50, MARK), (3, 7, None)]), now);
        let turn = [(1, 300, LONG), (2, 50, None), (3, 7, None), (4, 20, MARK), (5, 1, None)];
        let second = cache.marked(&prompt(&turn), now);

        assert_eq!(first, CacheUse { read: 0, write_5m: 50, write_1h: 300 });
        assert_eq!(second, CacheUse { read: 350, write_5m: 27, write_1h: 0 });
    }

    #[test]
    fn a_prefix_is_forgotten_after_its_lifetime() {
        let cache = PromptCache::new(256);
        let now = Instant::now();
        let marked = prompt(&[(1, 300, LONG), (2, 50, MARK)]);
        cache.marked(&marked, now);

        let later = cache.marked(&marked, now + Duration::from_secs(301));

        assert_eq!(later, CacheUse { read: 300, write_5m: 50, write_1h: 0 });
    }

    #[test]
    fn unmarked_and_short_prompts_are_not_cached() {
        let cache = PromptCache::new(256);
        let now = Instant::now();

        for prompt in [prompt(&[(1, 900, None)]), prompt(&[(2, 200, MARK)])] {
            cache.marked(&prompt, now);
            assert_eq!(cache.marked(&prompt, now), CacheUse::default());
        }
        assert!(!PromptCache::serves("ERNIE-Bot"));
        assert!(PromptCache::serves("gpt-4o"));
    }
}
