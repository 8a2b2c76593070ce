//! Why an archive cannot be written or read.

use std::{io, sync::Arc};

use chrono::NaiveDate;
use permille_ledger::LedgerError;
use permille_types::RequestId;
use rust_decimal::Decimal;

/// Why an archive operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The URL names no place for files.
    #[error(
        "archive URL `{url}` is not accepted: {reason}; accepted: file:///FOLDER or \
         s3://BUCKET[/PREFIX]"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file in a folder cannot be written or read.
    #[error("{operation} `{location}`")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file's URL.
        location: String,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A file in a bucket cannot be written or read.
    #[error("{operation} `{location}`")]
    Object {
        /// What was tried.
        operation: &'static str,
        /// The file's URL.
        location: String,
        /// The cause.
        #[source]
        cause: object_store::Error,
    },
    /// A file on its way, on our own disk.
    #[error("{operation}")]
    Local {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The rows do not make a file, or a file does not read.
    #[error("{operation} of {day}")]
    Parquet {
        /// What was tried.
        operation: &'static str,
        /// The day.
        day: NaiveDate,
        /// The cause.
        #[source]
        cause: Arc<parquet::errors::ParquetError>,
    },
    /// A file lacks a column or holds another type in it.
    #[error("column `{column}` of {day} does not read; accepted: {accepted}")]
    Column {
        /// The day.
        day: NaiveDate,
        /// Which column.
        column: String,
        /// What it should hold.
        accepted: &'static str,
    },
    /// A count does not fit 63 bits.
    #[error("request {request}: {column} `{value}` exceeds 63 bits")]
    Count {
        /// Whose.
        request: RequestId,
        /// Which column.
        column: String,
        /// The count.
        value: u64,
    },
    /// A cost does not fit the column of costs.
    #[error(
        "request {request}: cost `{cost}` does not fit a decimal of 38 digits, 20 of them after \
         the point"
    )]
    Cost {
        /// Whose.
        request: RequestId,
        /// The cost.
        cost: Decimal,
    },
    /// A stored cost does not read.
    #[error("request {request}: cost `{cost}` is no decimal")]
    NoDecimal {
        /// Whose.
        request: RequestId,
        /// What is stored.
        cost: String,
    },
    /// A value has no JSON form.
    #[error("write {column} as JSON")]
    Json {
        /// Which column.
        column: &'static str,
        /// The cause.
        #[source]
        cause: serde_json::Error,
    },
    /// The sums of a day do not fit.
    #[error("add up {what} of {day}: the sum does not fit")]
    Sum {
        /// The day.
        day: NaiveDate,
        /// What was added up.
        what: &'static str,
    },
    /// A day has no row any more.
    #[error("{day} has no usage")]
    Empty {
        /// The day.
        day: NaiveDate,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
