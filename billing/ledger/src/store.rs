//! The database file: many readers, one writer, tables brought up to date when it opens.
//!
//! Writes go through one connection, so they queue here, in order, instead of failing on the
//! file's lock. All settings that durability rests on are made here and nowhere else.

use std::{borrow::Cow, path::Path, time::Duration};

use sqlx::{
    Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{LedgerError, error::During};

/// Connections for reading: pages and API calls that may run at once. Each costs a thread.
const READERS_MAX: u32 = 4;
/// How long a call waits for a connection before it fails: longer than any batch takes.
const ACQUIRE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long `SQLite` waits for another process's lock, such as a backup's.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the first connection is tried, and how long between: two seconds in all, a hundred
/// times what another process takes to set the journal mode of a new file.
const CONNECT_TRIES_MAX: u32 = 100;
const CONNECT_RETRY_WAIT: Duration = Duration::from_millis(20);
/// Prepared statements kept per connection: more than there are statements.
const STATEMENTS_MAX: usize = 256;

/// A connection, in or out of a transaction.
pub(crate) type Connection = SqliteConnection;

pub(crate) struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl Store {
    pub(crate) async fn open(path: &Path) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_WAIT_MAX)
            .statement_cache_capacity(STATEMENTS_MAX);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_WAIT_MAX)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = connect(pool(1), options.clone())
            .await
            .map_err(|cause| LedgerError::Open { path: path.to_owned(), cause })?;
        migrate(&writer, path).await?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.read_only(true));
        Ok(Self { readers, writer })
    }

    /// A connection for one read.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, LedgerError> {
        self.readers.acquire().await.during("wait for a reading connection")
    }

    /// A view that stays the same over several reads.
    pub(crate) async fn view(&self) -> Result<Transaction<'static, Sqlite>, LedgerError> {
        self.readers.begin().await.during("begin a reading transaction")
    }

    /// The one writing transaction; dropping it undoes it.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, LedgerError> {
        self.writer.begin_with("begin immediate").await.during("begin a writing transaction")
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Connects. Of two processes that open a new file at once, one sets the journal mode and the other
/// is told at once that the file is locked, whatever it would wait: so it tries again.
async fn connect(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    for _ in 1..CONNECT_TRIES_MAX {
        match pool.clone().connect_with(options.clone()).await {
            Err(cause) if is_busy(&cause) => tokio::time::sleep(CONNECT_RETRY_WAIT).await,
            done => return done,
        }
    }
    pool.connect_with(options).await
}

/// Whether another process holds the file's lock. The low byte of a code is its primary code.
///
/// Source: `SQLite`, "Result and Error Codes", `SQLITE_BUSY` (5).
fn is_busy(cause: &sqlx::Error) -> bool {
    cause
        .as_database_error()
        .and_then(|refusal| refusal.code()?.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Brings the tables up to date, all or nothing. The transaction takes the file's lock first, so
/// that of two processes that open a new file at once one makes the tables and the other finds
/// them.
async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), LedgerError> {
    let migrator = migrator();
    let mut tx = writer.begin_with("begin immediate").await.during("begin migrations")?;
    // `run` does the same, but its bound on connections is too narrow for a future that is `Send`.
    migrator
        .run_direct(None, &mut *tx, false)
        .await
        .map_err(|cause| refused(path, cause, &migrator))?;
    tx.commit().await.during("commit migrations")
}

fn refused(path: &Path, cause: MigrateError, migrator: &Migrator) -> LedgerError {
    let path = path.to_owned();
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    match cause {
        MigrateError::VersionMissing(found) if found > known => {
            LedgerError::NewerStore { path, found, known }
        }
        cause => LedgerError::Migrate { path, cause: cause.into() },
    }
}

fn migrator() -> Migrator {
    macro_rules! migrations {
        ($($version:literal $name:literal),+ $(,)?) => {
            vec![$(migration($version, $name, include_str!(concat!("../migrations/", $name)))),+]
        };
    }
    Migrator::with_migrations(migrations![
        1 "0001_customer.sql",
        2 "0002_credential.sql",
        3 "0003_price.sql",
        4 "0004_snapshot.sql",
        5 "0005_usage.sql",
        6 "0006_rollup.sql",
        7 "0007_session.sql",
        8 "0008_intake.sql",
        9 "0009_posting.sql",
        10 "0010_invoice.sql",
        11 "0011_usage_region.sql",
        12 "0012_stored_response.sql",
        13 "0013_estimate.sql",
        14 "0014_turn.sql",
        15 "0015_session_facts.sql",
        16 "0016_invoice_life.sql",
        17 "0017_invoice_paid.sql",
        18 "0018_customer_terms.sql",
        19 "0019_credit_note.sql",
        20 "0020_period_close.sql",
    ])
}

fn migration(version: i64, name: &'static str, sql: &'static str) -> Migration {
    let sql = sqlx::SqlSafeStr::into_sql_str(sql);
    Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_opens_again_with_its_migrations_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("permille.db");

        Store::open(&path).await.unwrap().close().await;
        Store::open(&path).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn every_commit_reaches_the_disk_and_foreign_keys_hold() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("permille.db")).await.unwrap();
        let mut tx = store.write().await.unwrap();

        let pragma = |text: &'static str| sqlx::query_scalar::<_, String>(text);
        let mode = pragma("select journal_mode from pragma_journal_mode");
        assert_eq!(mode.fetch_one(&mut *tx).await.unwrap(), "wal");
        let full = pragma("select cast(synchronous as text) from pragma_synchronous");
        assert_eq!(full.fetch_one(&mut *tx).await.unwrap(), "2");
        let keys = pragma("select cast(foreign_keys as text) from pragma_foreign_keys");
        assert_eq!(keys.fetch_one(&mut *tx).await.unwrap(), "1");
    }

    #[test]
    fn every_migration_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();

        let listed: Vec<String> =
            migrator().iter().map(|migration| migration.description.to_string()).collect();
        assert_eq!(listed, files);
    }
}
