//! A connection to either engine, in or out of a transaction.

use std::ops::{Deref, DerefMut};

use sqlx::{Database, Executor, Postgres, Sqlite, pool::PoolConnection};

/// A connection, in or out of a transaction. It goes back to its pool when it is dropped.
pub(crate) enum Connection {
    Sqlite(Held<Sqlite>),
    Postgres(Held<Postgres>),
}

pub(crate) enum Held<DB: Database> {
    Bare(PoolConnection<DB>),
    Begun(sqlx::Transaction<'static, DB>),
}

impl<DB: Database> Held<DB> {
    pub(super) fn get(&mut self) -> &mut DB::Connection {
        match self {
            Self::Bare(connection) => connection,
            Self::Begun(transaction) => transaction,
        }
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Begun(transaction) => transaction.commit().await,
            // Each of its statements was committed when it was done.
            Self::Bare(_) => Ok(()),
        }
    }
}

impl From<PoolConnection<Sqlite>> for Connection {
    fn from(connection: PoolConnection<Sqlite>) -> Self {
        Self::Sqlite(Held::Bare(connection))
    }
}

impl From<PoolConnection<Postgres>> for Connection {
    fn from(connection: PoolConnection<Postgres>) -> Self {
        Self::Postgres(Held::Bare(connection))
    }
}

impl Connection {
    /// Whether what only `PostgreSQL` has can be asked for.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs a text that binds nothing and answers nothing.
    async fn run(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(held) => held.get().execute(text).await.map(drop),
            Self::Postgres(held) => held.get().execute(text).await.map(drop),
        }
    }
}

/// A transaction of either engine; dropping it undoes it.
pub(crate) struct Transaction {
    connection: Connection,
}

impl From<sqlx::Transaction<'static, Sqlite>> for Transaction {
    fn from(transaction: sqlx::Transaction<'static, Sqlite>) -> Self {
        Self { connection: Connection::Sqlite(Held::Begun(transaction)) }
    }
}

impl From<sqlx::Transaction<'static, Postgres>> for Transaction {
    fn from(transaction: sqlx::Transaction<'static, Postgres>) -> Self {
        Self { connection: Connection::Postgres(Held::Begun(transaction)) }
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
