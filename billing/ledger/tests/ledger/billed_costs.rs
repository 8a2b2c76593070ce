//! What a request was billed: its share of the lines of issued invoices.

use std::collections::BTreeMap;

use permille_ledger::{Invoice, Page, Role, UsageFilter, UsageRow};
use permille_types::{Currency, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{Books, add_customer, add_key, at, event};

const CHARGE: &str = "[[charge]]\nname = \"tokens\"\ncurrency = \"CNY\"\nkind = \"package\"\n\
                      from = 2026-10-01T00:00:00Z\nsize = \"10\"\nunit = \"0.07\"\n";

/// Event `number` of a day in November, with so many tokens in and out.
fn used(books: &Books, number: u32, day: u32, input: u64, output: u64) -> UsageEvent {
    let mut event = books.event(number);
    event.at = at(&format!("2026-11-{day:02}T12:00:00Z"));
    event.tokens = [(TokenClass::INPUT_UNCACHED, input), (TokenClass::OUTPUT_TEXT, output)].into();
    event
}

async fn rows(books: &Books) -> Vec<UsageRow> {
    books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap().items
}

/// What rows were billed in all; nothing where one does not say.
fn billed(rows: &[UsageRow]) -> Option<Decimal> {
    rows.iter().map(|row| row.billed_cost.as_ref()?.parse::<Decimal>().ok()).sum()
}

fn usage_of(invoice: &Invoice) -> Decimal {
    invoice.lines.iter().filter(|line| line.meter.is_usage()).map(|line| line.amount).sum()
}

#[tokio::test]
async fn shares_of_requests_add_up_to_the_lines_once_these_are_issued() {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_charges(CHARGE, &finance).await.unwrap();
    let events: Vec<_> = (1..=31)
        .map(|number| used(&books, number, number % 28 + 1, u64::from(number) * 97, 100))
        .collect();
    books.accept(&events).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let draft = books.draft("2026-11").await;
    assert!(rows(&books).await.iter().all(|row| row.billed_cost.is_none()), "not before issue");

    let issued = books.issue("2026-11").await;
    let rows = rows(&books).await;

    assert_eq!(draft.lines, issued.lines);
    assert_eq!(billed(&rows), Some(usage_of(&issued)));
    assert!(rows.iter().all(|row| row.cost.is_some()), "the exact cost stays beside it");
    let of = |row: &UsageRow| row.tokens.values().sum::<u64>();
    let mut by_tokens: BTreeMap<u64, Decimal> = BTreeMap::new();
    for row in &rows {
        by_tokens.insert(of(row), row.billed_cost.as_ref().unwrap().parse().unwrap());
    }
    assert!(by_tokens.values().is_sorted(), "who used more was billed more: {by_tokens:?}");
}

#[tokio::test]
async fn equal_requests_share_to_the_last_nano_unit_the_earlier_one_first() {
    let books = Books::open().await;
    // Three of 1,000 tokens at 0.012: 0.036, on the line 0.04, each 0.013333333 and a third.
    let events: Vec<_> = (1..=3).map(|number| used(&books, number, number, 1_000, 0)).collect();
    books.accept(&events).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-11").await;

    let shares: Vec<String> =
        rows(&books).await.into_iter().rev().map(|row| row.billed_cost.unwrap()).collect();

    assert_eq!(shares, ["0.013333334", "0.013333333", "0.013333333"]);
}

#[tokio::test]
async fn shares_are_of_the_customers_own_requests_in_the_month() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    let mut events: Vec<_> = (1..=3).map(|number| used(&books, number, 9, 1_000, 0)).collect();
    let mut theirs = event(4, "other", key.id.as_str());
    (theirs.at, theirs.tokens) = (events[0].at, events[0].tokens.clone());
    theirs.model_requested = events[0].model_requested.clone();
    theirs.model_served = events[0].model_served.clone();
    let mut later = used(&books, 5, 9, 1_000, 0);
    later.at = at("2026-12-01T00:00:00Z");
    events.extend([theirs.clone(), later]);
    books.accept(&events).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let issued = books.issue("2026-11").await;

    let rows = rows(&books).await;
    let (billed_rows, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.billed_cost.is_some());

    assert_eq!((billed_rows.len(), others.len()), (3, 2));
    assert_eq!(billed(&billed_rows), Some(usage_of(&issued)));
    assert!(others.iter().any(|row| row.customer == theirs.customer && row.cost.is_some()));
}

#[tokio::test]
async fn while_late_usage_waits_nobody_it_is_summed_with_has_a_share_and_then_all_have() {
    let books = Books::open().await;
    books.accept(&[used(&books, 1, 5, 1_000, 0), used(&books, 2, 5, 0, 1_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let november = books.issue("2026-11").await;
    assert_eq!(billed(&rows(&books).await), Some(usage_of(&november)));
    books.accept(&[used(&books, 3, 6, 500, 0)]).await;

    let waiting = rows(&books).await;
    books.clock.set("2027-01-02T00:00:00Z");
    let december = books.issue("2026-12").await;
    let after = rows(&books).await;

    let with: Vec<bool> = waiting.iter().map(|row| row.billed_cost.is_some()).collect();
    assert_eq!(with, [false, true, false], "newest first; output has nothing late");
    assert_eq!(billed(&after), Some(usage_of(&november) + usage_of(&december)));
    let finance = books.as_role(Role::Finance).await;
    books.ledger.void_invoice(december.id.as_ref().unwrap(), "again", &finance).await.unwrap();
    let voided = rows(&books).await;
    assert_eq!(voided, waiting, "as if it had never been issued");
}
