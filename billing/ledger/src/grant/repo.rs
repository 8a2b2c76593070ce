//! All SQL of prepaid credit.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId};

use super::StoredGrant;
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

/// Columns of a grant; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 id,
                 customer,
                 currency,
                 amount_nano,
                 paid_nano,
                 left_nano,
                 priority,
                 from_at,
                 expires_at,
                 models,
                 origin,
                 reason,
                 created_at
             from credit_grant ",
            $found_by,
        )
    };
}

sql::row! {
    struct Row {
        id: String,
        customer: String,
        currency: String,
        amount_nano: i64,
        paid_nano: i64,
        left_nano: i64,
        priority: i64,
        from_at: i64,
        expires_at: Option<i64>,
        models: String,
        origin: String,
        reason: String,
        created_at: i64,
    }
}

impl TryFrom<Row> for StoredGrant {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let expires = row.expires_at.map(|at| column::instant("credit_grant.expires_at", at));
        Ok(Self {
            customer: column::parsed("credit_grant.customer", &row.customer)?,
            currency: column::parsed("credit_grant.currency", &row.currency)?,
            priority: column::number("credit_grant.priority", row.priority)?,
            from: column::instant("credit_grant.from_at", row.from_at)?,
            expires_at: expires.transpose()?,
            models: column::json("credit_grant.models", &row.models)?,
            created_at: column::instant("credit_grant.created_at", row.created_at)?,
            id: row.id,
            amount_nano: row.amount_nano,
            paid_nano: row.paid_nano,
            left_nano: row.left_nano,
            origin: row.origin,
            reason: row.reason,
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    grant: &StoredGrant,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert grant";
    let done = sql::query(
        "insert into credit_grant (
             id,
             customer,
             currency,
             amount_nano,
             paid_nano,
             left_nano,
             priority,
             from_at,
             expires_at,
             models,
             origin,
             reason,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(&grant.id)
    .bind(grant.customer.as_str())
    .bind(grant.currency.code())
    .bind(grant.amount_nano)
    .bind(grant.paid_nano)
    .bind(grant.left_nano)
    .bind(i64::from(grant.priority))
    .bind(column::micros(grant.from))
    .bind(grant.expires_at.map(column::micros))
    .bind(column::to_json("models of a grant", &grant.models)?)
    .bind(&grant.origin)
    .bind(&grant.reason)
    .bind(column::micros(grant.created_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<StoredGrant>, LedgerError> {
    sql::query_as::<Row>(select!("where id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
        .during("find grant")?
        .map(StoredGrant::try_from)
        .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<StoredGrant>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where ($1 is null or customer = $1)
           and id > $2
         order by id
         limit $3"
    ))
    .bind(customer.map(CustomerId::as_str))
    .bind(after)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list grants")?
    .into_iter()
    .map(StoredGrant::try_from)
    .collect()
}

/// Grants of a customer that have something left and pay at some instant of `[start, end)`.
pub(super) async fn usable(
    connection: &mut Connection,
    customer: &CustomerId,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Vec<StoredGrant>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where customer = $1
           and left_nano > 0
           and from_at < $3
           and (expires_at is null or expires_at > $2)
         order by id"
    ))
    .bind(customer.as_str())
    .bind(column::micros(start))
    .bind(column::micros(end))
    .fetch_all(connection)
    .await
    .during("find grants that pay")?
    .into_iter()
    .map(StoredGrant::try_from)
    .collect()
}

/// Grants of a customer with something left, each with what was spent on the day of its end until
/// then, where that is noted.
pub(super) async fn with_rest(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<(StoredGrant, Option<i64>)>, LedgerError> {
    const OPERATION: &str = "find grants with a rest";
    let spent: HashMap<String, i64> = sql::query_as(
        "select
             id,
             spent_at_end_nano
         from credit_grant
         where customer = $1
           and left_nano > 0
           and spent_at_end_nano is not null",
    )
    .bind(customer.as_str())
    .fetch_all(&mut *connection)
    .await
    .during(OPERATION)?
    .into_iter()
    .collect();
    sql::query_as::<Row>(select!(
        "where customer = $1
           and left_nano > 0
         order by id"
    ))
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during(OPERATION)?
    .into_iter()
    .map(|row| {
        let spent = spent.get(&row.id).copied();
        Ok((row.try_into()?, spent))
    })
    .collect()
}

/// Notes what the customer had spent on the day of a grant's end until then.
pub(super) async fn set_spent_at_end(
    connection: &mut Connection,
    id: &str,
    nano: i64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note the end of a grant";
    let done = sql::query(
        "update credit_grant
         set spent_at_end_nano = $2
         where id = $1",
    )
    .bind(id)
    .bind(nano)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Grants of a customer with something left that pay no more from `at` on; none while an invoice
/// up to the month `period` is not out yet, which may be to draw on them.
pub(super) async fn expired(
    connection: &mut Connection,
    customer: &CustomerId,
    at: DateTime<Utc>,
    period: &str,
) -> Result<Vec<StoredGrant>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where customer = $1
           and left_nano > 0
           and expires_at <= $2
           and not exists (
               select 1
               from invoice
               where invoice.customer = $1
                 and invoice.period <= $3
                 and invoice.state in ('draft', 'approved')
           )
         order by id"
    ))
    .bind(customer.as_str())
    .bind(column::micros(at))
    .bind(period)
    .fetch_all(connection)
    .await
    .during("find expired grants")?
    .into_iter()
    .map(StoredGrant::try_from)
    .collect()
}

/// Moves what is left of a grant, down for a draw and up for one that is given back. Whether there
/// was enough.
pub(super) async fn move_left(
    connection: &mut Connection,
    id: &str,
    nano: i64,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "draw on a grant";
    let done = sql::query(
        "update credit_grant
         set left_nano = left_nano + $2
         where id = $1
           and left_nano + $2 >= 0
           and left_nano + $2 <= amount_nano",
    )
    .bind(id)
    .bind(nano)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// Whether a customer has a grant of that origin.
pub(super) async fn has_origin(
    connection: &mut Connection,
    customer: &CustomerId,
    origin: &str,
) -> Result<bool, LedgerError> {
    sql::query_scalar::<bool>(
        "select exists (
             select 1
             from credit_grant
             where customer = $1
               and origin = $2
         )",
    )
    .bind(customer.as_str())
    .bind(origin)
    .fetch_one(connection)
    .await
    .during("look for a grant")
}

/// What is left of all grants, by customer and currency.
pub(super) async fn left(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, Currency, i64)>, LedgerError> {
    sql::query_as::<(String, String, i64)>(
        "select
             customer,
             currency,
             cast(sum(left_nano) as bigint)
         from credit_grant
         group by
             customer,
             currency
         order by
             customer,
             currency",
    )
    .fetch_all(connection)
    .await
    .during("add up grants")?
    .into_iter()
    .map(|(customer, currency, nano)| {
        let customer = column::parsed("credit_grant.customer", &customer)?;
        Ok((customer, column::parsed("credit_grant.currency", &currency)?, nano))
    })
    .collect()
}
