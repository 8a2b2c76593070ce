//! All that the store holds, so that two states of it can be compared.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, ConnectOptions, sqlite::SqliteConnectOptions};

use crate::support::Api;

/// Runs a statement against the store itself, as a damaged or foreign program would.
pub(super) async fn tamper(api: &Api, sql: String) {
    let options = SqliteConnectOptions::new().filename(api.store());
    let mut store = options.connect().await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut store).await.unwrap();
}

/// Every row of every table, as text.
pub(super) struct Rows(BTreeMap<String, String>);

impl Rows {
    pub(super) async fn of(api: &Api) -> Self {
        let options = SqliteConnectOptions::new().filename(api.store()).read_only(true);
        let mut store = options.connect().await.unwrap();
        let tables: Vec<String> = sqlx::query_scalar(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'",
        )
        .fetch_all(&mut store)
        .await
        .unwrap();
        let mut rows = BTreeMap::new();
        for table in tables {
            let columns: String = sqlx::query_scalar(
                "select group_concat('quote(\"' || name || '\")', ' || '', '' || ')
                 from pragma_table_info($1)",
            )
            .bind(&table)
            .fetch_one(&mut store)
            .await
            .unwrap();
            let all = format!("select {columns} from \"{table}\" order by 1");
            let all: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(all)).fetch_all(&mut store).await.unwrap();
            rows.insert(table, all.join("\n"));
        }
        Self(rows)
    }

    /// Asserts that nothing has changed since.
    pub(super) async fn assert_kept(&self, api: &Api, operation: &str, after: &str) {
        let now = Self::of(api).await;
        for (table, rows) in &self.0 {
            assert_eq!(&now.0[table], rows, "{operation}: {after} changed `{table}`");
        }
    }
}
