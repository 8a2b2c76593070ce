//! That one leaf is in a tree: the hashes beside its way to the root.

use serde::{Deserialize, Serialize};

use super::Hash;

/// The way of one leaf to the root of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The leaf's place, from 0.
    pub index: u64,
    /// How many leaves the tree has.
    pub size: u64,
    /// What stands beside the way, from the leaf upwards.
    pub path: Vec<Hash>,
}

/// The way of the leaf at `index`; absent where there is none.
///
/// Source: RFC 9162, section 2.1.3.1.
#[must_use]
pub fn inclusion(leaves: &[Hash], index: usize) -> Option<Inclusion> {
    leaves.get(index)?;
    let mut path = Vec::new();
    let mut level = leaves.to_vec();
    let mut place = index;
    while level.len() > 1 {
        path.extend(level.get(place ^ 1));
        // A node without a neighbour is lifted as it is.
        level = level
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(Hash::of_node(*left, *right)),
                [alone] => Some(*alone),
                _ => None,
            })
            .collect();
        place >>= 1;
    }
    let (index, size) = (u64::try_from(index).ok()?, u64::try_from(leaves.len()).ok()?);
    Some(Inclusion { index, size, path })
}

impl Inclusion {
    /// Whether `leaf` is at this place in the tree of that `root`.
    ///
    /// Source: RFC 9162, section 2.1.3.2.
    #[must_use]
    pub fn proves(&self, leaf: Hash, root: Hash) -> bool {
        if self.index >= self.size {
            return false;
        }
        let mut place = self.index;
        let mut last = self.size.saturating_sub(1);
        let mut joined = leaf;
        for beside in &self.path {
            if last == 0 {
                return false;
            }
            if place & 1 == 1 || place == last {
                joined = Hash::of_node(*beside, joined);
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                joined = Hash::of_node(joined, *beside);
            }
            place >>= 1;
            last >>= 1;
        }
        last == 0 && joined == root
    }
}
