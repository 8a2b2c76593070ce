//! Old days of usage are dropped once nothing needs them, and nothing that was billed changes.

use chrono::{NaiveDate, TimeDelta};
use permille_ledger::{
    InferredOutcome, LedgerError, NewDispute, Page, QuarantineReason, Resolution, Role,
    SummaryFilter, UsageDay, UsageDrop, UsageFilter,
};
use permille_types::{Ended, UsageEvent};

use crate::{
    archives::file,
    support::{Books, at, batch, request_id},
};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Three requests on each of four days of November and one of December, in three sessions.
fn events(books: &Books) -> Vec<UsageEvent> {
    let days = ["2026-11-05", "2026-11-06", "2026-11-20", "2026-11-21", "2026-12-02"];
    let made = |number: u32| {
        let (place, session) = (usize::try_from(number / 3).unwrap(), number % 3);
        let mut event = books.event(number);
        event.at = at(&format!("{}T10:00:0{session}Z", days[place]));
        event.session = format!("chat-{session}").parse().unwrap();
        event.turn = u32::try_from(place).unwrap() + 1;
        if place == 3 && session == 1 {
            event.ended = Ended::ClientGone;
        }
        event
    };
    // One of the sessions has none in December.
    (0..14).map(made).collect()
}

/// A ledger with [`events`] whose November is billed and closed.
async fn closed(books: &Books) -> Vec<UsageEvent> {
    let events = events(books);
    books.accept(&events).await;
    books.clock.set("2027-01-02T10:00:00Z");
    books.issue("2026-11").await;
    close(books, "2026-11").await;
    events
}

async fn close(books: &Books, period: &str) {
    let (operator, finance) =
        (books.as_role(Role::Operator).await, books.as_role(Role::Finance).await);
    books.ledger.prepare_close(period, &finance).await.unwrap();
    for by in [operator, finance] {
        books.ledger.sign_close(period, Some("a test"), &by).await.unwrap();
    }
}

/// Days and why they are kept.
async fn drop_before(books: &Books, before: &str, only_look: bool) -> UsageDrop {
    books.ledger.drop_usage(day(before), None, only_look).await.unwrap()
}

fn refusal<T>(answer: Result<T, LedgerError>) -> String {
    answer.map(|_| "it is answered from rows that are gone").unwrap_err().to_string()
}

#[tokio::test]
async fn a_dropped_day_changes_no_sum_and_what_needs_its_rows_says_so() {
    let books = Books::open().await;
    let events = closed(&books).await;
    let (page, acme) = (Page::default(), books.key.key.customer.clone());
    let invoices = books.ledger.invoices(None, &page).await.unwrap();
    let sessions = books.ledger.sessions(None, &page).await.unwrap();
    let rest = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !line.starts_with("[\"usage\"")).collect()
    };
    let before = rest(books.dump().await);

    let looked = drop_before(&books, "2026-11-21", true).await;
    assert_eq!(books.value("select count(*) from usage").await, 14);
    let dropped = drop_before(&books, "2026-11-21", false).await;

    let gone = |text: &str| UsageDay { day: day(text), requests: Some(3), kept: None };
    assert_eq!(dropped.days, ["2026-11-05", "2026-11-06", "2026-11-20"].map(gone));
    assert_eq!(looked, dropped);
    assert_eq!(books.value("select count(*) from usage").await, 5);
    assert_eq!(rest(books.dump().await), before);
    assert_eq!(drop_before(&books, "2026-11-21", false).await, UsageDrop::default());
    assert_eq!(books.ledger.sessions(None, &page).await.unwrap(), sessions);
    assert_eq!(books.ledger.last_turn(&acme, &events[0].session).await.unwrap(), 5);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());

    let since = |text: &str| Some(at(&format!("{text}T00:00:00Z")));
    let old = UsageFilter { since: since("2026-11-01"), ..UsageFilter::default() };
    let one = UsageFilter { request: Some(events[0].request_id), ..UsageFilter::default() };
    let sums = SummaryFilter { since: since("2026-11-06"), ..SummaryFilter::default() };
    let id = invoices.items[0].id.clone();
    for refused in [
        refusal(books.ledger.usage(&old, &page).await),
        refusal(books.ledger.summary(&sums).await),
        refusal(books.ledger.summary(&SummaryFilter::default()).await),
        refusal(books.ledger.invoice_records(&id, &page).await),
        refusal(books.ledger.session(&acme, &events[0].session).await),
    ] {
        assert!(refused.contains("`2026-11-20` was dropped"), "{refused}");
        assert!(refused.contains("since 2026-11-21T00:00:00Z"), "{refused}");
    }
    let refused = refusal(books.ledger.usage(&one, &page).await);
    assert!(refused.contains("`2026-11-05` was dropped"), "{refused}");
    let kept = UsageFilter { since: since("2026-11-21"), ..UsageFilter::default() };
    assert_eq!(books.ledger.usage(&kept, &page).await.unwrap().items.len(), 5);
    let all = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
    assert_eq!(all.len(), 5, "a list without a beginning ends where rows end");
    assert!(all.iter().all(|row| row.billed_cost.is_none()), "shares need the whole month");
}

