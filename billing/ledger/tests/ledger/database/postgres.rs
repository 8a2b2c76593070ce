//! One server for the binary, one database for each test.

use std::{
    io::ErrorKind,
    path::Path,
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use permille_ledger::{Ledger, LedgerConfig, Pepper, PostgresAddress, StoreAddress};
use permille_types::SystemClock;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

#[path = "../../../../../tests/support/postgres.rs"]
mod server;

use server::{DATABASE, GUARDED, Postgres};

static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);
/// The database that others are copies of: one whose migrations are done.
static TEMPLATE: OnceCell<&str> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What tests say in the words of `SQLite`.
const FUNCTIONS: &str = "
    create function hex(bytea) returns text language sql as 'select encode($1, ''hex'')';
    create function json_extract(text, text) returns text language sql as
        'select jsonb_path_query_first($1::jsonb, $2::jsonpath) #>> ''{}''';
    create function json_array_length(text, text) returns integer language sql as
        'select jsonb_array_length(jsonb_path_query_first($1::jsonb, $2::jsonpath))';
    create function strftime(text, bigint, text) returns text language sql as
        'select to_char(to_timestamp($2) at time zone ''UTC'',
             case $1 when ''%Y-%m'' then ''YYYY-MM'' else ''HH24:MI'' end)';
";

/// A database that is one test's own until it is dropped.
pub(crate) struct Lent {
    name: String,
    pool: PgPool,
}

/// A database with the tables of a ledger.
pub(super) async fn lend() -> Lent {
    let template = TEMPLATE.get_or_init(template).await;
    create(&format!("template {template}")).await
}

/// Makes a database; `what` follows its name.
pub(crate) async fn create(what: &str) -> Lent {
    let lent = Lent::named(format!("books_{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    run(DATABASE, format!("create database {} {what}", lent.name)).await;
    lent
}

async fn template() -> &'static str {
    const NAME: &str = "template_books";
    run(DATABASE, format!("create database {NAME}")).await;
    run(NAME, FUNCTIONS.to_owned()).await;
    let config = LedgerConfig {
        store: address(NAME),
        pepper: Pepper::new([7; 32]),
        clock: std::sync::Arc::new(SystemClock),
    };
    Ledger::open(config).await.unwrap().close().await;
    NAME
}

fn address(database: &str) -> StoreAddress {
    let url = SERVER.url(database);
    StoreAddress::Postgres(PostgresAddress::new(&url, None).unwrap())
}

fn options(database: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(&SERVER.url(database)).unwrap()
}

async fn run(database: &str, sql: String) {
    let mut connection = options(database).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

impl Lent {
    fn named(name: String) -> Self {
        let pool = PgPool::connect_lazy_with(options(&name));
        Self { name, pool }
    }

    /// Where it is for a ledger.
    pub(crate) fn address(&self) -> StoreAddress {
        address(&self.name)
    }

    /// Where it is for a user who is asked for no password.
    pub(crate) fn address_of(&self, user: &str) -> PostgresAddress {
        PostgresAddress::new(&SERVER.url_of(user, &self.name), None).unwrap()
    }

    /// Where it is for the user [`GUARDED`].
    pub(crate) fn guarded(&self, password: &str) -> StoreAddress {
        let url = SERVER.url_of(GUARDED, &self.name);
        let address = PostgresAddress::new(&url, Some(&password.into())).unwrap();
        StoreAddress::Postgres(address)
    }

    /// Runs statements in it.
    pub(crate) async fn run(&self, sql: &str) {
        run(&self.name, sql.to_owned()).await;
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Every byte of the database on disk.
    pub(super) async fn bytes(&self) -> Vec<u8> {
        sqlx::raw_sql("checkpoint").execute(&self.pool).await.unwrap();
        let folder = "select pg_relation_filepath('api_key')";
        let folder: String = sqlx::query_scalar(folder).fetch_one(&self.pool).await.unwrap();
        let file = SERVER.data().join(folder);
        let files = std::fs::read_dir(file.parent().unwrap()).unwrap();
        files.flat_map(|file| still_there(&file.unwrap().path()).unwrap_or_default()).collect()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let sql = format!("drop database {} with (force)", self.name);
        // It takes its time, and nobody waits for it.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(run(DATABASE, sql));
        });
    }
}

/// The bytes of a file of the server. `None` where it is gone since it was listed, as its caches
/// are, which it writes beside their place and moves there whenever a connection finds none.
fn still_there(file: &Path) -> Option<Vec<u8>> {
    match std::fs::read(file) {
        Ok(bytes) => Some(bytes),
        Err(cause) => {
            assert_eq!(cause.kind(), ErrorKind::NotFound, "{}: {cause}", file.display());
            None
        }
    }
}

/// A trigger of `SQLite` as one of `PostgreSQL`; any other statement as it is.
pub(super) fn translated(sql: &str) -> String {
    let trigger = sql.strip_prefix("create trigger boom ").and_then(|rest| {
        let (event, _) = rest.split_once("begin select raise(abort")?;
        Some(event.split_once(" when ").unwrap_or((event, "true")))
    });
    match trigger {
        Some((event, condition)) => format!(
            "create function boom() returns trigger language plpgsql as $$ begin
                 if {condition} then raise exception 'boom'; end if;
                 return new;
             end $$;
             create trigger boom {event} for each row execute function boom()"
        ),
        None if sql == "drop trigger boom" => "drop function boom cascade".to_owned(),
        None if sql.starts_with("drop trigger ") => {
            let name = sql.trim_start_matches("drop trigger ");
            let (table, _) = name.rsplit_once("_no_").unwrap();
            format!("{sql} on {table}")
        }
        None => sql.replace("x'00'", r"'\x00'"),
    }
}
