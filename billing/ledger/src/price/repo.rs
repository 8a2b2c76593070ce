//! All SQL of the price book.

use chrono::{DateTime, Utc};
use permille_types::{Price, PriceVersion};

use super::{PriceOrigin, StoredPrice};
use crate::{
    LedgerError, column,
    error::{During, changed_one},
    sql::{self, Connection},
};

/// Columns of a row; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 until_at,
                 content,
                 origin,
                 ordinal,
                 added_at
             from price ",
            $found_by,
        )
    };
}

sql::row! {
    struct Row {
        until_at: Option<i64>,
        content: String,
        origin: String,
        ordinal: i64,
        added_at: i64,
    }
}

impl TryFrom<Row> for StoredPrice {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let mut price: Price = column::json("price.content", &row.content)?;
        price.until = row.until_at.map(|at| column::instant("price.until_at", at)).transpose()?;
        let origin = [PriceOrigin::BuiltIn, PriceOrigin::Operator, PriceOrigin::Derived]
            .into_iter()
            .find(|origin| origin.as_str() == row.origin)
            .ok_or_else(|| LedgerError::corrupt("price.origin", &row.origin))?;
        Ok(Self {
            price,
            origin,
            ordinal: row.ordinal,
            added_at: column::instant("price.added_at", row.added_at)?,
        })
    }
}

/// Whether the entry was new.
pub(super) async fn insert(
    connection: &mut Connection,
    price: &Price,
    origin: PriceOrigin,
    added_at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "insert price";
    let content = Price { until: None, ..price.clone() };
    let done = sql::query(
        "insert into price (
             version,
             model,
             provider,
             currency,
             from_at,
             until_at,
             content,
             origin,
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
             $8,
             coalesce(max(ordinal), 0) + 1,
             $9
         from price
         where true
         on conflict (version) do nothing",
    )
    .bind(price.version.as_str())
    .bind(&price.model)
    .bind(price.provider.as_deref())
    .bind(price.currency.code())
    .bind(column::micros(price.from))
    .bind(price.until.map(column::micros))
    .bind(column::to_json("price", &content)?)
    .bind(origin.as_str())
    .bind(column::micros(added_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// Gives an open entry its end. Whether it was open and now has one.
pub(super) async fn end(connection: &mut Connection, price: &Price) -> Result<bool, LedgerError> {
    const OPERATION: &str = "end price";
    let done = sql::query(
        "update price
         set until_at = $2
         where version = $1
           and until_at is null
           and $2 is not null",
    )
    .bind(price.version.as_str())
    .bind(price.until.map(column::micros))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// The entry or derived price of that version.
pub(super) async fn find(
    connection: &mut Connection,
    version: &PriceVersion,
) -> Result<Option<StoredPrice>, LedgerError> {
    sql::query_as::<Row>(select!("where version = $1"))
        .bind(version.as_str())
        .fetch_optional(connection)
        .await
        .during("find price")?
        .map(StoredPrice::try_from)
        .transpose()
}

/// Every entry that ever was in the book.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<StoredPrice>, LedgerError> {
    sql::query_as::<Row>(select!("order by ordinal"))
        .fetch_all(connection)
        .await
        .during("read price book")?
        .into_iter()
        .map(StoredPrice::try_from)
        .collect()
}
