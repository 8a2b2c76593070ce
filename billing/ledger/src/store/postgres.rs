//! A store in a database of a `PostgreSQL` server, which several processes may share.
//!
//! Writing transactions take one advisory lock of the database first, so that they run one after
//! the other, as they do on a file: see decision 0014. All settings that this rests on are made
//! here and nowhere else.

use std::time::Duration;

use sqlx::{
    ConnectOptions, Connection as _, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Engine, PostgresAddress, READ_WAIT_MAX, STATEMENTS_MAX, WRITE_WAIT_MAX, migrator, refused,
};
use crate::{LedgerError, error::During, sql};

/// Begins the writing transaction. What it reads later it reads after the lock was taken: each
/// statement of a `read committed` transaction sees all that was committed before that statement.
/// The number is ours, `perm` in ASCII; the lock goes with the transaction, however that ends.
///
/// Source: `PostgreSQL` documentation, "Advisory Locks" and "Read Committed Isolation Level".
pub(super) const WRITE: &str =
    "begin isolation level read committed; select pg_advisory_xact_lock(1885696621)";

/// Begins a view. All of its statements see what was committed before its first one.
pub(super) const VIEW: &str = "begin isolation level repeatable read, read only";

/// What each connection is set to. A commit answers when it is on the disk, also where the server
/// was told otherwise. Nobody waits for another process's lock for longer than for a connection,
/// and a process that stopped in the midst of a transaction loses it, and with it the lock. A
/// server that can (from version 14 on) ends a statement whose connection is closed.
const SETTINGS: &str = "set lock_timeout = '30s';
    set idle_in_transaction_session_timeout = '60s';
    select set_config('client_connection_check_interval', '10s', false)
    where exists (select 1 from pg_settings where name = 'client_connection_check_interval');
    select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') = 'off'";

/// How long a connection that was idle has to answer before it is used. Shorter than callers wait
/// for one, so that they get another.
const IDLE_ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long one has to end what its caller has left, as a statement of a client that is gone.
const RELEASED_ANSWER_MAX: Duration = Duration::from_mins(1);

/// Opens the database: its readers and its writer.
pub(super) async fn open(address: &PostgresAddress) -> Result<(PgPool, PgPool), LedgerError> {
    let released_max = address.answer_max().min(RELEASED_ANSWER_MAX);
    let options =
        address.options().application_name("permille").statement_cache_capacity(STATEMENTS_MAX);
    // A pool says only that it timed out; one connection says what is wrong.
    sql::answered(address.answer_max(), probe(&options, address.connections()))
        .await
        .map_err(|cause| LedgerError::Open { store: address.to_string(), cause })?;
    let pool = |connections, wait| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(wait)
            .after_connect(|connection, _| Box::pin(set_up(connection)))
            // Its own test waits for ever where a server is gone without a word.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(answers(connection, IDLE_ANSWER_MAX)))
            .after_release(move |connection, _| Box::pin(is_free(connection, released_max)))
    };
    let writer = pool(1, WRITE_WAIT_MAX).connect_lazy_with(options.clone());
    migrate(&writer, address).await?;
    let readers = pool(address.readers_max(), READ_WAIT_MAX).connect_lazy_with(options);
    Ok((readers, writer))
}

/// The encoding, and how many connections server, database and role give us in all. The bounds of
/// database and role, of which -1 is none, are not for superusers.
///
/// Source: `PostgreSQL` documentation, "Connections and Authentication", `pg_database`, `pg_roles`.
const PROBE: &str = "
    select
        current_setting('server_encoding'),
        case when rolsuper then cast(current_setting('max_connections') as bigint)
            else least(
                cast(current_setting('max_connections') as bigint)
                    - cast(current_setting('superuser_reserved_connections') as bigint)
                    - coalesce(cast(current_setting('reserved_connections', true) as bigint), 0),
                case when datconnlimit >= 0 then datconnlimit end,
                case when rolconnlimit >= 0 then rolconnlimit end
            )
        end
    from pg_database
    cross join pg_roles
    where datname = current_database()
      and rolname = current_user";

async fn probe(options: &PgConnectOptions, connections: u32) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    let (encoding, given) =
        sqlx::query_as::<_, (String, i64)>(PROBE).fetch_one(&mut connection).await?;
    connection.close().await?;
    let reason = if encoding != "UTF8" {
        format!("its encoding is {encoding}, accepted: UTF8")
    } else if given < i64::from(connections) {
        // Better now than in the midst of traffic.
        format!(
            "it gives {given} connections, accepted: {connections}, as `store.connections` says"
        )
    } else {
        return Ok(());
    };
    Err(sqlx::Error::Configuration(reason.into()))
}

/// Whether a connection answers soon enough. The pool closes one that does not, and makes another.
async fn answers(connection: &mut PgConnection, within: Duration) -> Result<bool, sqlx::Error> {
    Ok(matches!(tokio::time::timeout(within, connection.ping()).await, Ok(Ok(()))))
}

/// Whether a connection has ended what its caller left. The driver counts a transaction once its
/// beginning is answered: one that was given up before is open, and may hold the lock of all that
/// write. Where there is none, this begins one and ends it.
async fn is_free(connection: &mut PgConnection, within: Duration) -> Result<bool, sqlx::Error> {
    let ended = tokio::time::timeout(within, connection.execute("begin; rollback")).await;
    Ok(matches!(ended, Ok(Ok(_))))
}

async fn set_up(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(SETTINGS).await.map(drop)
}

/// Brings the tables up to date, all or nothing. The transaction is a writing one, so that of two
/// processes that open an empty database at once one makes the tables and the other finds them.
async fn migrate(writer: &PgPool, address: &PostgresAddress) -> Result<(), LedgerError> {
    let mut migrator = migrator(Engine::Postgres);
    // The lock of the writing transaction is held already.
    migrator.set_locking(false);
    let mut tx = writer.begin_with(WRITE).await.during("begin migrations")?;
    migrator
        .run_direct(None, &mut *tx, false)
        .await
        .map_err(|cause| refused(address.to_string(), cause, &migrator))?;
    tx.commit().await.during("commit migrations")
}

/// A shared migration as it is spelled here. Text is ordered by its bytes, as `SQLite` orders it,
/// whatever the database's own order is; every integer has 64 bits.
pub(super) fn spelled(shared: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let line = |line: &str| -> String {
        if line.trim_start().starts_with("--") {
            return line.to_owned();
        }
        line.split_inclusive(|c| !is_word(c))
            .map(|part| match part.trim_end_matches(|c| !is_word(c)) {
                "text" => part.replacen("text", "text collate \"C\"", 1),
                "integer" => part.replacen("integer", "bigint", 1),
                _ => part.to_owned(),
            })
            .collect()
    };
    shared.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_migration_is_spelled_for_postgres() {
        let shared = "-- A text of an integer.\ncreate table context (\n    id text not null,\n    \
                      flag integer,\n    note text\n);\n";

        assert_eq!(
            spelled(shared),
            "-- A text of an integer.\ncreate table context (\n    id text collate \"C\" not null,\n    \
             flag bigint,\n    note text collate \"C\"\n);\n"
        );
    }
}
