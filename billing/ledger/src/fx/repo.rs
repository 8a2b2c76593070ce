//! All SQL of exchange rates.

use chrono::{DateTime, NaiveDate, Utc};
use permille_rating::fx::FxRate;
use permille_types::Currency;

use super::FxFilter;
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Columns of a rate; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 base,
                 quote,
                 day,
                 rate,
                 source
             from fx_rate ",
            $found_by,
        )
    };
}

sql::row! {
    struct Row {
        base: String,
        quote: String,
        day: String,
        rate: String,
        source: String,
    }
}

impl TryFrom<Row> for FxRate {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            base: column::parsed("fx_rate.base", &row.base)?,
            quote: column::parsed("fx_rate.quote", &row.quote)?,
            day: column::parsed("fx_rate.day", &row.day)?,
            rate: column::decimal("fx_rate.rate", &row.rate)?,
            source: row.source,
        })
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    rate: &FxRate,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert exchange rate";
    let done = sql::query(
        "insert into fx_rate (
             base,
             quote,
             day,
             rate,
             source,
             added_at
         ) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(rate.base.code())
    .bind(rate.quote.code())
    .bind(rate.day.to_string())
    .bind(column::decimal_text(rate.rate))
    .bind(rate.source.trim())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn replace(
    connection: &mut Connection,
    rate: &FxRate,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "replace exchange rate";
    let done = sql::query(
        "update fx_rate
         set rate = $4,
             source = $5,
             added_at = $6
         where base = $1
           and quote = $2
           and day = $3",
    )
    .bind(rate.base.code())
    .bind(rate.quote.code())
    .bind(rate.day.to_string())
    .bind(column::decimal_text(rate.rate))
    .bind(rate.source.trim())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// The rate that is stored for the pair and day of another.
pub(super) async fn find(
    connection: &mut Connection,
    rate: &FxRate,
) -> Result<Option<FxRate>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where base = $1
           and quote = $2
           and day = $3"
    ))
    .bind(rate.base.code())
    .bind(rate.quote.code())
    .bind(rate.day.to_string())
    .fetch_optional(connection)
    .await
    .during("find exchange rate")?
    .map(FxRate::try_from)
    .transpose()
}

/// The last rate of its pair before its day.
pub(super) async fn last_before(
    connection: &mut Connection,
    rate: &FxRate,
) -> Result<Option<FxRate>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where base = $1
           and quote = $2
           and day < $3
         order by day desc
         limit 1"
    ))
    .bind(rate.base.code())
    .bind(rate.quote.code())
    .bind(rate.day.to_string())
    .fetch_optional(connection)
    .await
    .during("find the exchange rate before")?
    .map(FxRate::try_from)
    .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    filter: &FxFilter,
    after: [&str; 3],
    rows: i64,
) -> Result<Vec<FxRate>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where ($1 is null or base = $1)
           and ($2 is null or quote = $2)
           and ($3 is null or day >= $3)
           and ($4 is null or day <= $4)
           and (base, quote, day) > ($5, $6, $7)
         order by
             base,
             quote,
             day
         limit $8"
    ))
    .bind(filter.base.as_ref().map(Currency::code))
    .bind(filter.quote.as_ref().map(Currency::code))
    .bind(filter.since.map(|day| day.to_string()))
    .bind(filter.until.map(|day| day.to_string()))
    .bind(after[0])
    .bind(after[1])
    .bind(after[2])
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list exchange rates")?
    .into_iter()
    .map(FxRate::try_from)
    .collect()
}

/// All rates of days from `first` to `last`.
pub(super) async fn between(
    connection: &mut Connection,
    first: NaiveDate,
    last: NaiveDate,
) -> Result<Vec<FxRate>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where day >= $1
           and day <= $2
         order by
             day,
             base,
             quote"
    ))
    .bind(first.to_string())
    .bind(last.to_string())
    .fetch_all(connection)
    .await
    .during("read exchange rates")?
    .into_iter()
    .map(FxRate::try_from)
    .collect()
}
