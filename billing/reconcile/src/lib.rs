//! Reconciliation: what a provider bills, compared with what was metered and should cost.
//!
//! | module | answers |
//! |---|---|
//! | [`bill`] | what a bill or usage export says, by day, model and class, however long the file |
//! | [`compare`] | what of it agrees with our side, what does not, and probably why |
//! | [`report`] | what finance reads and signs: as data, text, CSV and a page |
//!
//! Pure but for the reader that a file is read through. Our side is made by the ledger, and kept
//! and signed there; nothing here prices or posts anything.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::float_arithmetic)]

pub mod bill;
mod class;
pub mod compare;
mod decimal;
pub mod report;
