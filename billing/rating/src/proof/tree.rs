//! A tree that grows leaf by leaf and keeps no leaves: the roots of its perfect subtrees are all
//! that the next leaf and the root need, at most 64 hashes.

use super::Hash;

/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// The perfect subtrees of a tree of `size` leaves, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

/// Bytes are not the subtrees of a tree of that size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are no tree of {size} leaves: it has {} subtrees of 32 bytes", size.count_ones())]
pub struct NotTree {
    /// How many leaves it should have.
    pub size: u64,
    /// How many bytes were given.
    pub bytes: usize,
}

impl Tree {
    /// The tree of `size` leaves whose subtrees [`Tree::peaks`] gave.
    ///
    /// # Errors
    /// [`NotTree`] when the bytes are those of another size.
    pub fn new(size: u64, peaks: &[u8]) -> Result<Self, NotTree> {
        let (whole, rest) = peaks.as_chunks::<HASH_BYTES>();
        let fits = rest.is_empty() && u64::try_from(whole.len()) == Ok(size.count_ones().into());
        if !fits {
            return Err(NotTree { size, bytes: peaks.len() });
        }
        Ok(Self { size, peaks: whole.iter().map(|hash| Hash::from_bytes(*hash)).collect() })
    }

    /// How many leaves it has: the index of the next one.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its perfect subtrees, largest first, 32 bytes each.
    #[must_use]
    pub fn peaks(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|peak| *peak.as_bytes()).collect()
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        // Each trailing one of the size is a perfect subtree as large as what it is joined with.
        let mut joined = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            joined = Hash::of_node(left, joined);
        }
        self.peaks.push(joined);
        self.size = self.size.saturating_add(1);
    }

    /// The hash of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined =
            self.peaks.iter().rev().copied().reduce(|right, left| Hash::of_node(left, right));
        joined.unwrap_or_else(Hash::of_nothing)
    }
}
