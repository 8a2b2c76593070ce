//! Events at the ends of what can be written: each is booked or quarantined, and never stops the
//! journal it came from.

use permille_ledger::{Page, QuarantineReason, UsageFilter};
use permille_types::{Currency, TokenClass, Unit, UsageEvent};

use crate::support::{Books, at, import, raw_batch};

/// The payload of an event with its time written as `text`.
fn at_time(books: &Books, number: u32, text: &str) -> Vec<u8> {
    let payload = String::from_utf8(books.event(number).to_json().unwrap()).unwrap();
    let changed = payload.replace("2026-11-20T09:30:00Z", text);
    assert_ne!(changed, payload);
    changed.into_bytes()
}

/// Sends the payloads of `of` with a good event behind, which must be booked whatever they are.
async fn send(books: &Books, mut payloads: Vec<Vec<u8>>) -> (u64, u64) {
    payloads.push(books.event(1_000).to_json().unwrap());
    let accepted = books.ledger.accept(&raw_batch("n1", 1, &payloads)).await.unwrap();
    let good =
        UsageFilter { request: Some(books.event(1_000).request_id), ..UsageFilter::default() };
    assert_eq!(books.ledger.usage(&good, &Page::default()).await.unwrap().items.len(), 1);
    let last = u64::try_from(payloads.len()).unwrap();
    assert_eq!(accepted.ack.sequence, last);
    assert_eq!(accepted.booked + accepted.quarantined, last);
    (accepted.booked - 1, accepted.quarantined)
}

#[tokio::test]
async fn times_at_the_ends_of_the_calendar_stop_nothing() {
    for zone in ["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kolkata"] {
        let books = Books::with("acme", Currency::CNY, zone).await;
        let payloads = [
            "+262142-12-31T23:59:59.999999999Z",
            "+262142-12-31T20:00:00Z",
            "-262143-01-01T00:00:00Z",
            "-262143-01-01T03:00:00Z",
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "2016-12-31T23:59:60Z",
            "2026-11-20T09:30:00.123456789+05:30",
        ];
        let payloads = (1_u32..).zip(payloads).map(|(number, text)| at_time(&books, number, text));

        let (booked, quarantined) = send(&books, payloads.collect()).await;

        assert_eq!(booked + quarantined, 10, "{zone}");
        // All that was booked can be listed, held usage can still be priced, months still drafted.
        let page = Page::new(None, Some(1_000)).unwrap();
        let rows = books.ledger.usage(&UsageFilter::default(), &page).await.unwrap().items;
        assert_eq!(u64::try_from(rows.len()).unwrap(), booked + 1);
        books.ledger.rerate_held().await.unwrap();
        let detail = books.ledger.session(&rows[0].customer, &rows[0].session).await.unwrap();
        serde_json::to_string(&detail).unwrap();
        let acme = rows[0].customer.clone();
        assert_eq!(books.ledger.preview_invoice(&acme, "2026-11").await.unwrap().requests, 2);
    }
}

#[tokio::test]
async fn the_largest_believed_quantity_is_booked_and_one_more_is_not() {
    const MOST: u64 = 1_000_000_000_000;
    let books = Books::open().await;
    let with = |number: u32, change: &dyn Fn(&mut UsageEvent)| {
        let mut event = books.event(number);
        change(&mut event);
        event.to_json().unwrap()
    };
    let payloads = vec![
        with(1, &|event| {
            event.tokens.insert(TokenClass::OUTPUT_TEXT, MOST);
        }),
        with(2, &|event| {
            event.tokens.insert(TokenClass::OUTPUT_TEXT, MOST + 1);
        }),
        with(3, &|event| {
            event.tokens.insert(TokenClass::named("smell"), u64::MAX);
        }),
        with(4, &|event| {
            event.units.insert(Unit::Searches, u64::MAX);
        }),
        with(5, &|event| event.input_total = Some(u64::MAX)),
        with(6, &|event| {
            event.attempts[0].tokens.insert(TokenClass::AUDIO_IN, u64::MAX);
        }),
        with(7, &|event| event.turn = u32::MAX),
        with(8, &|event| event.status = Some(u16::MAX)),
    ];

    assert_eq!(send(&books, payloads).await, (3, 5));

    let session = "chat-1".parse().unwrap();
    let turn = books.ledger.last_turn(&books.key.key.customer, &session).await.unwrap();
    assert_eq!(turn, u32::MAX);
}

