//! A strict file system in memory, for tests of whoever writes through a journal.
//!
//! It keeps what was written apart from what was synced, and a log of every operation, so that
//! a test can ask what a disk could hold after a crash behind any of them: with all unsynced
//! writes lost, all kept, or torn. It refuses writes and syncs on demand. A failed sync drops
//! what it should have synced, for good, as Linux does.

mod disk;
mod memory;

pub use disk::{Loss, Replay};
pub use memory::{MemFs, SyncGate};
