//! Series of document numbers: without gaps and without repeats (B9).
//!
//! A number is taken in the transaction that issues its document: it is given out when that
//! commits and never otherwise. There is one seller, so there is one series of each kind of
//! document and calendar year (UTC) of issue.

mod repo;

use chrono::{DateTime, Datelike, Utc};
use permille_types::DocumentNumber;

use crate::{LedgerError, store::Connection};

/// What is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// `INV-2026-000001`.
    Invoice,
    /// `CN-2026-000001`.
    CreditNote,
}

impl Series {
    fn prefix(self) -> &'static str {
        match self {
            Self::Invoice => "INV",
            Self::CreditNote => "CN",
        }
    }
}

/// The next number of the series, for a document that is issued at `at` by this transaction.
pub(crate) async fn next(
    connection: &mut Connection,
    series: Series,
    at: DateTime<Utc>,
) -> Result<DocumentNumber, LedgerError> {
    let series = format!("{}-{}", series.prefix(), at.year());
    let number = repo::raise(connection, &series).await?;
    let text = format!("{series}-{number:06}");
    text.parse().map_err(|_| LedgerError::corrupt("document_series.last", &number))
}
