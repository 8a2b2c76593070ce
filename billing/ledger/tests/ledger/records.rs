//! Records behind invoices: an invoice follows from them, and every change of either shows.

use std::collections::BTreeSet;

use permille_ledger::{Invoice, Page, RecordEntry};
use permille_rating::price_book::PriceBook;
use permille_types::{Currency, Flag, Source, TokenClass, UsageEvent};

use crate::{
    evidence::{files, records},
    support::{Books, at, import},
};

/// Event `number` of that instant.
fn on(books: &Books, number: u32, day: &str) -> UsageEvent {
    UsageEvent { at: at(&format!("{day}T12:00:00Z")), ..books.event(number) }
}

/// Three requests of November, two of them with an odd class or flag.
async fn november(books: &Books) -> Invoice {
    let mut estimated = on(books, 2, "2026-11-06");
    estimated.source = Source::Estimated;
    let mut free = on(books, 3, "2026-11-07");
    free.flags.push(Flag::NotBilled);
    books.accept(&[on(books, 1, "2026-11-05"), estimated, free]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-11").await
}

#[tokio::test]
async fn an_invoice_follows_from_its_records_byte_for_byte() {
    let books = Books::with("acme", Currency::CNY, "Asia/Shanghai").await;
    let invoice = november(&books).await;

    let files = files(&books, &invoice, &[]).await;
    let found = files.verify().unwrap();

    assert_eq!(found.differences, Vec::<String>::new());
    assert_eq!(serde_json::to_string(&found.recomputed).unwrap(), files.document);
    assert_eq!((files.records.len(), invoice.records[0].size), (3, 3));
}

#[tokio::test]
async fn a_record_that_is_dropped_added_or_changed_shows() {
    let books = Books::open().await;
    let invoice = november(&books).await;
    let whole = || files(&books, &invoice, &[]);

    let mut dropped = whole().await;
    dropped.records.pop();
    assert!(
        dropped.faults()[0].contains("2 are here, the invoice has 3"),
        "{:?}",
        dropped.faults()
    );

    let mut missing = whole().await;
    missing.records.remove(0);
    assert!(missing.faults().iter().any(|fault| fault.contains("missing between")));

    let mut doubled = whole().await;
    doubled.records.push(doubled.records[0].clone());
    assert!(doubled.faults()[0].contains("among the records twice"), "{:?}", doubled.faults());

    let mut displaced = whole().await;
    displaced.records[1] = displaced.records[1].replace("\"index\":1", "\"index\":0");
    assert!(displaced.faults()[0].contains("have the place 0"), "{:?}", displaced.faults());

    let mut changed = whole().await;
    changed.records[0] = changed.records[0].replace(":1000", ":1001");
    let faults = changed.faults();
    assert!(faults.iter().any(|fault| fault.starts_with("root of 2026-11")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("2000 and 0.02 printed")), "{faults:?}");

    let mut moved = whole().await;
    moved.records[0] = moved.records[0].replace("\"index\":0", "\"index\":9");
    moved.records[1] = moved.records[1].replace("\"index\":1", "\"index\":0");
    moved.records[0] = moved.records[0].replace("\"index\":9", "\"index\":1");
    assert!(moved.faults()[0].starts_with("root of 2026-11"), "{:?}", moved.faults());
}

#[tokio::test]
async fn what_a_document_says_otherwise_shows() {
    let books = Books::open().await;
    let invoice = november(&books).await;
    for (printed, instead, fault) in [
        ("\"total\":\"0.03\"", "\"total\":\"0.04\"", "total: 0.04 printed, 0.03"),
        ("\"quantity\":2000", "\"quantity\":2001", "2001 and 0.02 printed, 2000 and 0.02"),
        ("\"requests\":3,", "\"requests\":4,", "requests: 4 printed, 3 from the records"),
        (
            "\"estimated_quantity\":1500",
            "\"estimated_quantity\":1",
            "estimated_quantity: 1 printed",
        ),
        ("\"name\":\"ACME\"", "\"name\":\"ACNE\"", "seal: it is not that of the content"),
        ("{\"version\"", "{ \"version\"", "text of the invoice"),
    ] {
        let mut changed = files(&books, &invoice, &[]).await;
        assert!(changed.document.contains(printed), "{printed} in {}", changed.document);
        changed.document = changed.document.replacen(printed, instead, 1);
        let faults = changed.faults();
        assert!(faults.iter().any(|found| found.contains(fault)), "{instead}: {faults:?}");
    }
}

#[tokio::test]
async fn a_price_that_is_none_for_the_request_is_refused() {
    let books = Books::open().await;
    let invoice = november(&books).await;
    let mut files = files(&books, &invoice, &[]).await;
    let version = invoice.lines[0].price_version.clone();
    let other = files.book.prices().iter().find(|price| price.version != version).unwrap();
    let other = other.version.to_string();

    files.records[0] = files.records[0].replacen(version.as_str(), &other, 1);
    assert!(files.faults()[0].contains("it is in USD, the invoice in CNY"), "{:?}", files.faults());
    files.records[0] = files.records[0].replacen(&other, "pv-of-nobody", 1);
    assert!(files.faults()[0].contains("not among the prices"), "{:?}", files.faults());
}

/// A price that takes over from before the requests gives the old one an end before them.
#[tokio::test]
async fn a_price_that_is_dated_back_changes_no_invoice() {
    let books = Books::open().await;
    books.accept(&[on(&books, 1, "2026-11-05")]).await;
    import(
        &books.ledger,
        "[[price]]\nmodel = \"ERNIE-Bot\"\ncurrency = \"CNY\"\nfrom = 2026-11-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"1\"\noutput = \"2\"\n",
    )
    .await;
    books.clock.set("2026-12-02T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    let mut files = files(&books, &invoice, &[]).await;
    let mut prices = Vec::new();
    for line in &invoice.lines {
        let listed = books.ledger.price(&line.price_version).await.unwrap();
        assert_eq!(listed.price.until, Some(at("2026-11-01T00:00:00Z")));
        prices.push(listed.price);
    }
    prices.dedup();
    files.book = PriceBook::new(prices).unwrap();

    assert_eq!(invoice.total.to_string(), "0.02");
    assert_eq!(files.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_that_is_booked_twice_shows() {
    let books = Books::open().await;
    let invoice = november(&books).await;
    let mut twice = files(&books, &invoice, &[]).await;
    twice.records[2] = twice.records[0].replace("\"index\":0", "\"index\":2");

    assert!(twice.faults()[0].contains("among the records twice"), "{:?}", twice.faults());
}

#[tokio::test]
async fn late_usage_follows_from_its_month_and_the_invoice_before() {
    let books = Books::open().await;
    books.accept(&[on(&books, 1, "2026-10-05"), on(&books, 2, "2026-11-05")]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.accept(&[on(&books, 3, "2026-10-06")]).await;
    let november = books.issue("2026-11").await;
    // Neither of them is on an invoice that is out.
    books.accept(&[on(&books, 4, "2026-10-07"), on(&books, 5, "2026-11-07")]).await;

    assert_eq!(files(&books, &october, &[]).await.faults(), Vec::<String>::new());
    let late = files(&books, &november, &[&october]).await;
    assert_eq!(late.faults(), Vec::<String>::new());
    assert_eq!(late.records.len(), 3);
    let heads: Vec<_> =
        november.records.iter().map(|head| (head.period.as_str(), head.size)).collect();
    assert_eq!(heads, [("2026-11", 1), ("2026-10", 2)]);
    assert_eq!(november.records[1].billed_by, [october.number.clone().unwrap()]);

    let alone = files(&books, &november, &[]).await;
    assert!(alone.faults()[0].contains("is needed beside this one"), "{:?}", alone.faults());
}

#[tokio::test]
async fn held_usage_is_on_the_invoice_that_came_after_its_price() {
    let books = Books::open().await;
    let mut held = on(&books, 1, "2026-10-05");
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[held, on(&books, 2, "2026-10-05")]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    import(
        &books.ledger,
        "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\nfrom = 2026-10-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"1\"\noutput = \"2\"\n",
    )
    .await;
    let november = books.issue("2026-11").await;

    assert_eq!(files(&books, &october, &[]).await.faults(), Vec::<String>::new());
    assert_eq!(files(&books, &november, &[&october]).await.faults(), Vec::<String>::new());
    let held: Vec<RecordEntry> = records(&books, &october)
        .await
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|entry: &RecordEntry| entry.held)
        .collect();
    assert_eq!((held.len(), november.records[1].priced_later), (1, 1));
}

#[tokio::test]
async fn a_void_invoice_and_the_one_after_it_both_follow() {
    let books = Books::open().await;
    let first = november(&books).await;
    let finance = books.as_role(permille_ledger::Role::Finance).await;
    let id = first.id.clone().unwrap();
    books.ledger.void_invoice(&id, "wrong address", &finance).await.unwrap();
    books.accept(&[on(&books, 4, "2026-11-08")]).await;
    let second = books.issue("2026-11").await;

    assert_eq!(files(&books, &first, &[]).await.faults(), Vec::<String>::new());
    assert_eq!(files(&books, &second, &[]).await.faults(), Vec::<String>::new());
    assert_eq!((first.records[0].size, second.records[0].size), (3, 4));
}

/// A row gives the record that was hashed when it was booked, whatever the event said.
#[tokio::test]
async fn rows_give_the_records_that_were_hashed() {
    let books = Books::open().await;
    let mut odd = on(&books, 1, "2026-11-05");
    odd.at = at("2026-11-05T12:00:00.123456789Z");
    odd.model_served = Some("ERNIE-Bot".parse().unwrap());
    odd.turn_kind = Some(permille_types::TurnKind::Regenerate);
    odd.resent_tokens = Some(7);
    odd.service_tier = Some("fl\0ex".to_owned());
    odd.region = Some("cn-north".to_owned());
    odd.units = [(permille_types::Unit::Requests, 1)].into();
    odd.tokens.insert(TokenClass::named("input_of_tomorrow"), 0);
    odd.flags = vec![Flag::Unpriced, Flag::Drained, Flag::TapError];
    odd.estimate_error_permille = Some(33);
    odd.source = Source::Partial;
    odd.attempts.push(odd.attempts[0].clone());
    odd.attempts[0].ended = permille_types::Ended::UpstreamError;
    odd.attempts[0].tokens.clear();
    let mut bare = on(&books, 2, "2026-11-05");
    bare.tokens.clear();
    bare.attempts.clear();
    bare.upstream = None;
    bare.status = None;
    bare.input_total = None;
    bare.output_total = None;
    bare.first_token_ms = None;
    books.accept(&[odd, bare]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let invoice = books.issue("2026-11").await;

    assert_eq!(files(&books, &invoice, &[]).await.faults(), Vec::<String>::new());
}

/// A row that somebody changes behind our back no longer gives the root that was printed.
#[tokio::test]
async fn a_row_changed_behind_our_back_shows() {
    let books = Books::open().await;
    let invoice = november(&books).await;
    books.tamper("update usage set session = 'another' where leaf = 1").await;

    let faults = files(&books, &invoice, &[]).await.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("root of 2026-11"), "{faults:?}");
}

#[tokio::test]
async fn rows_of_before_get_their_places_when_the_store_is_opened() {
    let books = Books::open().await;
    let events: Vec<_> = (1..=7).map(|number| on(&books, number, "2026-11-05")).collect();
    books.accept(&events).await;
    books.tamper("update usage set leaf = null").await;
    books.tamper("delete from record_tree").await;
    books.ledger.close().await;

    let again = books.reopened().await;
    let finance = books.as_role_of(&again, permille_ledger::Role::Finance).await;
    let draft = again.draft_invoice(&books.key.key.customer, "2026-11", &finance).await.unwrap();
    let page = Page::new(None, Some(100)).unwrap();
    let records = again.invoice_records(&draft.id.clone().unwrap(), &page).await.unwrap();

    let places: BTreeSet<u64> = records.items.iter().map(|entry| entry.index).collect();
    assert_eq!(places, (0..7).collect());
    assert_eq!(draft.records[0].size, 7);
}
