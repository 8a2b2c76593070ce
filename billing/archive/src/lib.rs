//! Export of old usage to Parquet files, and their comparison with the ledger.
//!
//! One file per UTC day, in a folder or in a bucket that speaks S3: [`write_day`] writes it, whole
//! or not at all, and [`check()`] reads one back. Which days are due and what a file holds is kept
//! by the ledger. This crate drops no row and decides nothing about how long rows are kept.
//!
//! See decision 0031.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::float_arithmetic)]

mod check;
mod connector;
mod error;
mod money;
mod place;
mod read;
mod schema;
mod tally;
mod upload;
mod write;

pub use check::{Checked, FileState, LedgerState, check};
pub use error::ArchiveError;
pub use place::{Place, S3Options};
pub use schema::SCHEMA_VERSION;
pub use write::write_day;
