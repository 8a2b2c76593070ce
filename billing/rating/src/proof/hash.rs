//! SHA-256 of leaves and nodes.

use std::{fmt, hash::Hash as Hashable, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Before a leaf's bytes, and before the two halves of a node.
///
/// Source: RFC 9162, section 2.1.1.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// A hash of a tree; as text 64 hexadecimal digits.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hashable, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

/// A text is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no hash; accepted: 64 hexadecimal digits")]
pub struct NotHash {
    /// The text.
    pub text: String,
}

impl Hash {
    /// Of a leaf.
    #[must_use]
    pub fn of_leaf(leaf: &[u8]) -> Self {
        Self(Sha256::new().chain_update(LEAF).chain_update(leaf).finalize().into())
    }

    /// Of a tree without leaves: the hash of nothing.
    pub(super) fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Of the node over two trees.
    pub(super) fn of_node(left: Self, right: Self) -> Self {
        let hasher = Sha256::new().chain_update(NODE).chain_update(left.0).chain_update(right.0);
        Self(hasher.finalize().into())
    }

    /// These 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = NotHash;

    fn from_str(text: &str) -> Result<Self, NotHash> {
        let mut bytes = [0; 32];
        let read = hex::decode_to_slice(text, &mut bytes);
        read.map(|()| Self(bytes)).map_err(|_| NotHash { text: text.to_owned() })
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = NotHash;

    fn try_from(text: String) -> Result<Self, NotHash> {
        text.parse()
    }
}
