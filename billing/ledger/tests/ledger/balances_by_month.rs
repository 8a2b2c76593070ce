//! Which months' usage a prepaid balance counts: those that its grants can pay.
//! Limits and what is left of them are in hundredths.

use permille_ledger::NewGrant;
use permille_types::Flag;

use crate::{
    balances::{becomes, credit, grant, in_zone, left, look, reach},
    interims::{acme, used},
    support::{Books, at},
};

/// `acme`, metered since October and with a prepaid plan since November; it is 20 November.
async fn metered_before() -> Books {
    let (books, finance) = in_zone("UTC", "usage", "2026-10-01T00:00:00Z").await;
    let from = Some(at("2026-11-01T00:00:00Z"));
    books.ledger.assign_plan(&acme(), "credit", from, &finance).await.unwrap();
    books
}

fn since(amount: &str, from: &str) -> NewGrant {
    NewGrant { from: Some(at(from)), ..credit(amount) }
}

#[tokio::test]
async fn a_month_that_no_grant_can_pay_takes_nothing_of_them_invoiced_or_not() {
    let books = metered_before().await;
    books.accept(&[used(&books, 1, "2026-10-15", 1_000)]).await;

    grant(&books, &since("100", "2026-11-01T00:00:00Z")).await;

    assert_eq!((reach(&books), left(&books).await), (Some(11_000), 10_000));
    books.accept(&[used(&books, 2, "2026-11-15", 3_000)]).await;
    // What is booked late of October is none of it either, after a look.
    books.accept(&[used(&books, 3, "2026-10-16", 500)]).await;
    becomes(&books, "2026-11-20T12:00:00Z").await;
    assert_eq!(left(&books).await, 70_00);
    books.issue("2026-10").await;
    look(&books).await;
    assert_eq!(left(&books).await, 70_00);
    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.issue("2026-11").await;
    look(&books).await;
    assert_eq!(left(&books).await, 70_00);
}

#[tokio::test]
async fn late_usage_of_such_a_month_is_drawn_once_by_the_invoice_that_bills_it() {
    let books = metered_before().await;
    books.accept(&[used(&books, 1, "2026-10-15", 1_000)]).await;
    books.issue("2026-10").await;
    grant(&books, &since("100", "2026-11-01T00:00:00Z")).await;
    books.accept(&[used(&books, 2, "2026-10-16", 200), used(&books, 3, "2026-11-15", 3_000)]).await;

    becomes(&books, "2026-12-02T00:00:00Z").await;
    books.issue("2026-11").await;
    look(&books).await;

    assert_eq!(left(&books).await, 68_00, "November's invoice draws 30 and October's 2");
}

#[tokio::test]
async fn an_older_grant_pays_its_month_and_what_it_cannot_pay_takes_nothing_of_newer_ones() {
    for (tokens, rest) in [(300, 10_200), (1_000, 10_000)] {
        let books = metered_before().await;
        grant(&books, &since("5", "2026-10-01T00:00:00Z")).await;
        books.accept(&[used(&books, 1, "2026-10-15", tokens)]).await;

        grant(&books, &since("100", "2026-11-01T00:00:00Z")).await;

        assert_eq!(left(&books).await, rest, "{tokens} used in October");
        books.issue("2026-10").await;
        look(&books).await;
        assert_eq!(left(&books).await, rest, "{tokens} invoiced");
    }
}

#[tokio::test]
async fn usage_that_was_never_counted_takes_and_gives_nothing() {
    let books = metered_before().await;
    grant(&books, &since("50", "2026-10-01T00:00:00Z")).await;
    books.accept(&[used(&books, 1, "2026-10-15", 1_000)]).await;
    books.issue("2026-10").await;
    // As of a store that is older than what counts spending by day.
    books.tamper("delete from spending_day").await;

    becomes(&books, "2026-11-20T12:00:00Z").await;

    assert_eq!((reach(&books), left(&books).await), (Some(40_00), 40_00));
}

#[tokio::test]
async fn what_the_built_in_provider_served_before_is_counted_once() {
    let books = metered_before().await;
    books.clock.set("2026-10-20T10:00:00Z");
    let mut played = used(&books, 1, "2026-10-20", 400);
    played.flags = vec![Flag::Simulated];
    books.accept(&[played]).await;
    books.clock.set("2026-11-20T10:00:00Z");

    grant(&books, &since("100", "2026-11-01T00:00:00Z")).await;

    assert_eq!((reach(&books), left(&books).await), (Some(10_400), 10_000));
}
