//! A store in a file. Writes go through one connection, so they queue here, in order, instead of
//! failing on the file's lock. All settings that durability rests on are made here and nowhere
//! else.

use std::{path::Path, time::Duration};

use sqlx::{
    Arguments, SqlitePool,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

use super::{
    Engine, READ_WAIT_MAX, READERS_MAX, STATEMENTS_MAX, WRITE_WAIT_MAX, migrator, refused,
};
use crate::{LedgerError, error::During};

/// Begins the writing transaction: takes the file's lock first.
pub(super) const WRITE: &str = "begin immediate";

/// How long `SQLite` waits for another process's lock, such as a backup's.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the first connection is tried, and how long between: two seconds in all, a hundred
/// times what another process takes to set the journal mode of a new file.
const CONNECT_TRIES_MAX: u32 = 100;
const CONNECT_RETRY_WAIT: Duration = Duration::from_millis(20);

/// Opens the file: its readers and its writer.
pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), LedgerError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT_MAX)
        .statement_cache_capacity(STATEMENTS_MAX);
    let pool = |connections, wait| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(wait)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let writer = connect(pool(1, WRITE_WAIT_MAX), options.clone())
        .await
        .map_err(|cause| LedgerError::Open { store: path.display().to_string(), cause })?;
    migrate(&writer, path).await?;
    let readers = pool(READERS_MAX, READ_WAIT_MAX).connect_lazy_with(options.read_only(true));
    Ok((readers, writer))
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

/// Writes a copy of the store, as it is when this begins, into a file that is not there yet.
/// Writers go on meanwhile.
///
/// Source: `SQLite`, "VACUUM", "VACUUM with an INTO clause".
pub(super) async fn copy_to(readers: &SqlitePool, path: &Path) -> Result<(), LedgerError> {
    let name = path.to_str().ok_or_else(|| {
        LedgerError::invalid("file of the copy", &path.display(), "a path in UTF-8")
    })?;
    let mut reader = readers.acquire().await.during("wait for a reading connection")?;
    let copied = sqlx::query_with("vacuum into $1", {
        let mut arguments = SqliteArguments::default();
        arguments.add(name).map_err(sqlx::Error::Encode).during("name the copy")?;
        arguments
    });
    copied.execute(&mut *reader).await.during("copy the store")?;
    Ok(())
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
    let migrator = migrator(Engine::Sqlite);
    let mut tx = writer.begin_with(WRITE).await.during("begin migrations")?;
    // `run` does the same, but its bound on connections is too narrow for a future that is `Send`.
    migrator
        .run_direct(None, &mut *tx, false)
        .await
        .map_err(|cause| refused(path.display().to_string(), cause, &migrator))?;
    tx.commit().await.during("commit migrations")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreAddress};

    fn address(folder: &tempfile::TempDir) -> StoreAddress {
        StoreAddress::Sqlite(folder.path().join("permille.db"))
    }

    #[tokio::test]
    async fn a_store_opens_again_with_its_migrations_done() {
        let folder = tempfile::tempdir().unwrap();

        Store::open(&address(&folder)).await.unwrap().close().await;
        Store::open(&address(&folder)).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn every_commit_reaches_the_disk_and_foreign_keys_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (_, writer) = open(&folder.path().join("permille.db")).await.unwrap();
        let mut tx = writer.begin_with(WRITE).await.unwrap();

        let pragma = |text: &'static str| sqlx::query_scalar::<_, String>(text);
        let mode = pragma("select journal_mode from pragma_journal_mode");
        assert_eq!(mode.fetch_one(&mut *tx).await.unwrap(), "wal");
        let full = pragma("select cast(synchronous as text) from pragma_synchronous");
        assert_eq!(full.fetch_one(&mut *tx).await.unwrap(), "2");
        let keys = pragma("select cast(foreign_keys as text) from pragma_foreign_keys");
        assert_eq!(keys.fetch_one(&mut *tx).await.unwrap(), "1");
    }
}
