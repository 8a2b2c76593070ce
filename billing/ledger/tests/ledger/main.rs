//! The ledger on real files, through its public interface.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod catalogue;
mod concurrency;
mod intake;
mod prices;
mod reopening;
mod sessions;
mod support;