#[tokio::test]
async fn where_days_are_archived_only_what_lies_in_a_file_is_dropped() {
    let books = Books::open().await;
    closed(&books).await;
    books.ledger.record_archive(&file("2026-11-05", 0, (3, 0), 0)).await.unwrap();
    // One row came after this file was written.
    books.ledger.record_archive(&file("2026-11-06", 0, (2, 0), 3)).await.unwrap();
    let more = books.ledger.record_archive(&file("2026-11-20", 0, (4, 0), 6)).await.unwrap_err();
    assert!(more.to_string().contains("lost rows while file:///archive"), "{more}");

    let found = drop_before(&books, "2026-11-07", false).await;

    let kept = Some("it is not archived, as other days are".to_owned());
    let (gone, stays) = (day("2026-11-05"), day("2026-11-06"));
    assert_eq!(
        found.days,
        [
            UsageDay { day: gone, requests: Some(3), kept: None },
            UsageDay { day: stays, requests: None, kept },
        ]
    );
    assert_eq!(books.value("select count(*) from usage").await, 11);
    books.ledger.record_archive(&file("2026-11-06", 0, (3, 0), 3)).await.unwrap();
    let found = drop_before(&books, "2026-11-07", false).await;
    assert_eq!(found.days, [UsageDay { day: stays, requests: Some(3), kept: None }]);
}

#[tokio::test]
async fn what_comes_again_after_the_drop_is_known_and_later_set_aside_and_never_billed_twice() {
    let books = Books::open().await;
    let events = closed(&books).await;
    drop_before(&books, "2026-11-21", false).await;
    let before = books.dump().await;

    let again = books.accept(&events).await;
    let mut other = events[0].clone();
    other.latency_ms += 1;
    let conflict = books.accept(&[other]).await;

    assert_eq!((again.booked, again.duplicates, conflict.conflicts), (0, 14, 1));
    assert_eq!(books.dump().await, before);

    // One that is late for a dropped day is booked, and its day goes again.
    let mut late = events[0].clone();
    late.request_id = request_id(1_000);
    assert_eq!(books.accept(&[late.clone()]).await.booked, 1);
    let kept = drop_before(&books, "2026-11-21", false).await.days.remove(0).kept.unwrap();
    assert_eq!(kept, "usage of acme in 2026-11 is on no issued invoice");
    books.issue("2026-12").await;
    let gone = drop_before(&books, "2026-11-21", false).await;
    assert_eq!((gone.days.len(), gone.days[0].requests), (1, Some(1)));

    // Only keys of dropped days go.
    assert_eq!(books.ledger.forget_keys(day("2027-01-01")).await.unwrap(), 10);
    assert_eq!(books.ledger.forget_keys(day("2027-01-01")).await.unwrap(), 0);
    let rows = books.value("select count(*) from usage").await;
    let again = books.ledger.accept(&batch("n1", 1, &events)).await.unwrap();
    assert_eq!((again.booked, again.duplicates, again.quarantined), (0, 5, 9));
    assert_eq!(books.value("select count(*) from usage").await, rows);
    let kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    let old = |reason| kept.iter().filter(|kept| kept.reason == reason).count();
    assert_eq!(old(QuarantineReason::OutOfRange), 9);
    assert!(kept.iter().any(|kept| kept.detail.contains("whose keys are gone")), "{kept:?}");
}

