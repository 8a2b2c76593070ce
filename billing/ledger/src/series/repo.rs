//! All SQL of series.

use crate::{
    LedgerError,
    error::During,
    sql::{self, Connection},
};

/// Raises the series by one and gives the number it has then.
pub(super) async fn raise(connection: &mut Connection, series: &str) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "insert into document_series (
             series,
             last
         ) values ($1, 1)
         on conflict (series) do update
         set last = document_series.last + 1
         returning last",
    )
    .bind(series)
    .fetch_one(connection)
    .await
    .during("take a document number")
}
