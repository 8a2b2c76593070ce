//! All SQL of charges.

use chrono::{DateTime, Utc};
use permille_rating::charge::PeriodCharge;
use permille_types::{CustomerId, PriceVersion};

use super::{ListedCharge, read};
use crate::{
    LedgerError, column,
    error::{Constraint, During, changed, changed_one, on_constraint},
    sql::{self, Connection},
};

const PKEY: Constraint = Constraint { name: "charge_pkey", columns: "charge.version" };

sql::row! {
    struct Row {
        until_at: Option<i64>,
        content: String,
        added_at: i64,
    }
}

impl TryFrom<Row> for ListedCharge {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let until = row.until_at.map(|at| column::instant("charge.until_at", at)).transpose()?;
        let charge = PeriodCharge { until, ..read(&row.content)? };
        Ok(Self::new(charge, column::instant("charge.added_at", row.added_at)?))
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    charge: &PeriodCharge,
    added_at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert charge";
    let done = sql::query(
        "insert into charge (
             version,
             name,
             customer,
             currency,
             from_at,
             until_at,
             content,
             ordinal,
             added_at
         )
         select
             $1,
             $2,
             $3,
             $4,
             $5,
             $6,
             $7,
             coalesce(max(ordinal), 0) + 1,
             $8
         from charge",
    )
    .bind(charge.version.as_str())
    .bind(charge.name.as_str())
    .bind(charge.customer.as_ref().map(CustomerId::as_str))
    .bind(charge.charge.currency.code())
    .bind(column::micros(charge.from))
    .bind(charge.until.map(column::micros))
    .bind(&charge.content)
    .bind(column::micros(added_at))
    .execute(connection)
    .await;
    let done = on_constraint(done, OPERATION, &PKEY, || LedgerError::AlreadyExists {
        noun: "charge",
        id: charge.version.to_string(),
    })?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Gives an open charge its end. Whether it was open.
pub(super) async fn end(
    connection: &mut Connection,
    version: &PriceVersion,
    until: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "end charge";
    let done = sql::query(
        "update charge
         set until_at = $2
         where version = $1
           and until_at is null",
    )
    .bind(version.as_str())
    .bind(column::micros(until))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// Every charge, in the order in which they came.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<ListedCharge>, LedgerError> {
    sql::query_as::<Row>(
        "select
             until_at,
             content,
             added_at
         from charge
         order by ordinal",
    )
    .fetch_all(connection)
    .await
    .during("read charges")?
    .into_iter()
    .map(ListedCharge::try_from)
    .collect()
}
