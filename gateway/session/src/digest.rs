//! Keyed digests: equal for equal texts, and of no use to whoever lacks the key.
//!
//! `SipHash` 2-4 with 128 bits, a pseudo-random function that takes less time than BLAKE3 on texts
//! as short as messages are; BLAKE3 makes the key of a scope from the gateway's (decision 0018).

use std::hash::Hasher as _;

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
    pub(crate) fn within(&self, scope: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for name in scope {
            let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
            hasher.update(&length.to_le_bytes()).update(name.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    pub(crate) fn hasher(&self) -> Hasher {
        let [low, high] = self.halves();
        Hasher(SipHasher24::new_with_keys(low, high))
    }

    /// The first half of the key in two parts.
    fn halves(&self) -> [u64; 2] {
        let (words, _) = self.0.as_chunks::<8>();
        let word = |at: usize| words.get(at).copied().map_or(0, u64::from_le_bytes);
        [word(0), word(1)]
    }

    /// The digest of `digests` in this order.
    pub(crate) fn link<const N: usize>(&self, digests: [Digest; N]) -> Digest {
        let mut hasher = self.hasher();
        for digest in digests {
            hasher.update(&digest.0);
        }
        Digest::of(&hasher)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A keyed hash of what has come so far.
#[derive(Clone)]
pub(crate) struct Hasher(SipHasher24);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(crate) fn add(&mut self, digest: Digest) {
        self.0.write(&digest.0);
    }
}

/// 128 bits of a keyed hash: two different texts share one by chance once in 2⁶⁴ texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    /// The digest of nothing, where a chain begins.
    pub(crate) const START: Self = Self([0; 16]);

    pub(crate) fn of(hasher: &Hasher) -> Self {
        Self(hasher.0.finish128().as_bytes())
    }

    /// A number that is spread evenly over digests.
    pub(crate) fn number(&self) -> u64 {
        self.0.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    /// As it leaves the process.
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Adds one piece of a text, so that ("a", "bc") and ("ab", "c") differ.
pub(crate) fn leaf(hasher: &mut Hasher, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hasher.update(&length.to_le_bytes());
    hasher.update(bytes);
}
