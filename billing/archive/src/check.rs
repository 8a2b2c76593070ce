//! Compares a file with what is known of it, and with the rows of the ledger.

use permille_ledger::{ArchiveFile, ArchiveRow, Ledger};
use serde::Serialize;

use crate::{
    ArchiveError, Place, S3Options,
    read::{fetch, tally},
    tally::Tally,
};

/// Rows that are read of the ledger at once.
const ROWS_AT_ONCE: u32 = 20_000;

/// What a file is beside what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It has the bytes, rows and sums that it was written with.
    Same,
    /// It is not there.
    Missing,
    /// Its bytes are others.
    Changed,
    /// Its rows add up to something else.
    Differs,
}

/// What the ledger has beside a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    /// The same rows and sums.
    Same,
    /// Rows that came or got their price later: the next run writes the file anew.
    Due,
    /// As many rows, and other sums.
    Differs,
    /// Its rows have left the ledger.
    Dropped,
}

/// How a file compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// With what is known of it.
    pub file: FileState,
    /// With the rows of the ledger.
    pub ledger: LedgerState,
}

impl Checked {
    /// Whether somebody has to look at it.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        self.file != FileState::Same || self.ledger == LedgerState::Differs
    }
}

/// Reads a file back and compares it.
///
/// # Errors
/// [`ArchiveError`] when it or the ledger cannot be read; bytes that are others are none.
pub async fn check(
    ledger: &Ledger,
    file: &ArchiveFile,
    options: &S3Options,
) -> Result<Checked, ArchiveError> {
    let place = Place::of(file, options)?;
    let file_state = match fetch(&place, file.day, file.part).await? {
        None => FileState::Missing,
        Some(fetched) if (fetched.bytes, &fetched.sha256) != (file.bytes, &file.sha256) => {
            FileState::Changed
        }
        Some(fetched) => {
            let is_of = tally(file.day, fetched)?.is_of(file);
            if is_of { FileState::Same } else { FileState::Differs }
        }
    };
    Ok(Checked { file: file_state, ledger: beside(ledger, file).await? })
}

async fn beside(ledger: &Ledger, file: &ArchiveFile) -> Result<LedgerState, ArchiveError> {
    if !ledger.holds_rows_of(file).await? {
        return Ok(LedgerState::Dropped);
    }
    let mut tally = Tally::default();
    let mut last: Option<ArchiveRow> = None;
    loop {
        let mut rows = ledger.usage_of_day(file.day, last.as_ref(), ROWS_AT_ONCE).await?;
        for row in &rows {
            tally.add_row(file.day, row)?;
        }
        last = rows.pop();
        if last.is_none() {
            break;
        }
    }
    Ok(if tally.is_of(file) {
        LedgerState::Same
    } else if (tally.rows, tally.held) == (file.rows, file.held) {
        LedgerState::Differs
    } else {
        LedgerState::Due
    })
}
