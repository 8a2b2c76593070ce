//! The billing API over real HTTP, on a real ledger.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod access;
mod bad_money;
mod charges;
mod console;
mod description;
mod events;
mod exports;
mod gateway;
mod input;
mod intake;
mod interim_sums;
mod interims;
mod keyed;
mod life;
mod metrics;
mod nouns;
mod outcomes;
mod plans;
mod prices;
mod scope;
mod secrets;
mod session_metrics;
mod steps;
mod store;
mod summary;
mod support;
mod usage;