#[tokio::test]
async fn a_day_is_kept_while_anything_needs_it() {
    let books = Books::open().await;
    let mut events = events(&books);
    events[0].model_requested = "unheard-of".parse().unwrap();
    books.accept(&events).await;
    books.clock.set("2027-01-02T10:00:00Z");
    let why = |found: UsageDrop| -> Vec<String> {
        found.days.into_iter().filter_map(|day| day.kept).collect()
    };

    let open = why(drop_before(&books, "2026-11-21", false).await);
    assert_eq!(open, ["the month 2026-11 is not closed"; 3]);

    books.draft("2026-11").await;
    close(&books, "2026-11").await;
    let drafted = why(drop_before(&books, "2026-11-21", false).await);
    assert_eq!(drafted.len(), 3);
    assert!(drafted[0].contains("2026-11 is not issued"), "{drafted:?}");

    let finance = books.as_role(Role::Finance).await;
    books.ledger.reopen_period("2026-11", "to issue it", &finance).await.unwrap();
    books.issue("2026-11").await;
    close(&books, "2026-11").await;
    // One that comes late is on the invoice of December, whose draft needs it.
    let mut late = events[3].clone();
    late.request_id = request_id(1_000);
    books.accept(&[late]).await;
    let late = why(drop_before(&books, "2026-11-21", false).await);
    let (held, unbilled) = (
        "1 requests are held for want of a price",
        "usage of acme in 2026-11 is on no issued invoice",
    );
    assert_eq!(late, [held, unbilled, unbilled]);
    books.draft("2026-12").await;
    let drafted = why(drop_before(&books, "2026-11-21", false).await);
    assert_eq!(drafted.len(), 3);
    assert!(drafted[0].contains("2026-11 is not issued: acme (draft)"), "{drafted:?}");

    let invoice = books.issue("2026-12").await.id.unwrap();
    close(&books, "2026-12").await;
    let reason = "we cancelled that run".to_owned();
    let over_all = NewDispute { line: None, request: None, reason };
    let dispute = books.ledger.open_dispute(&invoice, &over_all, &finance).await.unwrap();
    let disputed = why(drop_before(&books, "2026-12-03", true).await);
    assert!(
        disputed.iter().any(|why| why.contains("dispute over the month 2026-12 is open")),
        "{disputed:?}"
    );
    let answer = Resolution { is_accepted: false, note: "it ran".to_owned(), credit_note: None };
    books.ledger.resolve_dispute(&dispute.id, &answer, &finance).await.unwrap();
    let found = drop_before(&books, "2026-11-21", false).await;
    assert_eq!(found.days.len(), 3, "the other days are dropped");
    assert_eq!(why(found), [held]);
    assert_eq!(books.value("select count(*) from usage").await, 8);
}

#[tokio::test]
async fn a_session_that_goes_on_after_its_day_was_dropped_ends_as_its_last_request_did() {
    let books = Books::open().await;
    let mut first = books.event(1);
    first.at = at("2026-11-05T10:00:00Z");
    first.session = "chat".parse().unwrap();
    let mut last = books.event(2);
    (last.at, last.turn) = (at("2026-12-02T10:00:00Z"), 2);
    (last.session, last.ended) = (first.session.clone(), Ended::ClientGone);
    books.accept(&[first]).await;
    books.clock.set("2027-01-02T10:00:00Z");
    books.issue("2026-11").await;
    close(&books, "2026-11").await;
    assert_eq!(drop_before(&books, "2026-11-06", false).await.days[0].kept, None);
    books.accept(&[last]).await;
    let before = books.ledger.sessions(None, &Page::default()).await.unwrap();
    books.issue("2026-12").await;
    close(&books, "2026-12").await;

    assert_eq!(drop_before(&books, "2026-12-03", false).await.days[0].kept, None);

    assert_eq!(books.value("select count(*) from usage").await, 0);
    let after = books.ledger.sessions(None, &Page::default()).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(after.items[0].inferred_outcome, InferredOutcome::Abandoned);
}

/// Nobody bills the first of them, so their days are kept for ever.
#[tokio::test]
async fn however_many_days_are_kept_later_ones_are_dropped() {
    let books = Books::open().await;
    let kept_days = 401;
    let first = at("2025-09-20T10:00:00Z");
    let old = (0..kept_days).map(|number| {
        let mut event = books.event(number);
        event.at = first + TimeDelta::days(number.into());
        event
    });
    let mut last = books.event(kept_days);
    last.at = at("2026-11-05T10:00:00Z");
    books.accept(&old.chain([last]).collect::<Vec<_>>()).await;
    books.clock.set("2027-01-02T10:00:00Z");
    books.issue("2026-11").await;
    close(&books, "2026-11").await;

    let found = drop_before(&books, "2026-11-06", false).await;

    assert_eq!(found.days.iter().filter(|day| day.kept.is_some()).count(), 401);
    let gone = UsageDay { day: day("2026-11-05"), requests: Some(1), kept: None };
    assert_eq!(found.days.last(), Some(&gone));
}
