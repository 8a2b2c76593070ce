//! The database file: many readers, one writer, tables brought up to date when it opens.
//!
//! Writes go through one connection, so they queue here, in order, instead of failing on the
//! file's lock. All settings that durability rests on are made here and nowhere else.

use std::{borrow::Cow, path::Path, time::Duration};

use sqlx::{
    Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{Migration, MigrationType, Migrator},
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
        let writer =
            pool(1).connect_with(options.clone()).await.during("open store for writing")?;
        migrator()
            .run(&writer)
            .await
            .map_err(|cause| LedgerError::Migrate { path: path.to_owned(), cause: cause.into() })?;
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
