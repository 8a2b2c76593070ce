//! The database: many readers, one writer, tables brought up to date when it opens.
//!
//! [`sqlite`] and [`postgres`] say how each engine gives the same guarantees: a view that stays as
//! it is, a writing transaction that no other one runs beside, and a commit that is on the disk.

mod address;
mod postgres;
mod sqlite;
mod version;

use std::{borrow::Cow, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{LedgerError, error::During, sql};

pub use address::{PostgresAddress, StoreAddress};
pub(crate) use sql::Connection;
pub use version::StoreVersion;

/// Connections for reading: pages and API calls that may run at once. Each costs a thread with
/// `SQLite` and a server process with `PostgreSQL`.
const READERS_MAX: u32 = 4;
/// How long a call waits for a connection to read before it fails.
const READ_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long it waits for its turn to write: as long as commands wait for an answer. Two hundred
/// invoices that are issued at once are two hundred turns, and a busy machine takes its time.
const WRITE_WAIT_MAX: Duration = Duration::from_mins(2);
/// Prepared statements kept per connection: more than there are statements.
const STATEMENTS_MAX: usize = 256;

pub(crate) enum Store {
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
    /// Statements wait for their answers for `answer_max`.
    Postgres {
        readers: PgPool,
        writer: PgPool,
        answer_max: Duration,
    },
}

impl Store {
    pub(crate) async fn open(address: &StoreAddress) -> Result<Self, LedgerError> {
        match address {
            StoreAddress::Sqlite(path) => {
                let (readers, writer) = sqlite::open(path).await?;
                Ok(Self::Sqlite { readers, writer })
            }
            StoreAddress::Postgres(address) => {
                let (readers, writer) = postgres::open(address).await?;
                Ok(Self::Postgres { readers, writer, answer_max: address.answer_max() })
            }
        }
    }

    /// A connection for one read.
    pub(crate) async fn read(&self) -> Result<Connection, LedgerError> {
        let connection = match self {
            Self::Sqlite { readers, .. } => readers.acquire().await.map(Connection::from),
            Self::Postgres { readers, answer_max, .. } => {
                let connection = readers.acquire().await;
                connection.map(|connection| Connection::of_server(connection, *answer_max))
            }
        };
        connection.during("wait for a reading connection")
    }

    /// A view that stays the same over several reads.
    pub(crate) async fn view(&self) -> Result<sql::Transaction, LedgerError> {
        let view = match self {
            Self::Sqlite { readers, .. } => readers.begin().await.map(sql::Transaction::from),
            Self::Postgres { readers, answer_max, .. } => {
                let begun = readers.begin_with(postgres::VIEW);
                let begun = sql::answered(READ_WAIT_MAX.saturating_add(*answer_max), begun).await;
                begun.map(|begun| sql::Transaction::of_server(begun, *answer_max))
            }
        };
        view.during("begin a reading transaction")
    }

    /// The one writing transaction; dropping it undoes it.
    pub(crate) async fn write(&self) -> Result<sql::Transaction, LedgerError> {
        let begun = match self {
            Self::Sqlite { writer, .. } => {
                writer.begin_with(sqlite::WRITE).await.map(sql::Transaction::from)
            }
            Self::Postgres { writer, answer_max, .. } => {
                let begun = writer.begin_with(postgres::WRITE);
                let begun = sql::answered(WRITE_WAIT_MAX.saturating_add(*answer_max), begun).await;
                begun.map(|begun| sql::Transaction::of_server(begun, *answer_max))
            }
        };
        begun.during("begin a writing transaction")
    }

    /// Writes a whole copy of a file's store as it is now into a new file; of a database there is
    /// none to be made here.
    pub(crate) async fn copy_to(&self, path: &std::path::Path) -> Result<bool, LedgerError> {
        let Self::Sqlite { readers, .. } = self else { return Ok(false) };
        sqlite::copy_to(readers, path).await?;
        Ok(true)
    }

    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { readers, writer, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

fn refused(store: String, cause: MigrateError, migrator: &Migrator) -> LedgerError {
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    match cause {
        MigrateError::VersionMissing(found) if found > known => {
            LedgerError::NewerStore { store, found, known }
        }
        cause => LedgerError::Migrate { store, cause: cause.into() },
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

/// The migrations of an engine: one list, one text for both. Where they must differ, a second
/// file stands after the first: `21 "0021_noun.sql" or "postgres/0021_noun.sql"`.
fn migrator(engine: Engine) -> Migrator {
    macro_rules! migrations {
        ($($version:literal $shared:literal $(or $postgres:literal)?),+ $(,)?) => {
            vec![$(migration(
                engine,
                ($version, $shared),
                include_str!(concat!("../migrations/", $shared)),
                None $(.or(Some(include_str!(concat!("../migrations/", $postgres)))))?,
            )),+]
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
        11 "0011_usage_region.sql",
        12 "0012_stored_response.sql",
        13 "0013_estimate.sql",
        14 "0014_turn.sql",
        15 "0015_session_facts.sql",
        16 "0016_invoice_life.sql",
        17 "0017_invoice_paid.sql",
        18 "0018_customer_terms.sql",
        19 "0019_credit_note.sql",
        20 "0020_period_close.sql",
        21 "0021_charge.sql",
        22 "0022_plan.sql",
        23 "0023_credit_grant.sql",
        24 "0024_limit.sql",
        25 "0025_spending.sql",
        26 "0026_record_tree.sql",
        27 "0027_signed_amounts.sql",
        28 "0028_payment.sql",
        29 "0029_fx_rate.sql",
        30 "0030_reconciliation.sql",
        32 "0032_webhook.sql",
        38 "0038_payment_reference.sql",
        39 "0039_webhook_pending.sql",
        40 "0040_usage_row.sql" or "postgres/0040_usage_row.sql",
        41 "0041_usage_drop.sql" or "postgres/0041_usage_drop.sql",
        48 "0048_dispute.sql",
        45 "0045_usage_archive.sql",
        49 "0049_interim_invoice.sql",
        50 "0050_append_only.sql" or "postgres/0050_append_only.sql",
        51 "0051_prepaid_balance.sql",
        52 "0052_quarantine_settled.sql",
        53 "0053_token_codes.sql",
    ])
}

fn migration(
    engine: Engine,
    (version, name): (i64, &'static str),
    shared: &'static str,
    postgres: Option<&'static str>,
) -> Migration {
    let text = match (engine, postgres) {
        (Engine::Sqlite, _) => sqlx::SqlSafeStr::into_sql_str(shared),
        (Engine::Postgres, Some(text)) => sqlx::SqlSafeStr::into_sql_str(text),
        (Engine::Postgres, None) => {
            sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(postgres::spelled(shared)))
        }
    };
    Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "postgres")
            .collect();
        files.sort();

        let listed: Vec<String> = migrator(Engine::Sqlite)
            .iter()
            .map(|migration| migration.description.to_string())
            .collect();
        assert_eq!(listed, files);
    }
}
