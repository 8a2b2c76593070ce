//! Statements: one text, run on whichever engine the connection is of.
//!
//! Reads as `sqlx` does: `sql::query(text).bind(value).execute(connection)`. The texts use the
//! subset that `SQLite` and `PostgreSQL` share, `$n` for what is bound, and stand in the `repo.rs`
//! of their noun. What is bound and read is text, 64-bit integers and bytes, so that both engines
//! store and answer the same.

mod connection;
mod many;
mod row;
mod value;

use std::marker::PhantomData;

use sqlx::{Arguments, Database, FromRow, Postgres, Sqlite, postgres::PgRow, sqlite::SqliteRow};

pub(crate) use connection::{Connection, Transaction, answered};
pub(crate) use many::many;
pub(crate) use row::row;
use value::Fits;
pub(crate) use value::Value;

/// A row that reads from both engines; [`row!`] makes one.
pub(crate) trait Row: Send + Unpin
where
    Self: for<'r> FromRow<'r, SqliteRow>,
    Self: for<'r> FromRow<'r, PgRow>,
{
}

impl<R> Row for R
where
    R: Send + Unpin,
    R: for<'r> FromRow<'r, SqliteRow>,
    R: for<'r> FromRow<'r, PgRow>,
{
}

/// A statement that answers how many rows it changed.
pub(crate) fn query<'q>(text: &'static str) -> Query<'q> {
    Query { text, values: Vec::new() }
}

/// A statement that answers rows.
pub(crate) fn query_as<'q, R: Row>(text: &'static str) -> QueryAs<'q, R> {
    QueryAs { query: query(text), row: PhantomData }
}

/// A statement that answers one column.
pub(crate) fn query_scalar<'q, T>(text: &'static str) -> QueryScalar<'q, T>
where
    (T,): Row,
{
    QueryScalar { query: query_as(text) }
}

/// What a statement did.
pub(crate) struct Done {
    rows_affected: u64,
}

impl Done {
    pub(crate) fn rows_affected(&self) -> u64 {
        self.rows_affected
    }
}

#[must_use = "a statement does nothing until it is executed"]
pub(crate) struct Query<'q> {
    text: &'static str,
    values: Vec<Value<'q>>,
}

impl<'q> Query<'q> {
    /// Binds the next `$n`.
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<Done, sqlx::Error> {
        let Self { text, values } = self;
        let rows_affected = match connection {
            Connection::Sqlite(held) => {
                let done = sqlx::query_with(text, arguments::<Sqlite>(values)?);
                done.execute(held.get()).await?.rows_affected()
            }
            Connection::Postgres(held) => {
                let done = sqlx::query_with(text, arguments::<Postgres>(values)?);
                answered(held.answer_max(), done.execute(held.get())).await?.rows_affected()
            }
        };
        Ok(Done { rows_affected })
    }
}

#[must_use = "a statement does nothing until its rows are fetched"]
pub(crate) struct QueryAs<'q, R> {
    query: Query<'q>,
    row: PhantomData<fn() -> R>,
}

impl<'q, R: Row> QueryAs<'q, R> {
    /// Binds the next `$n`.
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub(crate) async fn fetch_all(
        self,
        connection: &mut Connection,
    ) -> Result<Vec<R>, sqlx::Error> {
        let Query { text, values } = self.query;
        match connection {
            Connection::Sqlite(held) => {
                let rows = sqlx::query_as_with(text, arguments::<Sqlite>(values)?);
                rows.fetch_all(held.get()).await
            }
            Connection::Postgres(held) => {
                let rows = sqlx::query_as_with(text, arguments::<Postgres>(values)?);
                answered(held.answer_max(), rows.fetch_all(held.get())).await
            }
        }
    }

    pub(crate) async fn fetch_optional(
        self,
        connection: &mut Connection,
    ) -> Result<Option<R>, sqlx::Error> {
        let Query { text, values } = self.query;
        match connection {
            Connection::Sqlite(held) => {
                let row = sqlx::query_as_with(text, arguments::<Sqlite>(values)?);
                row.fetch_optional(held.get()).await
            }
            Connection::Postgres(held) => {
                let row = sqlx::query_as_with(text, arguments::<Postgres>(values)?);
                answered(held.answer_max(), row.fetch_optional(held.get())).await
            }
        }
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<R, sqlx::Error> {
        self.fetch_optional(connection).await?.ok_or(sqlx::Error::RowNotFound)
    }
}

#[must_use = "a statement does nothing until its rows are fetched"]
pub(crate) struct QueryScalar<'q, T>
where
    (T,): Row,
{
    query: QueryAs<'q, (T,)>,
}

impl<'q, T> QueryScalar<'q, T>
where
    (T,): Row,
{
    /// Binds the next `$n`.
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub(crate) async fn fetch_all(
        self,
        connection: &mut Connection,
    ) -> Result<Vec<T>, sqlx::Error> {
        let rows = self.query.fetch_all(connection).await?;
        Ok(rows.into_iter().map(|(value,)| value).collect())
    }

    pub(crate) async fn fetch_optional(
        self,
        connection: &mut Connection,
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.query.fetch_optional(connection).await?.map(|(value,)| value))
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<T, sqlx::Error> {
        self.query.fetch_one(connection).await.map(|(value,)| value)
    }
}

fn arguments<DB>(values: Vec<Value<'_>>) -> Result<DB::Arguments, sqlx::Error>
where
    DB: Fits,
    DB: Database,
{
    let mut arguments = DB::Arguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        DB::add(&mut arguments, value).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
