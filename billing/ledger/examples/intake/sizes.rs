//! What the tables of a store take on disk.

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions, sqlite};

/// Table, bytes of its rows, bytes of its indexes.
type Size = (String, i64, i64);

/// Partitions are added up under the table that they are of.
const POSTGRES: &str = "
    select cast(coalesce(parent.relname, class.relname) as text),
        cast(sum(pg_table_size(class.oid)) as bigint),
        cast(sum(pg_indexes_size(class.oid)) as bigint)
    from pg_class class
    left join pg_inherits on pg_inherits.inhrelid = class.oid
    left join pg_class parent on parent.oid = pg_inherits.inhparent
    where class.relkind = 'r' and class.relnamespace = 'public'::regnamespace
    group by 1";
const SQLITE: &str = "
    select sqlite_master.tbl_name,
        sum(case when sqlite_master.type = 'table' then dbstat.pgsize else 0 end),
        sum(case when sqlite_master.type = 'index' then dbstat.pgsize else 0 end)
    from dbstat
    join sqlite_master on sqlite_master.name = dbstat.name
    group by 1";

/// Prints bytes for each of `events` of the tables that take most, and what a row of usage has.
pub(crate) async fn print(store: &str, events: usize) {
    let mut sizes: Vec<Size> = if store.starts_with("postgres:") {
        let options: PgConnectOptions = store.parse().expect("a database");
        let mut connection = options.connect().await.expect("a database");
        let mut row = async |what: &str| {
            let sql = format!("select cast(avg(pg_column_size({what})) as bigint) from usage");
            let size = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql));
            size.fetch_one(&mut connection).await.expect("a size")
        };
        let (whole, ids) = (row("usage.*").await, row("request_id").await);
        println!("a row of usage has {whole} bytes, {ids} of them its id");
        let sizes = sqlx::query_as(POSTGRES).fetch_all(&mut connection).await.expect("sizes");
        connection.close().await.expect("a database");
        sizes
    } else {
        let options = sqlite::SqliteConnectOptions::new().filename(store);
        let mut connection = options.connect().await.expect("a file");
        let sizes = sqlx::query_as(SQLITE).fetch_all(&mut connection).await.expect("sizes");
        connection.close().await.expect("a file");
        sizes
    };
    sizes.sort_by_key(|(_, rows, indexes)| std::cmp::Reverse(rows + indexes));
    let events = i64::try_from(events).expect("a count");
    println!("bytes for each event:");
    for (table, rows, indexes) in sizes.into_iter().take(8) {
        println!("  {table}: {} and {} of indexes", rows / events, indexes / events);
    }
}
