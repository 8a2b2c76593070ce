//! Crash-safe hand-over of usage from gateway to billing.
//!
//! The gateway writes what it owes billing into an append-only journal on its own disk: an
//! *intent* when a request is admitted, *progress* now and then while a stream runs, and exactly
//! one *settled* record however the request ends. [`ship()`] hands settled records to billing and
//! a segment file is removed only after billing has acknowledged all that it held.
//!
//! What holds, and until when:
//! - an intent and progress survive `kill -9` from the moment their call returned, because they are
//!   in the page cache then;
//! - a settled record survives `kill -9` from the moment its [`Settled`] future resolved or was
//!   dropped, or [`Settled::write`] returned; until then its request may be settled as orphaned. In
//!   the modes without a wait it does so when its call returned;
//! - a settled record survives power loss from the moment its [`Settled`] future resolved (in
//!   the mode [`SyncMode::Settle`]; the weaker modes state their loss window);
//! - a failed sync is never retried and nothing is acknowledged after it;
//! - a request that was open when the process died is settled as `orphaned` at the next start.
//!
//! The file format is described in [`mod@format`]. This crate does not count, price or interpret
//! usage, and it is not a queue for anything else. It makes every event arrive at least once;
//! billing makes it count once, by its request id.

mod append;
mod batch;
mod config;
mod error;
pub mod format;
mod fs;
mod health;
mod journal;
mod lock;
mod owed;
mod recovery;
mod repair;
mod report;
mod scan;
mod segment;
mod settled;
mod shared;
mod ship;
mod space;
mod state;
mod store;
mod survey;
mod sync;
mod threads;
mod watermark;

#[cfg(feature = "testing")]
pub mod testing;

pub use append::Write;
pub use config::{JournalConfig, SyncMode, SyncModeError};
pub use error::{FullReason, JournalError};
pub use fs::{JournalFile, JournalFs, RealFs};
pub use health::{Health, Stats};
pub use journal::{Journal, Opened};
pub use owed::{Unsettled, Written};
pub use report::{Damage, DamageKind, RecoveryReport};
pub use settled::Settled;
pub use ship::{ShipError, ship, ship_all};
pub use watermark::Durable;
