//! All SQL of days of usage.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use permille_types::CustomerId;

use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Makes the partitions of those of `days` that have none. How many were made.
pub(super) async fn make(
    connection: &mut Connection,
    days: BTreeSet<i64>,
) -> Result<u64, LedgerError> {
    let mut asked = sql::many(
        "with asked (day) as (values ($1))
         select
             asked.day,
             cast(usage_partition(asked.day) as text)
         from asked",
    );
    for day in days {
        asked.row([day.into()]);
    }
    let answers =
        asked.fetch_all::<(i64, String)>(connection).await.during("make days of usage")?;
    let made = answers.iter().filter(|(_, is_new)| is_new == "true").count();
    Ok(u64::try_from(made).unwrap_or(u64::MAX))
}

/// The newest dropped day that begins after one instant and before another.
pub(super) async fn dropped_between(
    connection: &mut Connection,
    after: i64,
    before: i64,
) -> Result<Option<i64>, LedgerError> {
    sql::query_scalar::<i64>(
        "select day
         from usage_drop
         where day > $1
           and day < $2
         order by day desc
         limit 1",
    )
    .bind(after)
    .bind(before)
    .fetch_optional(connection)
    .await
    .during("find dropped days of usage")
}

/// Dropped days from one to another whose keys are gone, at least in part.
pub(super) async fn forgotten(
    connection: &mut Connection,
    first: i64,
    last: i64,
) -> Result<Vec<i64>, LedgerError> {
    sql::query_scalar::<i64>(
        "select day
         from usage_drop
         where keys in ('going', 'gone')
           and day >= $1
           and day <= $2",
    )
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await
    .during("find days without keys")
}

/// The oldest row from one instant to another.
pub(crate) async fn first_at(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<Option<i64>, LedgerError> {
    sql::query_scalar::<i64>(
        "select at
         from usage
         where at >= $1
           and at < $2
         order by at
         limit 1",
    )
    .bind(from)
    .bind(before)
    .fetch_optional(connection)
    .await
    .during("find the oldest usage")
}

/// How many rows there are from one instant to another.
pub(crate) async fn count(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from usage
         where at >= $1
           and at < $2",
    )
    .bind(from)
    .bind(before)
    .fetch_one(connection)
    .await
    .during("count a day of usage")
}

/// How many of them are held for want of a price.
pub(crate) async fn held(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from usage
         where cost is null
           and at >= $1
           and at < $2",
    )
    .bind(from)
    .bind(before)
    .fetch_one(connection)
    .await
    .during("count held usage of a day")
}

/// Whose they are.
pub(super) async fn customers(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<Vec<CustomerId>, LedgerError> {
    sql::query_scalar::<String>(
        "select distinct customer
         from usage
         where at >= $1
           and at < $2
         order by customer",
    )
    .bind(from)
    .bind(before)
    .fetch_all(connection)
    .await
    .during("list customers of a day of usage")?
    .into_iter()
    .map(|id| column::parsed("usage.customer", &id))
    .collect()
}

/// Notes that `requests` of a day were dropped, beside those that were before.
pub(super) async fn note(
    connection: &mut Connection,
    day: i64,
    requests: i64,
    by: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note a dropped day of usage";
    let done = sql::query(
        "insert into usage_drop (
             day,
             requests,
             dropped_at,
             dropped_by,
             keys
         ) values ($1, $2, $3, $4, 'kept')
         on conflict (day) do update
         set requests = usage_drop.requests + excluded.requests,
             dropped_at = excluded.dropped_at,
             dropped_by = excluded.dropped_by",
    )
    .bind(day)
    .bind(requests)
    .bind(column::micros(at))
    .bind(by)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Drops the partition of a day.
pub(super) async fn drop_partition(
    connection: &mut Connection,
    day: i64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "drop a day of usage";
    let dropped = sql::query_scalar::<i64>(
        "select cast(count(*) as bigint)
         from usage_partition_drop($1) as dropped
         where dropped",
    )
    .bind(day)
    .fetch_one(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, u64::try_from(dropped).unwrap_or_default())
}

/// Deletes the rows from one instant to another.
pub(super) async fn delete(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<(), LedgerError> {
    sql::query(
        "delete from usage
         where at >= $1
           and at < $2",
    )
    .bind(from)
    .bind(before)
    .execute(connection)
    .await
    .during("delete a day of usage")?;
    Ok(())
}

/// The oldest dropped day before an instant that has keys, and how many requests it had.
pub(super) async fn remembered(
    connection: &mut Connection,
    before: i64,
) -> Result<Option<(i64, i64)>, LedgerError> {
    sql::query_as::<(i64, i64)>(
        "select
             day,
             requests
         from usage_drop
         where keys in ('going', 'kept')
           and day < $1
         order by day
         limit 1",
    )
    .bind(before)
    .fetch_optional(connection)
    .await
    .during("find dropped days with keys")
}

/// Notes how far the keys of a dropped day are gone.
pub(super) async fn forget(
    connection: &mut Connection,
    day: i64,
    keys: &str,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note keys of a dropped day";
    let done = sql::query(
        "update usage_drop
         set keys = $2
         where day = $1",
    )
    .bind(day)
    .bind(keys)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Deletes the keys from one instant to another. How many there were.
pub(super) async fn delete_keys(
    connection: &mut Connection,
    from: i64,
    before: i64,
) -> Result<u64, LedgerError> {
    let done = sql::query(
        "delete from usage_key
         where at >= $1
           and at < $2",
    )
    .bind(from)
    .bind(before)
    .execute(connection)
    .await
    .during("delete keys of usage")?;
    Ok(done.rows_affected())
}
