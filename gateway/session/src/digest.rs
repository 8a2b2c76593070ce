//! Keyed digests: equal for equal texts, and of no use to whoever lacks the key.
//!
//! Both hashes are pseudo-random functions. A message's texts go through `HighwayHash`, which takes
//! the fewest cycles for each byte; digests of digests, of 16 bytes each, through `SipHash` 2-4,
//! which begins and ends sooner. BLAKE3 makes the key of a scope from the gateway's (decision
//! 0032).

use std::hash::Hasher as _;

use highway::{HighwayHash as _, HighwayHasher};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// The secret of one gateway. Digests of different keys have nothing to do with each other.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The key of every gateway that knows `secret`: they find each other's requests, and nobody
    /// learns the secret from it.
    #[must_use]
    pub fn derived(secret: &[u8]) -> Self {
        Self(blake3::derive_key("permille 2026-11-26 digests of conversations", secret))
    }

    /// The key for everything inside `scope`, such as a customer's project: equal conversations of
    /// two scopes have different digests.
    pub(crate) fn within(&self, scope: &[&str]) -> ScopeKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for name in scope {
            let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
            hasher.update(&length.to_le_bytes()).update(name.as_bytes());
        }
        let [low, high, ..] = words(hasher.finalize().as_bytes());
        ScopeKey([low, high])
    }

    /// What digests the texts of messages, of whatever scope.
    pub(crate) fn texts(&self) -> Texts {
        let hasher = HighwayHasher::new(highway::Key(words(&self.0)));
        Texts { hasher, length: None }
    }
}

fn words(key: &[u8; 32]) -> [u64; 4] {
    let (words, _) = key.as_chunks::<8>();
    std::array::from_fn(|at| words.get(at).copied().map_or(0, u64::from_le_bytes))
}

/// The key for everything inside a scope.
#[derive(Clone)]
pub(crate) struct ScopeKey([u64; 2]);

impl ScopeKey {
    pub(crate) fn chain(&self) -> Chain {
        let [low, high] = self.0;
        Chain(SipHasher24::new_with_keys(low, high))
    }

    /// The digest of `digests` in this order.
    pub(crate) fn link<const N: usize>(&self, digests: [Digest; N]) -> Digest {
        let mut chain = self.chain();
        for digest in digests {
            chain.add(digest);
        }
        chain.digest()
    }

    /// The digest of a text that is no message.
    pub(crate) fn name(&self, text: &str) -> Digest {
        let mut chain = self.chain();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        chain.0.write(&length.to_le_bytes());
        chain.0.write(text.as_bytes());
        chain.digest()
    }
}

impl std::fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScopeKey(secret)")
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// Digests in the order in which they came.
#[derive(Clone)]
pub(crate) struct Chain(SipHasher24);

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain(secret)")
    }
}

impl Chain {
    pub(crate) fn add(&mut self, digest: Digest) {
        self.0.write(&digest.bytes());
    }

    /// The digest of all that has come.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.0.finish128().as_u128())
    }
}

/// The texts of a message in the order in which they came.
#[derive(Clone)]
pub(crate) struct Texts {
    hasher: HighwayHasher,
    /// Of the last text, which is still to be added.
    length: Option<u64>,
}

impl Texts {
    /// Whether no text has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.length.is_none()
    }

    /// Adds a text, and behind it its length, so that ("a", "bc") and ("ab", "c") differ: read from
    /// the end, what was added is told apart.
    pub(crate) fn add(&mut self, text: &[u8]) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if let Some(before) = self.length.replace(length) {
            self.hasher.append(&before.to_le_bytes());
        }
        self.hasher.append(text);
    }

    /// The digest of all that has come, as one that `mark` tells from others of the same texts.
    pub(crate) fn digest(mut self, mark: u8) -> Digest {
        self.end(mark);
        Digest::of(self.hasher)
    }

    /// The same, and begins anew, as `fresh` is.
    pub(crate) fn take_digest(&mut self, mark: u8, fresh: &Self) -> Digest {
        self.end(mark);
        self.length = None;
        Digest::of(std::mem::replace(&mut self.hasher, fresh.hasher.clone()))
    }

    fn end(&mut self, mark: u8) {
        let mut end = [0; 9];
        let end = match self.length {
            // One text at least: its length and the mark are added at once.
            Some(length) => {
                let (front, back) = end.split_at_mut(8);
                front.copy_from_slice(&length.to_le_bytes());
                back.fill(mark);
                &end[..]
            }
            None => &[mark],
        };
        self.hasher.append(end);
    }
}

/// 128 bits of a keyed hash: two different texts share one by chance once in 2⁶⁴ texts.
///
/// A number and not bytes: it is copied whole, where bytes after another field are copied in parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest(u128);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Digest").field(&self.bytes()).finish()
    }
}

impl Digest {
    /// The digest of nothing, where a chain begins.
    pub(crate) const START: Self = Self(0);

    fn of(hasher: HighwayHasher) -> Self {
        let [low, high] = hasher.finalize128();
        Self(u128::from(low) | (u128::from(high) << 64))
    }

    /// A number that is spread evenly over digests.
    pub(crate) fn number(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is spread as evenly")]
        let low = self.0 as u64;
        low
    }

    /// As it leaves the process.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use highway::PortableHash;

    use super::*;

    fn digest(secret: u8, texts: &[&str], mark: u8) -> Digest {
        let mut all = Key::new([secret; 32]).texts();
        for text in texts {
            all.add(text.as_bytes());
        }
        all.digest(mark)
    }

    #[test]
    fn key_texts_their_borders_and_their_mark_tell_digests_apart() {
        let all = [
            digest(1, &["a", "bc"], b'u'),
            digest(2, &["a", "bc"], b'u'),
            digest(1, &["ab", "c"], b'u'),
            digest(1, &["abc"], b'u'),
            digest(1, &["a", "bc", ""], b'u'),
            digest(1, &["a", "bc"], b'm'),
        ];

        let distinct: std::collections::HashSet<_> = all.iter().collect();

        assert_eq!(distinct.len(), all.len());
    }

    /// Gateways that share conversations may run on processors of different kinds.
    #[test]
    fn every_processor_digests_alike() {
        let text = "go on, and say why ".repeat(20);
        for length in (0..text.len()).step_by(7) {
            let mut portable = PortableHash::new(highway::Key(words(&[9; 32])));
            portable.append(&text.as_bytes()[..length]);
            portable.append(&u64::try_from(length).unwrap().to_le_bytes());
            portable.append(b"u");
            let [low, high] = portable.finalize128();

            let there = [low.to_le_bytes(), high.to_le_bytes()].concat();

            let here = digest(9, &[&text[..length]], b'u');

            assert_eq!(here.bytes()[..], there, "{length}");
        }
    }
}
