//! A database is the same store as a file, whatever its server was told, and says what is wrong.

use permille_ledger::{Ledger, LedgerError, PostgresAddress, Role, StoreAddress};

use crate::{
    database::postgres::create,
    reopening::refusal,
    support::{Books, add_customer},
};

#[tokio::test]
async fn ledgers_that_open_the_same_empty_database_at_once_all_open() {
    let books = Books::open().await;
    let database = create("").await;

    let open = || tokio::spawn(Ledger::open(books.config(&database.address())));
    let opening = [open(), open(), open(), open(), open()];

    for ledger in opening {
        let ledger = ledger.await.unwrap().map_err(|error| format!("{error:?}")).unwrap();
        ledger.create_token(Role::Admin, None).await.unwrap();
    }
}

#[tokio::test]
async fn every_text_is_ordered_by_its_bytes_and_every_integer_has_64_bits() {
    let books = Books::open().await;

    let other = books
        .lines(
            "select table_name || '.' || column_name || ' ' || data_type
                 || ' ' || coalesce(collation_name, 'of the database')
             from information_schema.columns
             where table_schema = 'public'
               and table_name <> '_sqlx_migrations'
               and (data_type, coalesce(collation_name, '')) not in
                   (('text', 'C'), ('bigint', ''), ('bytea', ''))
             order by 1",
        )
        .await;

    assert_eq!(other, Vec::<String>::new());
    let order = "select value from (values ('b'), ('B'), ('a')) as v (value) order by value";
    assert_eq!(books.lines(order).await, ["a", "b", "B"], "the database itself does otherwise");
}

#[tokio::test]
async fn the_password_is_used_and_never_shown() {
    const PASSWORD: &str = "not/a:secret@all";
    let books = Books::open().await;
    let database = create("").await;
    database.run("create role guarded superuser login password 'not/a:secret@all'").await;

    let (error, text) = refusal(&books, &database.guarded("another:secret")).await;
    assert!(matches!(error, LedgerError::Open { .. }), "{text}");
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("another:secret") && !format!("{error:?}").contains("another:secret"));

    let ledger = Ledger::open(books.config(&database.guarded(PASSWORD))).await.unwrap();
    ledger.create_token(Role::Admin, None).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_a_store_is_named_at_once() {
    let books = Books::open().await;
    let address = |url: &str| StoreAddress::Postgres(PostgresAddress::new(url, None).unwrap());
    let latin = create("encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0").await;

    for (store, why) in [
        (address("postgres://bill@127.0.0.1:1/ledger"), "refused"),
        (address("postgres://bill@%2Fno%2Fsuch%2Fsocket/ledger"), "No such file"),
        (latin.address(), "its encoding is LATIN1, accepted: UTF8"),
    ] {
        let (error, text) = refusal(&books, &store).await;
        assert!(matches!(error, LedgerError::Open { .. }), "{text}");
        assert!(text.contains(&store.to_string()) && text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_database_that_gives_too_few_connections_is_refused_before_there_is_traffic() {
    let books = Books::open().await;
    let database = create("connection limit 3").await;
    database
        .run(
            "create role clerk login connection limit 4;
             do $$ begin execute format('alter database %I owner to clerk', current_database()); end $$",
        )
        .await;
    let address =
        |most| StoreAddress::Postgres(database.address_of("clerk").with_connections(most).unwrap());

    let (error, text) = refusal(&books, &address(4)).await;
    assert!(matches!(error, LedgerError::Open { .. }), "{text}");
    assert!(text.contains("it gives 3 connections, accepted: 4"), "{text}");

    let ledger = Ledger::open(books.config(&address(3))).await.unwrap();
    ledger.create_token(Role::Admin, None).await.unwrap();
}

#[tokio::test]
async fn every_commit_reaches_the_disk_also_where_the_server_was_told_otherwise() {
    let books = Books::open().await;
    let database = create("").await;
    database
        .run(
            "do $$
             declare here text := format('alter database %I set ', current_database());
             begin
                 execute here || 'synchronous_commit = off';
                 execute here || 'default_transaction_isolation = serializable';
             end $$",
        )
        .await;
    let ledger = Ledger::open(books.config(&database.address())).await.unwrap();
    database
        .run(
            "create function told() returns trigger language plpgsql as $$ begin
                 if current_setting('synchronous_commit') <> 'on'
                     or current_setting('transaction_isolation') <> 'read committed'
                 then raise exception 'commits are lost'; end if;
                 return new;
             end $$;
             create trigger told before insert on customer for each row execute function told()",
        )
        .await;

    add_customer(&ledger, "acme", permille_types::Currency::CNY, "UTC").await;
}
