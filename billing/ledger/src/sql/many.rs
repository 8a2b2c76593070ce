//! Statements over many rows at once: what would else be a statement for each of them.
//!
//! The text is that of one row, `values ($1, $2, …)`, and is spelled for each engine: `PostgreSQL`
//! takes an array for each column, however many rows there are, so that one statement is prepared
//! once; `SQLite` takes rows one after the other, in groups of a few sizes for the same reason.
//!
//! What is asked for by many keys is `with asked (…) as (values ($1, …)) select … from asked cross
//! join …`: `SQLite` looks each of them up in that order, and reads a whole table for `(a, b) in
//! (values …)`.

use std::borrow::Cow;

use sqlx::{Arguments, AssertSqlSafe, Postgres, Sqlite, error::BoxDynError};

use super::{Connection, Done, Row, answered, arguments, value::Value};

/// Rows of one statement on `SQLite`, so that many share its way to the thread that runs it. With
/// the 21 columns of usage they stay far below the 32,766 values that a statement may bind.
const GROUP_ROWS_MAX: usize = 32;

/// A statement whose `values ($1, …)` stands for the rows that are added to it.
pub(crate) fn many<'q>(text: &'static str) -> Many<'q> {
    Many { text, rows: 0, values: Vec::new() }
}

#[must_use = "a statement does nothing until it is executed"]
pub(crate) struct Many<'q> {
    text: &'static str,
    rows: usize,
    /// All values of the first row, then those of the second one.
    values: Vec<Value<'q>>,
}

/// The parts of a text round its row, and how many values a row has.
struct Parts {
    before: &'static str,
    columns: usize,
    after: &'static str,
}

impl<'q> Many<'q> {
    /// Adds a row: as many values as the text has `$n`, in their order.
    pub(crate) fn row(&mut self, values: impl IntoIterator<Item = Value<'q>>) {
        self.rows = self.rows.saturating_add(1);
        self.values.extend(values);
    }

    /// How many rows were changed; none where there are none to write.
    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<Done, sqlx::Error> {
        let mut rows_affected = 0_u64;
        if self.rows > 0 {
            let Self { text, rows, values } = self;
            let parts = Parts::of(text, rows, values.len())?;
            match connection {
                Connection::Sqlite(held) => {
                    for (sql, values) in parts.groups(values) {
                        let arguments = arguments::<Sqlite>(values)?;
                        let done = sqlx::query_with(AssertSqlSafe(sql), arguments);
                        let done = done.execute(held.get()).await?.rows_affected();
                        rows_affected = rows_affected.saturating_add(done);
                    }
                }
                Connection::Postgres(held) => {
                    let (sql, arguments) = parts.arrays(values)?;
                    let done = sqlx::query_with(AssertSqlSafe(sql), arguments);
                    let done = done.persistent(keeps_its_plan(text));
                    let done = answered(held.answer_max(), done.execute(held.get()));
                    rows_affected = done.await?.rows_affected();
                }
            }
        }
        Ok(Done { rows_affected })
    }

    /// What the statement answers, in no order; nothing where it has no rows.
    pub(crate) async fn fetch_all<R: Row>(
        self,
        connection: &mut Connection,
    ) -> Result<Vec<R>, sqlx::Error> {
        let mut found = Vec::new();
        if self.rows > 0 {
            let Self { text, rows, values } = self;
            let parts = Parts::of(text, rows, values.len())?;
            match connection {
                Connection::Sqlite(held) => {
                    for (sql, values) in parts.groups(values) {
                        let arguments = arguments::<Sqlite>(values)?;
                        let rows = sqlx::query_as_with(AssertSqlSafe(sql), arguments);
                        found.extend(rows.fetch_all(held.get()).await?);
                    }
                }
                Connection::Postgres(held) => {
                    let (sql, arguments) = parts.arrays(values)?;
                    let rows = sqlx::query_as_with(AssertSqlSafe(sql), arguments);
                    let rows = rows.persistent(keeps_its_plan(text));
                    found = answered(held.answer_max(), rows.fetch_all(held.get())).await?;
                }
            }
        }
        Ok(found)
    }
}

/// Whether `PostgreSQL` may keep the plan of a statement. A join of a batch's keys with a table
/// that was small when it was planned reads all of that table, until statistics are gathered again;
/// so it is planned anew. What only inserts has no join. `plan_cache_mode` would do the same to the
/// checks of foreign keys, which are a statement for each row.
fn keeps_its_plan(text: &str) -> bool {
    text.starts_with("insert")
}

impl Parts {
    fn of(text: &'static str, rows: usize, values: usize) -> Result<Self, sqlx::Error> {
        let parts = text.split_once("values (").and_then(|(before, rest)| {
            let (row, after) = rest.split_once(')')?;
            Some(Self { before, columns: row.matches('$').count(), after })
        });
        // Each statement runs in a test, so that this is no surprise later.
        parts.filter(|parts| parts.columns.checked_mul(rows) == Some(values)).ok_or_else(|| {
            sqlx::Error::Configuration(format!("{values} values in {rows} rows: {text}").into())
        })
    }

