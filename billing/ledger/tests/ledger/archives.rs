//! Which days of usage are to be written to files, and which a file holds as they are.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use permille_ledger::{ArchiveFile, DueDay};
use permille_types::UsageEvent;

use crate::support::{Books, at, batch, import, request_id};

const TODAY: &str = "2026-11-20";

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn event_at(books: &Books, number: u32, when: &str) -> UsageEvent {
    UsageEvent { at: at(when), ..books.event(number) }
}

async fn arrive(books: &Books, node: &str, events: &[UsageEvent]) {
    books.ledger.accept(&batch(node, 1, events)).await.unwrap();
}

async fn due(books: &Books) -> Vec<(String, u32, u64)> {
    let due = books.ledger.due_days(day(TODAY)).await.unwrap();
    due.into_iter().map(|DueDay { day, part, rows }| (day.to_string(), part, rows)).collect()
}

/// A file of so many rows, the first of them of this request.
pub(crate) fn file(day_text: &str, part: u32, (rows, held): (u64, u64), first: u32) -> ArchiveFile {
    ArchiveFile {
        day: day(day_text),
        part,
        location: format!("file:///archive/day={day_text}/part-{part}.parquet"),
        first_request: request_id(first),
        rows,
        held,
        tokens: BTreeMap::new(),
        amounts: BTreeMap::from([("CNY".to_owned(), "0.054".to_owned())]),
        bytes: 4_321,
        sha256: "00".repeat(32),
        archived_at: at("2026-11-20T10:00:00Z"),
    }
}

#[tokio::test]
async fn a_day_is_due_until_a_file_holds_its_rows_and_again_when_rows_come_or_get_a_price() {
    let books = Books::open().await;
    let unpriced = UsageEvent {
        model_requested: "later".parse().unwrap(),
        ..event_at(&books, 3, "2026-11-19T00:00:00Z")
    };
    let events = [
        event_at(&books, 1, "2026-11-18T00:00:00Z"),
        event_at(&books, 2, "2026-11-18T23:59:59.999999Z"),
        unpriced,
        event_at(&books, 4, "2026-11-20T00:00:00Z"),
    ];
    arrive(&books, "n1", &events).await;
    let archived = async |text| books.ledger.archived(day(text)).await.unwrap();
    let put = async |file| books.ledger.record_archive(&file).await.unwrap();

    let (first, second) = ("2026-11-18".to_owned(), "2026-11-19".to_owned());
    assert_eq!(due(&books).await, [(first.clone(), 0, 2), (second.clone(), 0, 1)]);
    assert!(!archived("2026-11-18").await && archived("2026-11-17").await);

    put(file("2026-11-18", 0, (2, 0), 1)).await;
    put(file("2026-11-19", 0, (1, 1), 3)).await;
    assert_eq!(due(&books).await, []);
    assert!(archived("2026-11-18").await);
    // A row that waits for its price must not be dropped, whatever file it is in.
    assert!(!archived("2026-11-19").await);

    arrive(&books, "n2", &[event_at(&books, 5, "2026-11-18T12:00:00Z")]).await;
    assert_eq!(due(&books).await, [(first.clone(), 0, 3)]);
    assert!(!archived("2026-11-18").await);
    put(file("2026-11-18", 0, (3, 0), 1)).await;

    let price = "[[price]]\nmodel = \"later\"\ncurrency = \"CNY\"\nfrom = 2023-10-01T00:00:00Z\n\
                 source = \"a test\"\ninput = \"1\"\noutput = \"1\"\n";
    import(&books.ledger, price).await;
    books.ledger.rerate_held().await.unwrap();
    assert_eq!(due(&books).await, [(second, 0, 1)]);
    put(file("2026-11-19", 0, (1, 0), 3)).await;

    let files = books.ledger.archive_files().await.unwrap();
    assert_eq!(files, [file("2026-11-18", 0, (3, 0), 1), file("2026-11-19", 0, (1, 0), 3)]);
    assert!(archived("2026-11-19").await);
}

#[tokio::test]
async fn what_comes_after_the_rows_of_a_file_were_dropped_is_a_part_of_its_own() {
    let books = Books::open().await;
    let rows = [1, 2].map(|number| event_at(&books, number, "2026-11-18T10:00:00Z"));
    arrive(&books, "n1", &rows).await;
    let first = file("2026-11-18", 0, (2, 0), 1);
    books.ledger.record_archive(&first).await.unwrap();
    assert!(books.ledger.holds_rows_of(&first).await.unwrap());

    books.tamper("delete from usage").await;
    assert!(!books.ledger.holds_rows_of(&first).await.unwrap());
    assert_eq!(due(&books).await, []);
    assert!(books.ledger.archived(day("2026-11-18")).await.unwrap());

    // As many rows as the file has: they must not take its place.
    let late = [3, 4].map(|number| event_at(&books, number, "2026-11-18T10:00:00Z"));
    arrive(&books, "n2", &late).await;
    assert_eq!(due(&books).await, [("2026-11-18".to_owned(), 1, 2)]);
    assert!(!books.ledger.archived(day("2026-11-18")).await.unwrap());
    books.ledger.record_archive(&file("2026-11-18", 1, (2, 0), 3)).await.unwrap();
    assert_eq!(due(&books).await, []);
}

#[tokio::test]
async fn the_rows_of_a_day_are_read_in_pages_and_none_of_another_day() {
    let books = Books::open().await;
    let rows = [
        event_at(&books, 9, "2026-11-17T23:59:59.999999Z"),
        event_at(&books, 2, "2026-11-18T00:00:00Z"),
        event_at(&books, 1, "2026-11-18T00:00:00Z"),
        event_at(&books, 3, "2026-11-18T23:59:59.999999Z"),
        event_at(&books, 4, "2026-11-19T00:00:00Z"),
    ];
    arrive(&books, "n1", &rows).await;

    let mut read = Vec::new();
    loop {
        let page = books.ledger.usage_of_day(day("2026-11-18"), read.last(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }

    let requests: Vec<_> = read.iter().map(|row| row.usage.request_id).collect();
    assert_eq!(requests, [1, 2, 3].map(request_id));
    assert!(read.iter().all(|row| row.record.is_some() && row.usage.cost.is_some()));
}
