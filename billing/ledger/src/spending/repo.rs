//! All SQL of spending.

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, SpendAccount};

use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection},
};

/// What is added to a day.
pub(super) struct Addition<'a> {
    pub(super) customer: &'a CustomerId,
    pub(super) level: &'static str,
    pub(super) id: &'a str,
    pub(super) day: DateTime<Utc>,
    pub(super) nano: i64,
}

pub(super) async fn add(
    connection: &mut Connection,
    days: &[Addition<'_>],
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
    for each in days {
        add.row([
            each.customer.as_str().into(),
            each.level.into(),
            each.id.into(),
            column::micros(each.day).into(),
            each.nano.into(),
        ]);
    }
    let done = add.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, days.len(), done.rows_affected())
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

/// The customers that have cost most since a day, those of each currency in turn.
pub(super) async fn dearest(
    connection: &mut Connection,
    since: DateTime<Utc>,
    most: u32,
) -> Result<Vec<CustomerId>, LedgerError> {
    sql::query_scalar::<String>(
        "select customer
         from (
             select
                 spending_day.customer,
                 row_number() over (
                     partition by customer.currency
                     order by
                         sum(spending_day.nano) desc,
                         spending_day.customer
                 ) as place
             from spending_day
             join customer on customer.id = spending_day.customer
             where spending_day.level = 'customer'
               and spending_day.day >= $1
             group by
                 spending_day.customer,
                 customer.currency
         ) as ranked
         order by
             place,
             customer
         limit $2",
    )
    .bind(column::micros(since))
    .bind(i64::from(most))
    .fetch_all(connection)
    .await
    .during("find dearest customers")?
    .iter()
    .map(|customer| column::parsed("spending_day.customer", customer))
    .collect()
}
