//! The text that a reply delivered, kept only to estimate tokens when the provider reports none.
//!
//! Never logged, never stored (S1): a sample lives as long as its request. The text of a long reply
//! is taken away piece by piece and counted while the rest still comes ([`crate::Ahead`]).

use std::fmt;

use crate::reading::OPENING_BYTES;

/// Text kept of each kind, in bytes. Two kinds make 128 KiB per reply, the most that one stream
/// may cost in memory for an estimate; what lies beyond is extrapolated from its length.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;

/// Text from which on a piece may be taken away, in bytes. Some 8,000 tokens: few replies ever have
/// as many, so that most cost nothing until they end without usage.
pub(crate) const PIECE_BYTES: usize = 32 * 1024;

/// How far before its end a piece is looked through for a place where no token is cut, in bytes.
const SEAM_BYTES: usize = 256;

/// What is kept of a text, and the length of all of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TextSample {
    kept: String,
    bytes: u64,
    /// Length of what stood before `kept` and was taken away.
    taken: usize,
    /// How the text began, once that was taken away.
    head: String,
}

impl TextSample {
    /// Appends `text`: its length always, its characters while there is room.
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len().try_into().unwrap_or(u64::MAX));
        let room = SAMPLE_BYTES_MAX.saturating_sub(self.kept.len());
        let end = text.floor_char_boundary(room);
        self.make_room(end);
        self.kept.push_str(text.get(..end).unwrap_or_default());
    }

    /// Makes room for `more` bytes. Doubles as a `String` would, but never beyond the bound: left
    /// to itself it takes up to twice of what it holds.
    fn make_room(&mut self, more: usize) {
        let needed = self.kept.len().saturating_add(more);
        if needed > self.kept.capacity() {
            let doubled = self.kept.capacity().saturating_mul(2).min(SAMPLE_BYTES_MAX);
            self.kept.reserve_exact(doubled.max(needed).saturating_sub(self.kept.len()));
        }
    }

    /// Says that the text seen so far was `seen` out of `whole` bytes of its source.
    pub(crate) fn extrapolate(&mut self, seen: u64, whole: u64) {
        if seen > 0 && whole > seen {
            let scaled = u128::from(self.bytes) * u128::from(whole) / u128::from(seen);
            self.bytes = scaled.try_into().unwrap_or(u64::MAX);
        }
    }

    /// Takes the kept text away where it is a piece, but for the word that may not have ended yet.
    pub(crate) fn take(&mut self) -> String {
        if self.kept.len() < PIECE_BYTES {
            return String::new();
        }
        if self.taken == 0 {
            self.head = self.opening(OPENING_BYTES).to_owned();
        }
        let end = self.kept.rfind(char::is_whitespace).unwrap_or_default();
        let in_reach = self.kept.len().saturating_sub(end) <= SEAM_BYTES;
        let rest = self.kept.split_off(if in_reach { end } else { self.kept.len() });
        self.taken = self.taken.saturating_add(self.kept.len());
        std::mem::replace(&mut self.kept, rest)
    }

    /// The kept text: all of it, or its beginning, or what was not taken away of it.
    #[must_use]
    pub fn kept(&self) -> &str {
        &self.kept
    }

    /// The first bytes, at most `bytes_max` of them.
    pub(crate) fn opening(&self, bytes_max: usize) -> &str {
        let text = if self.taken == 0 { &self.kept } else { &self.head };
        text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
    }

    /// Length of the whole text in bytes, kept or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds another sample behind this one.
    pub(crate) fn append(&mut self, other: &Self) {
        let beyond = other.bytes.saturating_sub(other.kept.len().try_into().unwrap_or(u64::MAX));
        self.push(&other.kept);
        self.bytes = self.bytes.saturating_add(beyond);
    }
}

impl fmt::Debug for TextSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextSample({} bytes)", self.bytes)
    }
}

/// Why a model stopped before it had answered, where the reply says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The provider's content filter cut or withheld the answer.
    ContentFilter,
    /// The model refused to answer.
    Refusal,
}

