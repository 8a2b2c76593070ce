//! All SQL of the archive.

use chrono::NaiveDate;

use super::{ArchiveFile, Stretch};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Columns of a file; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 day,
                 part,
                 location,
                 first_request,
                 usage_rows,
                 held,
                 tokens,
                 amounts,
                 file_bytes,
                 sha256,
                 archived_at
             from usage_archive ",
            $found_by,
        )
    };
}

sql::row! {
    struct Row {
        day: String,
        part: i64,
        location: String,
        first_request: String,
        usage_rows: i64,
        held: i64,
        tokens: String,
        amounts: String,
        file_bytes: i64,
        sha256: String,
        archived_at: i64,
    }
}

impl TryFrom<Row> for ArchiveFile {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            day: column::parsed("usage_archive.day", &row.day)?,
            part: column::number("usage_archive.part", row.part)?,
            location: row.location,
            first_request: column::parsed("usage_archive.first_request", &row.first_request)?,
            rows: column::number("usage_archive.usage_rows", row.usage_rows)?,
            held: column::number("usage_archive.held", row.held)?,
            tokens: column::json("usage_archive.tokens", &row.tokens)?,
            amounts: column::json("usage_archive.amounts", &row.amounts)?,
            bytes: column::number("usage_archive.file_bytes", row.file_bytes)?,
            sha256: row.sha256,
            archived_at: column::instant("usage_archive.archived_at", row.archived_at)?,
        })
    }
}

/// The last part of a day.
pub(super) async fn last_of(
    connection: &mut Connection,
    day: NaiveDate,
) -> Result<Option<ArchiveFile>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where day = $1
         order by part desc
         limit 1"
    ))
    .bind(day.to_string())
    .fetch_optional(connection)
    .await
    .during("find the archive of a day")?
    .map(ArchiveFile::try_from)
    .transpose()
}

/// Whether the first row of a file is in the store: then all of its rows are.
pub(super) async fn holds_first(
    connection: &mut Connection,
    file: &ArchiveFile,
) -> Result<bool, LedgerError> {
    let Stretch { start, end } = Stretch::of(file.day);
    let found = sql::query_scalar::<i64>(
        "select count(*)
         from usage
         where request_id = $1
           and at >= $2
           and at < $3",
    )
    .bind(column::request(file.first_request))
    .bind(start)
    .bind(end)
    .fetch_one(connection)
    .await
    .during("find the first row of an archive")?;
    Ok(found > 0)
}

/// Every file, by day and part.
pub(super) async fn list(connection: &mut Connection) -> Result<Vec<ArchiveFile>, LedgerError> {
    sql::query_as::<Row>(select!("order by day, part"))
        .fetch_all(connection)
        .await
        .during("list archives")?
        .into_iter()
        .map(ArchiveFile::try_from)
        .collect()
}

/// Whether there is a file of any day.
pub(super) async fn is_begun(connection: &mut Connection) -> Result<bool, LedgerError> {
    let found = sql::query_scalar::<i64>("select part from usage_archive limit 1")
        .fetch_optional(connection)
        .await
        .during("look for archives")?;
    Ok(found.is_some())
}

/// Stores a file, in the place of one of the same day and part.
pub(super) async fn put(
    connection: &mut Connection,
    file: &ArchiveFile,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "store the archive of a day";
    let done = sql::query(
        "insert into usage_archive (
             day,
             part,
             location,
             first_request,
             usage_rows,
             held,
             tokens,
             amounts,
             file_bytes,
             sha256,
             archived_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (day, part) do update set
             location = excluded.location,
             first_request = excluded.first_request,
             usage_rows = excluded.usage_rows,
             held = excluded.held,
             tokens = excluded.tokens,
             amounts = excluded.amounts,
             file_bytes = excluded.file_bytes,
             sha256 = excluded.sha256,
             archived_at = excluded.archived_at",
    )
    .bind(file.day.to_string())
    .bind(i64::from(file.part))
    .bind(&file.location)
    .bind(file.first_request.to_string())
    .bind(column::stored_count("rows", file.rows)?)
    .bind(column::stored_count("held", file.held)?)
    .bind(column::to_json("tokens", &file.tokens)?)
    .bind(column::to_json("amounts", &file.amounts)?)
    .bind(column::stored_count("bytes", file.bytes)?)
    .bind(&file.sha256)
    .bind(column::micros(file.archived_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}
