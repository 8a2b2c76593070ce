//! A connection to either engine, in or out of a transaction.

use std::{
    io::{self, ErrorKind},
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{Database, Executor, Postgres, Sqlite, pool::PoolConnection};

/// A connection, in or out of a transaction. It goes back to its pool when it is dropped.
pub(crate) enum Connection {
    Sqlite(Held<Sqlite>),
    Postgres(Held<Postgres>),
}

pub(crate) struct Held<DB: Database> {
    place: Place<DB>,
    /// How long a statement waits for its answer.
    answer_max: Duration,
}

enum Place<DB: Database> {
    Bare(PoolConnection<DB>),
    Begun(sqlx::Transaction<'static, DB>),
}

impl<DB: Database> Held<DB> {
    pub(super) fn get(&mut self) -> &mut DB::Connection {
        match &mut self.place {
            Place::Bare(connection) => connection,
            Place::Begun(transaction) => transaction,
        }
    }

    /// How long to wait for what is asked with [`Self::get`].
    pub(super) fn answer_max(&self) -> Duration {
        self.answer_max
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self.place {
            Place::Begun(transaction) => answered(self.answer_max, transaction.commit()).await,
            // Each of its statements was committed when it was done.
            Place::Bare(_) => Ok(()),
        }
    }
}

/// The answer of a server, or an error when there is none for so long: a server whose machine has
/// lost its power ends no connection.
pub(crate) async fn answered<T>(
    answer_max: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    // In a box, or the futures of all callers grow by two of it.
    tokio::time::timeout(answer_max, Box::pin(answer)).await.unwrap_or_else(|_| {
        let what = format!("no answer within {} s", answer_max.as_secs());
        Err(sqlx::Error::Io(io::Error::new(ErrorKind::TimedOut, what)))
    })
}

impl From<PoolConnection<Sqlite>> for Connection {
    fn from(connection: PoolConnection<Sqlite>) -> Self {
        Self::Sqlite(Held { place: Place::Bare(connection), answer_max: Duration::MAX })
    }
}

impl Connection {
    /// A connection whose statements wait so long for their answers.
    pub(crate) fn of_server(connection: PoolConnection<Postgres>, answer_max: Duration) -> Self {
        Self::Postgres(Held { place: Place::Bare(connection), answer_max })
    }

    /// Whether what only `PostgreSQL` has can be asked for.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs a text that binds nothing and answers nothing.
    async fn run(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(held) => held.get().execute(text).await.map(drop),
            Self::Postgres(held) => {
                answered(held.answer_max(), held.get().execute(text)).await.map(drop)
            }
        }
    }
}

/// A transaction of either engine; dropping it undoes it.
pub(crate) struct Transaction {
    connection: Connection,
}

impl From<sqlx::Transaction<'static, Sqlite>> for Transaction {
    fn from(transaction: sqlx::Transaction<'static, Sqlite>) -> Self {
        let held = Held { place: Place::Begun(transaction), answer_max: Duration::MAX };
        Self { connection: Connection::Sqlite(held) }
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Transaction {
    /// A transaction whose statements wait so long for their answers.
    pub(crate) fn of_server(
        transaction: sqlx::Transaction<'static, Postgres>,
        answer_max: Duration,
    ) -> Self {
        let held = Held { place: Place::Begun(transaction), answer_max };
        Self { connection: Connection::Postgres(held) }
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.connection {
            Connection::Sqlite(held) => held.commit().await,
            Connection::Postgres(held) => held.commit().await,
        }
    }

    /// Begins a part that [`Self::keep_part`] keeps and [`Self::undo_part`] undoes. Without either,
    /// it shares the end of the transaction.
    pub(crate) async fn begin_part(&mut self) -> Result<(), sqlx::Error> {
        self.run("savepoint part").await
    }

    pub(crate) async fn keep_part(&mut self) -> Result<(), sqlx::Error> {
        self.run("release savepoint part").await
    }

    pub(crate) async fn undo_part(&mut self) -> Result<(), sqlx::Error> {
        self.run("rollback to savepoint part").await?;
        self.keep_part().await
    }
}