#[tokio::test]
async fn texts_that_look_like_something_else_stay_texts() {
    let books = Books::open().await;
    let texts = [
        "'; drop table usage; --",
        "%",
        "null",
        "a/b/c",
        "{\"x\":1}",
        "\u{202e}txt",
        "会话 1",
        "\\",
    ];
    let events: Vec<_> = (1_u32..)
        .zip(texts)
        .map(|(number, text)| {
            let mut event = books.event(number);
            event.session = text.parse().unwrap();
            event.model_served = Some(text.parse().unwrap());
            event.service_tier = Some(format!("{text}\0"));
            event.attempts[0].provider_id = Some(format!("\n{text}\t"));
            event
        })
        .collect();

    let accepted = books.accept(&events).await;

    assert_eq!((accepted.booked, accepted.quarantined), (8, 0));
    for event in events {
        let filter = UsageFilter { session: Some(event.session), ..UsageFilter::default() };
        let rows = books.ledger.usage(&filter, &Page::default()).await.unwrap().items;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].model_served, event.model_served);
        // PostgreSQL holds no NUL, so no store does.
        let tier = event.service_tier.unwrap().replace('\0', "\u{fffd}");
        assert_eq!(rows[0].service_tier.as_deref(), Some(tier.as_str()));
        assert_eq!(rows[0].attempts, event.attempts);
    }
}

/// So fine and so high a price that costs have more digits, or are larger, than books can hold.
const FINE: &str = r#"
[[price]]
model = "fine"
currency = "CNY"
from = 2026-01-01T00:00:00Z
source = "a test"
input = "0.000000000000000000000001"
output = "9.99"
"#;

/// The first fits; the second's own cost has too many digits; the third is one digit too long a sum
/// with the first.
fn fine(books: &Books) -> Vec<UsageEvent> {
    let counts = [(1, 0), (1, 1_000_000_000_000), (0, 999_999_999_999)];
    let events = (1_u32..).zip(counts).map(|(number, (input, output))| {
        let mut event = books.event(number);
        event.model_requested = "fine".parse().unwrap();
        let input = (TokenClass::INPUT_UNCACHED, input);
        event.tokens = [input, (TokenClass::OUTPUT_TEXT, output)].into();
        event
    });
    events.collect()
}

#[tokio::test]
async fn a_cost_that_does_not_fit_the_books_is_set_aside_and_stops_nothing() {
    let books = Books::open().await;
    import(&books.ledger, FINE).await;
    let payloads: Vec<_> = fine(&books).iter().map(|event| event.to_json().unwrap()).collect();

    assert_eq!(send(&books, payloads.clone()).await, (1, 2));

    let before = books.dump().await;
    let mut kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    kept.sort_by_key(|row| row.sequence);
    let reasons: Vec<_> = kept.iter().map(|row| row.reason).collect();
    assert_eq!(reasons, [QuarantineReason::Unratable, QuarantineReason::OutOfRange]);
    assert_eq!(kept[1].payload, payloads[2]);
    assert_eq!(kept[1].request_id, Some(books.event(3).request_id.to_string()));
    assert!(kept[1].detail.contains("28 digits"), "{}", kept[1].detail);
    assert_eq!(books.value("select sum(requests) from request_hour").await, 2);
    let again = books.ledger.accept(&raw_batch("n1", 1, &payloads)).await.unwrap();
    assert_eq!((again.booked, again.duplicates, again.quarantined), (0, 3, 0));
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn a_sum_of_a_day_that_does_not_fit_the_books_is_set_aside_and_stops_nothing() {
    let books = Books::open().await;
    let dear = "[[price]]\nmodel = \"dear\"\ncurrency = \"CNY\"\nfrom = 2026-01-01T00:00:00Z\n\
                source = \"a test\"\ninput = \"10\"\noutput = \"10\"\n";
    import(&books.ledger, dear).await;
    // Each costs 5,000,000,000 CNY, which as billionths fits 64 bits, and two of them do not.
    let payloads = [1, 2].map(|number| {
        let mut event = books.event(number);
        event.model_requested = "dear".parse().unwrap();
        event.tokens = [(TokenClass::INPUT_UNCACHED, 500_000_000_000)].into();
        event.input_total = None;
        event.output_total = None;
        event.to_json().unwrap()
    });

    assert_eq!(send(&books, payloads.into()).await, (1, 1));

    let kept = books.ledger.quarantined(None, &Page::default()).await.unwrap().items;
    assert_eq!(kept[0].reason, QuarantineReason::OutOfRange);
}

#[tokio::test]
async fn held_usage_that_does_not_fit_the_books_stays_held_and_holds_up_no_other() {
    let books = Books::open().await;
    books.accept(&fine(&books)).await;
    assert_eq!(books.value("select sum(unpriced) from request_hour").await, 3);

    let import = import(&books.ledger, FINE).await;
    let again = books.ledger.rerate_held().await.unwrap();

    assert_eq!((import.rerated.priced, again.priced), (1, 0));
    assert_eq!(books.value("select sum(unpriced) from request_hour").await, 2);
    assert_eq!(books.value("select count(*) from usage where cost is null").await, 2);
}

#[tokio::test]
async fn a_time_is_kept_to_the_microsecond_that_it_was_priced_by() {
    let books = Books::open().await;

    send(&books, vec![at_time(&books, 1, "2026-11-20T09:30:00.123456999Z")]).await;

    let filter = UsageFilter { request: Some(books.event(1).request_id), ..UsageFilter::default() };
    let rows = books.ledger.usage(&filter, &Page::default()).await.unwrap().items;
    assert_eq!(rows[0].at, at("2026-11-20T09:30:00.123456Z"));
}
