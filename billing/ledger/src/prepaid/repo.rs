//! All SQL of prepaid balances.

use chrono::{DateTime, Utc};
use permille_types::CustomerId;

use super::Ceiling;
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Writes how far a customer may spend, and when to look again.
pub(super) async fn put(
    connection: &mut Connection,
    customer: &CustomerId,
    ceiling: Option<Ceiling>,
    due: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write a prepaid balance";
    let done = sql::query(
        "insert into prepaid_balance (
             customer,
             ceiling_nano,
             granted_nano,
             due_at
         ) values ($1, $2, $3, $4)
         on conflict (customer) do update
         set ceiling_nano = excluded.ceiling_nano,
             granted_nano = excluded.granted_nano,
             due_at = excluded.due_at",
    )
    .bind(customer.as_str())
    .bind(ceiling.map(|ceiling| ceiling.nano))
    .bind(ceiling.map(|ceiling| ceiling.granted))
    .bind(column::micros(due))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Looks at a balance later, and leaves it as it is.
pub(super) async fn put_off(
    connection: &mut Connection,
    customer: &CustomerId,
    due: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "put a prepaid balance off";
    let done = sql::query(
        "update prepaid_balance
         set due_at = $2
         where customer = $1",
    )
    .bind(customer.as_str())
    .bind(column::micros(due))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Has a customer's balance looked at soon, where there is one.
pub(crate) async fn look_soon(
    connection: &mut Connection,
    customer: &CustomerId,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    sql::query(
        "update prepaid_balance
         set due_at = $2
         where customer = $1
           and ceiling_nano is not null
           and due_at > $2",
    )
    .bind(customer.as_str())
    .bind(column::micros(now))
    .execute(connection)
    .await
    .during("have a prepaid balance looked at")
    .map(drop)
}

/// Makes balances that are due at `at` for everyone with a plan who has none.
pub(super) async fn add_missing(
    connection: &mut Connection,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    sql::query(
        "insert into prepaid_balance (
             customer,
             due_at
         )
         select distinct
             customer_plan.customer,
             cast($1 as bigint)
         from customer_plan
         where not exists (
             select 1
             from prepaid_balance
             where prepaid_balance.customer = customer_plan.customer
         )
         on conflict (customer) do nothing",
    )
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during("add prepaid balances")
    .map(drop)
}

/// Customers whose balance is to be computed at `at`.
pub(super) async fn due(
    connection: &mut Connection,
    at: DateTime<Utc>,
    rows: i64,
) -> Result<Vec<CustomerId>, LedgerError> {
    sql::query_scalar::<String>(
        "select customer
         from prepaid_balance
         where due_at <= $1
         order by
             due_at,
             customer
         limit $2",
    )
    .bind(column::micros(at))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("find prepaid balances that are due")?
    .iter()
    .map(|customer| column::parsed("prepaid_balance.customer", customer))
    .collect()
}

/// How far a customer may spend; absent where their plan is not prepaid.
pub(crate) async fn find(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Option<Ceiling>, LedgerError> {
    let found = sql::query_as::<(i64, i64)>(
        "select
             ceiling_nano,
             granted_nano
         from prepaid_balance
         where customer = $1
           and ceiling_nano is not null
           and granted_nano is not null",
    )
    .bind(customer.as_str())
    .fetch_optional(connection)
    .await
    .during("find a prepaid balance")?;
    Ok(found.map(|(nano, granted)| Ceiling { nano, granted }))
}

/// How far everyone on a prepaid plan may spend.
pub(crate) async fn all(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, Ceiling)>, LedgerError> {
    sql::query_as::<(String, i64, i64)>(
        "select
             customer,
             ceiling_nano,
             granted_nano
         from prepaid_balance
         where ceiling_nano is not null
           and granted_nano is not null",
    )
    .fetch_all(connection)
    .await
    .during("read prepaid balances")?
    .into_iter()
    .map(|(customer, nano, granted)| {
        Ok((column::parsed("prepaid_balance.customer", &customer)?, Ceiling { nano, granted }))
    })
    .collect()
}
