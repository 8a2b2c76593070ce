//! Proof of what was billed: the records of a customer's month as the leaves of a Merkle tree.
//!
//! Every request that is booked becomes a leaf of the tree of its customer and month, in the order
//! of booking. An invoice prints how many leaves the tree had and its root. From then on no request
//! can be added before that point, dropped or changed without the root showing it, and anybody who
//! has the invoice can check that a request is in it: with all records, or with the record and a
//! path of some twenty hashes.
//!
//! Tree, hashes and paths are those of RFC 9162 (Certificate Transparency 2.0), section 2.1, with
//! SHA-256: a leaf is hashed after a zero byte and a node after a one, so that neither can pass for
//! the other.
//!
//! It does not know where records are stored, and not who may read them.

mod hash;
mod inclusion;
mod record;
mod tree;

pub use hash::{Hash, NotHash};
pub use inclusion::{Inclusion, inclusion};
pub use record::{RECORD_VERSION, RecordError, record, record_of};
pub use tree::{NotTree, Tree};
