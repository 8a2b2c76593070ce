//! How far a store's tables are, without changing anything.

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::{Engine, StoreAddress, migrator};
use crate::LedgerError;

/// How far a store's tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreVersion {
    /// The newest migration that the store has; absent before it has any.
    pub found: Option<i64>,
    /// The newest one that this build knows.
    pub known: i64,
    /// Those that this build knows and the store has not.
    pub pending: Vec<i64>,
}

impl StoreVersion {
    pub(crate) async fn of(address: &StoreAddress) -> Result<Self, LedgerError> {
        let (engine, applied) = match address {
            StoreAddress::Sqlite(path) if !path.exists() => (Engine::Sqlite, Ok(Vec::new())),
            StoreAddress::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).read_only(true);
                (Engine::Sqlite, in_file(&options).await)
            }
            StoreAddress::Postgres(address) => {
                (Engine::Postgres, in_database(&address.options()).await)
            }
        };
        let applied =
            applied.map_err(|cause| LedgerError::Open { store: address.to_string(), cause })?;
        let known: Vec<i64> = migrator(engine).iter().map(|one| one.version).collect();
        Ok(Self {
            found: applied.iter().max().copied(),
            pending: known.iter().filter(|one| !applied.contains(one)).copied().collect(),
            known: known.into_iter().max().unwrap_or_default(),
        })
    }
}

const APPLIED: &str = "select version from _sqlx_migrations where success order by version";

async fn in_file(options: &SqliteConnectOptions) -> Result<Vec<i64>, sqlx::Error> {
    let mut connection = options.connect().await?;
    let tables = "select count(*) from sqlite_master where name = '_sqlx_migrations'";
    let made: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await?;
    let applied = match made {
        0 => Vec::new(),
        _ => sqlx::query_scalar(APPLIED).fetch_all(&mut connection).await?,
    };
    connection.close().await?;
    Ok(applied)
}

async fn in_database(options: &sqlx::postgres::PgConnectOptions) -> Result<Vec<i64>, sqlx::Error> {
    let mut connection = options.connect().await?;
    let made = "select to_regclass('_sqlx_migrations') is not null";
    let made: bool = sqlx::query_scalar(made).fetch_one(&mut connection).await?;
    let applied = if made {
        sqlx::query_scalar(APPLIED).fetch_all(&mut connection).await?
    } else {
        Vec::new()
    };
    connection.close().await?;
    Ok(applied)
}
