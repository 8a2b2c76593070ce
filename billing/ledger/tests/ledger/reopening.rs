//! A ledger that is closed, dropped or opened twice says what it said, and a store that it cannot
//! use is refused by name.

use permille_ledger::{Ledger, LedgerError, Page, StoreAddress, UsageFilter};
use permille_types::Currency;

use crate::support::{Books, add_customer, add_key, batch, event, raw_batch};

/// Why the store does not open, with the causes.
pub(crate) async fn refusal(books: &Books, store: &StoreAddress) -> (LedgerError, String) {
    let error = Ledger::open(books.config(store)).await.err().unwrap();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    (error, text)
}

#[tokio::test]
async fn a_closed_and_reopened_ledger_says_what_it_said() {
    let books = Books::open().await;
    let mut held = books.event(2);
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[books.event(1), held]).await;
    books.ledger.accept(&raw_batch("n2", 5, &[b"no event".to_vec()])).await.unwrap();
    let draft = books.draft("2026-11").await;
    let (file, version) = (books.dump().await, books.ledger.snapshot_version());
    let page = Page::default();
    let filter = UsageFilter::default();
    let usage = books.ledger.usage(&filter, &page).await.unwrap();
    let sessions = books.ledger.sessions(None, &page).await.unwrap();

    books.ledger.close().await;
    let again = books.reopened().await;

    assert_eq!(books.dump().await, file);
    assert_eq!(again.snapshot_version(), version);
    assert_eq!(again.usage(&filter, &page).await.unwrap(), usage);
    assert_eq!(again.sessions(None, &page).await.unwrap(), sessions);
    assert_eq!(again.invoice(draft.id.as_ref().unwrap()).await.unwrap(), draft);
    assert_eq!(again.quarantined(None, &page).await.unwrap().items.len(), 1);
    assert_eq!(again.checkpoints().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_closed_ledger_answers_with_an_error() {
    let books = Books::open().await;

    books.ledger.close().await;

    let error = books.ledger.accept(&batch("n1", 1, &[books.event(1)])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Store { .. }), "{error}");
    assert!(books.ledger.balances().await.is_err());
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_drop_without_a_close() {
    let books = Books::open().await;
    let second = books.reopened().await;
    second.accept(&batch("n1", 1, &[books.event(1)])).await.unwrap();

    drop(second);

    let third = books.reopened().await;
    let rows = third.usage(&UsageFilter::default(), &Page::default()).await.unwrap();
    assert_eq!(rows.items.len(), 1);
}

#[tokio::test]
async fn migrations_run_once() {
    const APPLIED: &str = "select json_array(version, description, installed_on, hex(checksum))
         from _sqlx_migrations order by version";
    let books = Books::open().await;
    let before = books.lines(APPLIED).await;
    books.ledger.close().await;

    books.reopened().await.close().await;

    assert_eq!(before.len(), 42);
    assert_eq!(books.lines(APPLIED).await, before);
}

#[tokio::test]
async fn a_ledger_that_a_newer_build_wrote_is_refused_and_left_as_it_is() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    books.ledger.close().await;
    books
        .tamper(
            "insert into _sqlx_migrations
                 (version, description, installed_on, success, checksum, execution_time)
             values (1000, 'of tomorrow', '2027-01-01', true, x'00', 1)",
        )
        .await;
    let before = books.dump().await;

    let store = books.database.address.to_string();
    let (error, text) = refusal(&books, &books.database.address).await;

    assert!(matches!(error, LedgerError::NewerStore { found: 1000, known: 53, .. }), "{error:?}");
    assert!(text.contains(&store) && text.contains("newer"), "{text}");
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn a_ledger_whose_migrations_were_altered_is_refused() {
    let books = Books::open().await;
    books.ledger.close().await;
    books.tamper("update _sqlx_migrations set checksum = x'00' where version = 3").await;

    let store = books.database.address.to_string();
    let (error, text) = refusal(&books, &books.database.address).await;

    assert!(matches!(error, LedgerError::Migrate { .. }), "{error:?}");
    assert!(text.contains(&store) && text.contains("migration 3"), "{text}");
}

#[tokio::test]
async fn a_second_ledger_books_for_customers_and_prices_that_the_first_one_added() {
    let books = Books::open().await;
    let second = books.reopened().await;
    add_customer(&books.ledger, "later", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "later").await.key;

    let accepted = second.accept(&batch("n2", 1, &[event(1, "later", key.id.as_str())])).await;

    let accepted = accepted.unwrap();
    assert_eq!((accepted.booked, accepted.quarantined, accepted.unpriced), (1, 0, 0));
    assert_eq!(second.snapshot_version(), books.ledger.snapshot_version());
    let rows = books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap();
    assert_eq!(rows.items.len(), 1);
}
