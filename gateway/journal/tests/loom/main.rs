//! What the journal's threads share, in every order that they can take, by loom: the sources as
//! they are, over its memory instead of the processor's.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test that cannot go on fails; of the sources it runs what threads share"
)]

mod due;
mod durable;
#[path = "../../src/lock.rs"]
mod lock;
#[path = "../../src/watermark.rs"]
mod watermark;

/// What the sources find at the root of their crate.
pub(crate) use permille_journal::JournalError;
pub(crate) mod threads {
    pub(crate) use loom::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    };
}