/// What a reply delivered, by the class it would be billed as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveredText {
    /// Answers, refusals, tool names and arguments.
    pub visible: TextSample,
    /// Reasoning that the provider shows.
    pub reasoning: TextSample,
    /// Why there is no more of it.
    pub(crate) stop: Option<Stop>,
}

impl DeliveredText {
    /// Whether nothing was delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.visible.bytes == 0 && self.reasoning.bytes == 0
    }

    /// Notes a reason to stop by the name that a provider gives it; other reasons say nothing.
    ///
    /// Source: `OpenAI` and Baidu (`content_filter`), Zhipu and Tencent (`sensitive`), Google
    /// (upper case), Anthropic (`refusal`).
    pub(crate) fn note_stop(&mut self, reason: &str) {
        match reason {
            "content_filter" | "sensitive" | "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST"
            | "SPII" => self.stop = Some(Stop::ContentFilter),
            "refusal" => self.stop = Some(Stop::Refusal),
            _ => {}
        }
    }

    /// Adds another reply's text behind this one.
    pub(crate) fn append(&mut self, other: &Self) {
        self.stop = other.stop.or(self.stop);
        self.visible.append(&other.visible);
        self.reasoning.append(&other.reasoning);
    }

    /// Whether so much is kept that a piece should be taken away.
    pub(crate) fn is_due(&self) -> bool {
        self.visible.kept.len().max(self.reasoning.kept.len()) >= PIECE_BYTES
    }

    /// See [`TextSample::extrapolate`].
    pub(crate) fn extrapolate(&mut self, seen: u64, whole: u64) {
        self.visible.extrapolate(seen, whole);
        self.reasoning.extrapolate(seen, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_bounded_and_still_knows_the_whole_length() {
        let mut sample = TextSample::default();

        for _ in 0..100_000 {
            sample.push("网关abc");
        }

        assert!(sample.kept().len() <= SAMPLE_BYTES_MAX);
        assert!(sample.kept().len() > SAMPLE_BYTES_MAX - 3);
        assert!(sample.kept.capacity() <= SAMPLE_BYTES_MAX, "{} held", sample.kept.capacity());
        assert_eq!(sample.bytes(), 900_000);
    }

    #[test]
    fn whatever_comes_first_no_more_memory_is_held_than_the_bound() {
        for first in [1, 40_000, SAMPLE_BYTES_MAX - 1] {
            let mut sample = TextSample::default();
            sample.push(&"x".repeat(first));
            for _ in 0..SAMPLE_BYTES_MAX - first + 10 {
                sample.push("x");
                assert!(sample.kept.capacity() <= SAMPLE_BYTES_MAX, "{first}");
            }

            assert_eq!(sample.kept().len(), SAMPLE_BYTES_MAX);
        }
    }

    #[test]
    fn a_piece_is_taken_away_from_its_size_on() {
        for (bytes, taken) in [(32_767, 0), (32_768, 32_768)] {
            let mut sample = TextSample::default();
            sample.push(&"x".repeat(bytes));

            assert_eq!(sample.take().len(), taken);
        }
    }

    #[test]
    fn pieces_that_were_taken_away_are_the_whole_text_and_no_word_is_cut() {
        let (mut sample, mut taken) = (TextSample::default(), String::new());
        for _ in 0..20_000 {
            sample.push("Nile river");
            sample.push(" ");
            if sample.kept().len() >= PIECE_BYTES {
                taken.push_str(&sample.take());
                assert!(taken.ends_with("river"), "{}", &taken[taken.len() - 20..]);
            }
        }
        taken.push_str(sample.kept());

        assert_eq!(taken, "Nile river ".repeat(20_000));
        assert_eq!(sample.bytes(), 220_000);
        assert_eq!(sample.opening(10), "Nile river");
    }

    #[test]
    fn debug_output_never_shows_the_text() {
        let mut sample = TextSample::default();
        sample.push("a secret");

        assert!(!format!("{sample:?}").contains("secret"));
    }
}
