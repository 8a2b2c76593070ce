//! Keyed digests: equal for equal texts, and of no use to whoever lacks the key.

/// The secret of one gateway. Digests of different keys have nothing to do with each other.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The key for everything inside `scope`, such as a customer's project: equal conversations of
    /// two scopes have different digests.
    pub(crate) fn within(&self, scope: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for name in scope {
            leaf(&mut hasher, name.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
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

/// 128 bits of a keyed hash: two different texts share one by chance once in 2⁶⁴ texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    /// The digest of nothing, where a chain begins.
    pub(crate) const START: Self = Self([0; 16]);

    pub(crate) fn of(hasher: &blake3::Hasher) -> Self {
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }
}

/// Adds one piece of a text, so that ("a", "bc") and ("ab", "c") differ.
pub(crate) fn leaf(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hasher.update(&length.to_le_bytes());
    hasher.update(bytes);
}
