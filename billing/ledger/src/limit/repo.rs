//! All SQL of limits.

use chrono::{DateTime, Utc};

use super::{Limits, Owner};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Writes the limits of an owner over those it had.
pub(super) async fn put(
    connection: &mut Connection,
    owner: &Owner,
    limits: &Limits,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write limits";
    let done = sql::query(
        "insert into usage_limit (
             customer,
             level,
             id,
             limits,
             updated_at
         ) values ($1, $2, $3, $4, $5)
         on conflict (customer, level, id) do update
         set limits = excluded.limits,
             updated_at = excluded.updated_at",
    )
    .bind(owner.customer.as_str())
    .bind(owner.level.as_str())
    .bind(&owner.id)
    .bind(column::to_json("limits", limits)?)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Writes the requests per minute of a key to its own row.
pub(super) async fn put_key_rpm(
    connection: &mut Connection,
    key: &str,
    rpm: Option<u32>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write requests per minute";
    let done = sql::query(
        "update api_key
         set rpm = $2
         where id = $1",
    )
    .bind(key)
    .bind(rpm.map(i64::from))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(crate) async fn find(
    connection: &mut Connection,
    owner: &Owner,
) -> Result<Option<Limits>, LedgerError> {
    sql::query_scalar::<String>(
        "select limits
         from usage_limit
         where customer = $1
           and level = $2
           and id = $3",
    )
    .bind(owner.customer.as_str())
    .bind(owner.level.as_str())
    .bind(&owner.id)
    .fetch_optional(connection)
    .await
    .during("find limits")?
    .map(|limits| column::json("usage_limit.limits", &limits))
    .transpose()
}

/// Limits of every owner that has some: the catalogue holds them all in memory.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<(Owner, Limits)>, LedgerError> {
    sql::query_as::<(String, String, String, String)>(
        "select
             customer,
             level,
             id,
             limits
         from usage_limit",
    )
    .fetch_all(connection)
    .await
    .during("read all limits")?
    .into_iter()
    .map(|(customer, level, id, limits)| {
        let owner = Owner {
            customer: column::parsed("usage_limit.customer", &customer)?,
            level: column::word("usage_limit.level", &level)?,
            id,
        };
        Ok((owner, column::json("usage_limit.limits", &limits)?))
    })
    .collect()
}
