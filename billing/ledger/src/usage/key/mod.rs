//! Keys of usage: which requests are booked, when each was admitted, and with what content (B6).
//!
//! A key finds the day of its row, and outlives the row: a request that comes again is known for as
//! long as it may come.

mod repo;

pub(crate) use repo::{admitted, insert, payload_sha256, payloads};
