//! Archive: which days of usage lie in files outside the store, and what those files hold.
//!
//! Not the files themselves: `permille-archive` writes and reads them.

mod repo;

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use permille_types::{RequestId, TokenClass};
use serde::Serialize;

use crate::{
    Ledger, LedgerError, UsageRow, column,
    store::Connection,
    usage::{self, StoredUsage},
};

/// One file and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveFile {
    /// The UTC day on which its requests were admitted.
    pub day: NaiveDate,
    /// 0; more only where rows came after those of the earlier parts had left the store.
    pub part: u32,
    /// Its URL.
    pub location: String,
    /// The request of its first row.
    pub first_request: RequestId,
    /// Its rows.
    pub rows: u64,
    /// Those of them without a price.
    pub held: u64,
    /// Tokens by class, summed.
    pub tokens: BTreeMap<TokenClass, u64>,
    /// Exact costs by currency, summed: decimals.
    pub amounts: BTreeMap<String, String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// When it was complete.
    pub archived_at: DateTime<Utc>,
}

/// A day of which some row is in no file as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueDay {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// The part that is to be written, in the place of one that is there or anew.
    pub part: u32,
    /// Rows that the store has of it.
    pub rows: u64,
}

/// A row as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRow {
    /// What was used.
    pub usage: UsageRow,
    /// The place of its record among those of its customer's month.
    pub record: Option<u64>,
    /// Which one it was of the held rows of its month that have a price.
    pub priced_as: Option<u64>,
}

impl From<StoredUsage> for ArchiveRow {
    fn from(stored: StoredUsage) -> Self {
        let (record, priced_as) = (stored.leaf, stored.priced_as);
        Self { usage: UsageRow::from(stored), record, priced_as }
    }
}

/// A UTC day as `[start, end)` in the store's microseconds.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    start: i64,
    end: i64,
}

impl Stretch {
    fn of(day: NaiveDate) -> Self {
        let end = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
        Self { start: midnight(day), end: midnight(end) }
    }
}

fn midnight(day: NaiveDate) -> i64 {
    column::micros(day.and_time(NaiveTime::MIN).and_utc())
}

/// What the store has of a day beside its files.
struct Standing {
    rows: u64,
    held: u64,
    last: Option<ArchiveFile>,
    /// Whether the rows of `last` are still in the store: a day leaves it whole or not at all.
    is_last_here: bool,
}

impl Standing {
    async fn of(connection: &mut Connection, day: NaiveDate) -> Result<Self, LedgerError> {
        let stretch = Stretch::of(day);
        let rows = usage::count(connection, stretch.start, stretch.end).await?;
        let rows = column::number("count of usage", rows)?;
        let held = usage::count_held(connection, stretch.start, stretch.end).await?;
        let held = column::number("count of held usage", held)?;
        let last = repo::last_of(connection, day).await?;
        let is_last_here = match &last {
            None => false,
            Some(file) => repo::holds_first(connection, file).await?,
        };
        Ok(Self { rows, held, last, is_last_here })
    }

    /// The part that is due, if one is.
    fn due(&self) -> Option<u32> {
        match &self.last {
            _ if self.rows == 0 => None,
            None => Some(0),
            Some(last) if !self.is_last_here => Some(last.part.saturating_add(1)),
            Some(last) => ((last.rows, last.held) != (self.rows, self.held)).then_some(last.part),
        }
    }
}

/// Whether every row that the store has of a UTC day lies in a file as it is now, and none of them
/// waits for its price: what is asked, in the same transaction, before the rows of a day are
/// dropped.
pub(crate) async fn is_archived(
    connection: &mut Connection,
    day: NaiveDate,
) -> Result<bool, LedgerError> {
    let standing = Standing::of(connection, day).await?;
    Ok(standing.held == 0 && standing.due().is_none())
}

/// Whether days are archived at all: then only archived ones are dropped.
pub(crate) async fn is_begun(connection: &mut Connection) -> Result<bool, LedgerError> {
    repo::is_begun(connection).await
}

impl Ledger {
    /// Days before `before` that are to be written, oldest first: without a file, or with rows that
    /// came or got their price after it was written.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn due_days(&self, before: NaiveDate) -> Result<Vec<DueDay>, LedgerError> {
        let mut reader = self.store.read().await?;
        let (mut from, end) = (i64::MIN, midnight(before));
        let mut due = Vec::new();
        while let Some(at) = usage::first_at(&mut reader, from, end).await? {
            let day = column::instant("usage.at", at)?.date_naive();
            let standing = Standing::of(&mut reader, day).await?;
            let rows = standing.rows;
            due.extend(standing.due().map(|part| DueDay { day, part, rows }));
            from = Stretch::of(day).end;
        }
        Ok(due)
    }

    /// Whether every row that the store has of a UTC day lies in a file as it is now, and none of
    /// them waits for its price.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn archived(&self, day: NaiveDate) -> Result<bool, LedgerError> {
        let mut view = self.store.view().await?;
        is_archived(&mut view, day).await
    }

    /// Every file, by day.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn archive_files(&self) -> Result<Vec<ArchiveFile>, LedgerError> {
        repo::list(&mut self.store.read().await?).await
    }

    /// Whether the rows of a file are still in the store.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn holds_rows_of(&self, file: &ArchiveFile) -> Result<bool, LedgerError> {
        repo::holds_first(&mut self.store.read().await?, file).await
    }

    /// Rows of a UTC day in the order of admission, after one of them; at most `rows`.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn usage_of_day(
        &self,
        day: NaiveDate,
        after: Option<&ArchiveRow>,
        rows: u32,
    ) -> Result<Vec<ArchiveRow>, LedgerError> {
        let stretch = Stretch::of(day);
        let after = after.map(|row| (column::micros(row.usage.at), row.usage.request_id));
        let mut reader = self.store.read().await?;
        let stored =
            usage::of_stretch(&mut reader, (stretch.start, stretch.end), after, rows.into());
        Ok(stored.await?.into_iter().map(ArchiveRow::from).collect())
    }

    /// Keeps what a file holds that is complete and where it lies, in the place of an earlier one
    /// of the same day and part.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn record_archive(&self, file: &ArchiveFile) -> Result<(), LedgerError> {
        let mut tx = self.store.write().await?;
        let rows = Standing::of(&mut tx, file.day).await?.rows;
        if rows < file.rows || rows == 0 {
            let reason = format!("lost rows while {} was written; it has {rows}", file.location);
            return Err(LedgerError::refused("usage of the day", &file.day, reason));
        }
        repo::put(&mut tx, file).await?;
        self.commit(tx).await
    }
}
