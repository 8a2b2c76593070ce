//! Days of usage, in UTC: on `PostgreSQL` each is a partition of its own.

mod repo;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::{LedgerError, column, sql::Connection};

/// A day has so many microseconds.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// The first microsecond of the UTC day of `at`.
pub(crate) fn day_of(at: DateTime<Utc>) -> i64 {
    let micros = column::micros(at);
    micros.saturating_sub(micros.rem_euclid(DAY_MICROS))
}

/// Sees to it that rows of `days` can be stored. The days round today are made ahead by
/// the job of the days; this makes those of rows that are early, or late for a day that
/// had none or was dropped.
pub(crate) async fn make(
    connection: &mut Connection,
    days: BTreeSet<i64>,
) -> Result<u64, LedgerError> {
    if connection.is_postgres() { repo::make(connection, days).await } else { Ok(0) }
}
