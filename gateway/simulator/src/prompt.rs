//! What a request's input is, independent of the provider: segments with a token count each, a
//! digest of everything up to their end, and the cache marks on them.

use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{recent::Recent, tokens};

/// Identifies a text or a prefix of a prompt; 128 bits of SHA-256.
pub(crate) type Digest = [u8; 16];

/// How long a marked prefix stays in the prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Five minutes, the default.
    FiveMinutes,
    /// One hour.
    OneHour,
}

/// A part of a prompt that a cached prefix can end with: a message, a block, the tools.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Its tokens, with the overhead of its message.
    pub(crate) tokens: u64,
    /// Of the prompt up to and including this segment.
    pub(crate) prefix: Digest,
    /// It carries a cache mark.
    pub(crate) mark: Option<Lifetime>,
}

/// A measured prompt.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    /// In the order the model reads them.
    pub(crate) segments: Vec<Segment>,
    /// All input tokens, priming included.
    pub(crate) tokens: u64,
    /// Of the whole prompt.
    pub(crate) digest: Digest,
}

/// Tokens that open each message.
///
/// Source: OpenAI cookbook, "How to count tokens with tiktoken" (with the name and priming rules).
pub(crate) const MESSAGE_TOKENS: u64 = 3;
/// Tokens that a name costs beside its own.
pub(crate) const NAME_TOKENS: u64 = 1;
/// Tokens that a call of a tool costs beside its name and arguments (tiktoken-rs does the same).
pub(crate) const CALL_TOKENS: u64 = 1;
/// Tokens that prime the reply.
pub(crate) const PRIMING_TOKENS: u64 = 3;
/// Tokens of an image, whatever its size.
///
/// Source: OpenAI "Vision", low detail images cost 85 tokens.
pub(crate) const IMAGE_TOKENS: u64 = 85;

/// Remembers the counts of texts, because a conversation sends its history again each turn.
#[derive(Debug)]
pub(crate) struct CountMemo(Mutex<Recent<Digest, u64>>);

impl CountMemo {
    /// Counts remembered at most; 24 bytes each.
    const ENTRIES_MAX: usize = 65_536;

    pub(crate) fn new() -> Self {
        Self(Mutex::new(Recent::new(Self::ENTRIES_MAX)))
    }

    fn count(&self, text: &str, digest: Digest) -> u64 {
        let known = self.0.lock().get(digest);
        known.unwrap_or_else(|| {
            let tokens = tokens::count(text);
            self.0.lock().insert(digest, tokens);
            tokens
        })
    }
}

fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    let mut digest = Digest::default();
    digest.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
    digest
}

/// Measures a prompt, segment by segment.
#[derive(Debug)]
pub(crate) struct Measure<'a> {
    memo: &'a CountMemo,
    prefix: Digest,
    open_tokens: u64,
    segments: Vec<Segment>,
}

impl<'a> Measure<'a> {
    /// Starts a prompt; prefixes are shared only between prompts of the same `scope` (credential
    /// and model).
    pub(crate) fn new(memo: &'a CountMemo, scope: [&str; 2]) -> Self {
        let prefix = digest_of(&scope.map(str::as_bytes));
        Self { memo, prefix, open_tokens: 0, segments: Vec::new() }
    }

    /// Text of the current segment.
    pub(crate) fn text(&mut self, text: &str) {
        let digest = digest_of(&[text.as_bytes()]);
        self.prefix = digest_of(&[&self.prefix, &digest]);
        self.open_tokens += if text.is_empty() { 0 } else { self.memo.count(text, digest) };
    }

    /// Tokens of the current segment that no text stands for.
    pub(crate) fn overhead(&mut self, tokens: u64) {
        self.open_tokens += tokens;
    }

    /// Something other than text, as JSON; costs `tokens` whatever it is.
    pub(crate) fn opaque(&mut self, part: &Value, tokens: u64) {
        self.prefix = digest_of(&[&self.prefix, part.to_string().as_bytes()]);
        self.open_tokens += tokens;
    }

    /// Ends the current segment.
    pub(crate) fn end_segment(&mut self, mark: Option<Lifetime>) {
        let tokens = std::mem::take(&mut self.open_tokens);
        self.segments.push(Segment { tokens, prefix: self.prefix, mark });
    }

    /// The measured prompt; `priming` is added to its tokens.
    pub(crate) fn finish(self, priming: u64) -> Prompt {
        let tokens = self.segments.iter().map(|segment| segment.tokens).sum::<u64>() + priming;
        Prompt { segments: self.segments, tokens, digest: self.prefix }
    }
}

impl Prompt {
    /// A number that follows from the prompt, `seed` and `salt` alone.
    pub(crate) fn seed(&self, seed: u64, salt: u64) -> u64 {
        let digest = digest_of(&[&self.digest, &seed.to_le_bytes(), &salt.to_le_bytes()]);
        let mut bytes = [0_u8; 8];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(memo: &CountMemo, texts: &[&str]) -> Prompt {
        let mut measure = Measure::new(memo, ["key", "model"]);
        for text in texts {
            measure.overhead(MESSAGE_TOKENS);
            measure.text(text);
            measure.end_segment(None);
        }
        measure.finish(PRIMING_TOKENS)
    }

    #[test]
    fn a_longer_conversation_has_the_prefixes_of_the_shorter() {
        let memo = CountMemo::new();

        let short = measure(&memo, &["one", "two words"]);
        let long = measure(&memo, &["one", "two words", "three"]);

        assert_eq!(short.segments[1].prefix, long.segments[1].prefix);
        assert_ne!(short.digest, long.digest);
        assert_eq!(short.tokens, 3 + 3 + 1 + 3 + 2);
    }

    #[test]
    fn where_a_text_is_cut_into_messages_matters() {
        let memo = CountMemo::new();

        assert_ne!(measure(&memo, &["ab", "c"]).digest, measure(&memo, &["a", "bc"]).digest);
    }

    #[test]
    fn a_remembered_count_is_the_count() {
        let memo = CountMemo::new();
        let text = "the same words again and again";

        let first = measure(&memo, &[text]).tokens;

        assert_eq!(measure(&memo, &[text]).tokens, first);
        assert_eq!(first, tokens::count(text) + 6);
    }
}
