//! A store of its own for each test, and a way past the ledger to what is in it: on `SQLite` a
//! file, in the binary `ledger_postgres` a database.

use permille_ledger::StoreAddress;
use sqlx::{AssertSqlSafe, ConnectOptions, SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

#[allow(dead_code, reason = "the suite on files needs a part of it")]
pub(crate) mod postgres;

/// The store of one test.
pub(crate) struct Database {
    pub(crate) address: StoreAddress,
    pool: Pool,
}

enum Pool {
    /// Each use connects anew, as another program would.
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(postgres::Lent),
}

/// A lock that keeps every writer out, as another process may hold it.
pub(crate) enum Lock {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Database {
    /// An empty one.
    pub(crate) async fn new(folder: &TempDir) -> Self {
        if env!("CARGO_CRATE_NAME") == "ledger_postgres" {
            let lent = postgres::lend().await;
            Self { address: lent.address(), pool: Pool::Postgres(lent) }
        } else {
            let path = folder.path().join("permille.db");
            let options = SqliteConnectOptions::new().filename(&path);
            Self { address: path.into(), pool: Pool::Sqlite(Box::new(options)) }
        }
    }

    pub(crate) async fn value(&self, sql: &'static str) -> i64 {
        match &self.pool {
            Pool::Sqlite(options) => {
                let mut connection = options.connect().await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Pool::Postgres(lent) => {
                let sql = format!("select cast(value as bigint) from ({sql}) as found (value)");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(lent.pool()).await.unwrap()
            }
        }
    }

    pub(crate) async fn lines(&self, sql: &'static str) -> Vec<String> {
        match &self.pool {
            Pool::Sqlite(options) => {
                let mut connection = options.connect().await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
            Pool::Postgres(lent) => {
                let sql = sql.replace("json_array(", "jsonb_build_array(");
                let sql = format!("select cast(line as text) from ({sql}) as found (line)");
                let lines = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
                let lines = lines.fetch_all(lent.pool()).await.unwrap();
                lines.into_iter().map(as_sqlite_writes).collect()
            }
        }
    }

    pub(crate) async fn tamper(&self, sql: &'static str) {
        self.attempt(sql).await.unwrap();
    }

    /// Runs a statement that the store may refuse; then what it says.
    pub(crate) async fn attempt(&self, sql: &str) -> Result<(), String> {
        let done = match &self.pool {
            Pool::Sqlite(options) => {
                let mut connection = options.connect().await.unwrap();
                sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.map(drop)
            }
            Pool::Postgres(lent) => {
                let sql = postgres::translated(sql);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(lent.pool()).await.map(drop)
            }
        };
        done.map_err(|error| error.to_string())
    }

    pub(crate) async fn lock(&self) -> Lock {
        match &self.pool {
            Pool::Sqlite(options) => {
                let pool = SqlitePool::connect_lazy_with(SqliteConnectOptions::clone(options));
                Lock::Sqlite(pool.begin_with("begin immediate").await.unwrap())
            }
            Pool::Postgres(lent) => {
                let write = "begin; select pg_advisory_xact_lock(1885696621)";
                Lock::Postgres(lent.pool().begin_with(write).await.unwrap())
            }
        }
    }

    /// A reader in the midst of a transaction that has asked `sql`.
    #[allow(dead_code, reason = "the suite on files has no such test")]
    pub(crate) async fn reading(&self, sql: &'static str) -> Lock {
        match &self.pool {
            Pool::Sqlite(options) => {
                let pool = SqlitePool::connect_lazy_with(SqliteConnectOptions::clone(options));
                let mut reader = pool.begin().await.unwrap();
                sqlx::query(sql).execute(&mut *reader).await.unwrap();
                Lock::Sqlite(reader)
            }
            Pool::Postgres(lent) => {
                let mut reader = lent.pool().begin().await.unwrap();
                sqlx::query(sql).execute(&mut *reader).await.unwrap();
                Lock::Postgres(reader)
            }
        }
    }

    /// Every byte of it on disk.
    pub(crate) async fn bytes(&self) -> Vec<u8> {
        match &self.pool {
            Pool::Sqlite(options) => {
                let files = std::fs::read_dir(options.get_filename().parent().unwrap()).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Pool::Postgres(lent) => lent.bytes().await,
        }
    }
}

/// An array of JSON without the blanks that `PostgreSQL` puts into it; other lines as they are.
fn as_sqlite_writes(line: String) -> String {
    match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(value) if value.is_array() => value.to_string(),
        _ => line,
    }
}

impl Lock {
    /// Writes what others see once the lock is released.
    pub(crate) async fn write(&mut self, sql: &'static str) {
        match self {
            Self::Sqlite(transaction) => {
                sqlx::query(sql).execute(&mut **transaction).await.unwrap();
            }
            Self::Postgres(transaction) => {
                sqlx::query(sql).execute(&mut **transaction).await.unwrap();
            }
        }
    }

    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await.unwrap(),
            Self::Postgres(transaction) => transaction.commit().await.unwrap(),
        }
    }
}