    /// The statements of `SQLite`, in groups whose sizes are powers of two: each is prepared once.
    fn groups<'q>(&self, values: Vec<Value<'q>>) -> Vec<(String, Vec<Value<'q>>)> {
        let mut groups = Vec::new();
        let mut left = values.into_iter();
        loop {
            let rows = left.len().checked_div(self.columns).unwrap_or_default();
            let power = rows.checked_ilog2().and_then(|power| 1_usize.checked_shl(power));
            let Some(power) = power else { return groups };
            let group = GROUP_ROWS_MAX.min(power);
            let bound = group.saturating_mul(self.columns);
            groups.push((self.group(group), left.by_ref().take(bound).collect()));
        }
    }

    fn group(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        format!("{}values {}{}", self.before, vec![row; rows].join(", "), self.after)
    }

    /// The statement of `PostgreSQL`.
    fn arrays(
        &self,
        values: Vec<Value<'_>>,
    ) -> Result<(String, sqlx::postgres::PgArguments), sqlx::Error> {
        let mut columns: Vec<Column<'_>> =
            values.iter().take(self.columns).map(Column::of).collect();
        let mut values = values.into_iter();
        while values.len() > 0 {
            for (column, value) in columns.iter_mut().zip(values.by_ref()) {
                column.push(value)?;
            }
        }
        let arrays = columns.iter().zip(1..);
        let arrays = arrays.map(|(column, number)| format!("${number}::{}[]", column.kind()));
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        let mut arguments = <Postgres as sqlx::Database>::Arguments::default();
        for column in columns {
            column.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        let Self { before, after, .. } = self;
        Ok((format!("{before}select * from unnest({arrays}){after}"), arguments))
    }
}

/// The values of a column, all of one kind.
enum Column<'q> {
    Text(Vec<Option<Cow<'q, str>>>),
    Integer(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl<'q> Column<'q> {
    fn of(value: &Value<'q>) -> Self {
        match value {
            Value::Text(_) => Self::Text(Vec::new()),
            Value::Integer(_) => Self::Integer(Vec::new()),
            Value::Bytes(_) => Self::Bytes(Vec::new()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "bigint",
            Self::Bytes(_) => "bytea",
        }
    }

    fn push(&mut self, value: Value<'q>) -> Result<(), sqlx::Error> {
        match (self, value) {
            (Self::Text(all), Value::Text(text)) => all.push(text),
            (Self::Integer(all), Value::Integer(integer)) => all.push(integer),
            (Self::Bytes(all), Value::Bytes(bytes)) => all.push(bytes.map(Cow::into_owned)),
            (column, _) => {
                let refused = format!("a column of {} has another value", column.kind());
                return Err(sqlx::Error::Configuration(refused.into()));
            }
        }
        Ok(())
    }

    fn bind(self, arguments: &mut sqlx::postgres::PgArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Text(all) => arguments.add(all),
            Self::Integer(all) => arguments.add(all),
            Self::Bytes(all) => arguments.add(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "insert into t (a, b) values ($1, $2) on conflict (a) do nothing";

    fn rows(count: i64) -> Vec<Value<'static>> {
        (0..count).flat_map(|n| [Value::from(n), Value::from("b")]).collect()
    }

    #[test]
    fn sqlite_takes_groups_of_few_sizes_and_leaves_no_row_out() {
        let parts = Parts::of(TEXT, 71, 142).unwrap();

        let groups = parts.groups(rows(71));

        let sizes: Vec<usize> = groups.iter().map(|(_, values)| values.len() / 2).collect();
        assert_eq!(sizes, [32, 32, 4, 2, 1]);
        let two = "insert into t (a, b) values (?, ?), (?, ?) on conflict (a) do nothing";
        assert_eq!(groups[3].0, two);
        let ids = groups.iter().flat_map(|(_, values)| values.iter().step_by(2));
        let ids = ids.map(|id| if let Value::Integer(Some(id)) = id { *id } else { -1 });
        assert!(ids.eq(0..71));
    }

    #[test]
    fn postgres_takes_one_array_for_each_column() {
        let parts = Parts::of(TEXT, 3, 6).unwrap();

        let (text, arguments) = parts.arrays(rows(3)).unwrap();

        let wanted = "insert into t (a, b) select * from unnest($1::bigint[], $2::text[]) \
                      on conflict (a) do nothing";
        assert_eq!(text, wanted);
        assert_eq!(arguments.len(), 2);
    }

    #[test]
    fn rows_that_do_not_fit_the_text_are_refused() {
        assert!(Parts::of(TEXT, 2, 3).is_err());
        assert!(Parts::of("insert into t default values", 1, 1).is_err());
        let parts = Parts::of(TEXT, 1, 2).unwrap();
        let mixed = vec![Value::from(1_i64), Value::from("b"), Value::from("c"), Value::from("d")];
        assert!(parts.arrays(mixed).is_err());
    }
}
