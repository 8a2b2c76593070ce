//! All SQL of spending.

use permille_types::{CustomerId, SpendAccount};

use super::SpendingDeltas;
use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection},
};

pub(super) async fn add(
    connection: &mut Connection,
    deltas: &SpendingDeltas,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "add spending";
    let mut add = sql::many(
        "insert into spending_day (
             customer,
             level,
             id,
             day,
             nano
         ) values ($1, $2, $3, $4, $5)
         on conflict (customer, level, id, day) do update
         set nano = spending_day.nano + excluded.nano",
    );
    for (key, nano) in deltas {
        add.row([
            key.customer.as_str().into(),
            key.level.as_str().into(),
            (&key.id).into(),
            column::micros(key.day).into(),
            (*nano).into(),
        ]);
    }
    let done = add.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, deltas.len(), done.rows_affected())
}

/// What an account has spent in its period.
pub(super) async fn sum(
    connection: &mut Connection,
    customer: &CustomerId,
    account: &SpendAccount,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select cast(coalesce(sum(nano), 0) as bigint)
         from spending_day
         where customer = $1
           and level = $2
           and id = $3
           and day >= $4
           and day < $5",
    )
    .bind(customer.as_str())
    .bind(account.level.as_str())
    .bind(&account.id)
    .bind(account.from.map_or(i64::MIN, column::micros))
    .bind(account.until.map_or(i64::MAX, column::micros))
    .fetch_one(connection)
    .await
    .during("sum spending")
}
