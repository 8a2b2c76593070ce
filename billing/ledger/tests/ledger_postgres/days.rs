//! Usage at size: how large a row is, and what becomes of rows that are not of today.

use permille_ledger::{LedgerError, Page, Role, UsageFilter};
use permille_types::{Endpoint, Family, SessionId, TokenClass, TurnKind, UsageEvent};

use crate::support::{Books, at, import, request_id};

/// A turn in the midst of a conversation as OpenAI replies to it: with ids as long as it makes
/// them, a dated model for the one that was asked for, and four classes of tokens.
fn typical(books: &Books, number: u32) -> UsageEvent {
    let mut event = books.event(number);
    event.session = SessionId::from(event.request_id);
    event.turn = 4;
    event.turn_kind = Some(TurnKind::Continue);
    event.family = Family::OpenAi;
    event.endpoint = Endpoint::ChatCompletions;
    event.model_requested = "gpt-4o-mini".parse().unwrap();
    event.model_served = Some("gpt-4o-mini-2024-07-18".parse().unwrap());
    event.service_tier = Some("default".to_owned());
    event.tokens = [
        (TokenClass::INPUT_UNCACHED, 1_084),
        (TokenClass::CACHE_READ, 3_072),
        (TokenClass::OUTPUT_TEXT, 412),
        (TokenClass::REASONING, 0),
    ]
    .into();
    event.input_total = Some(4_156);
    event.output_total = Some(412);
    event.resent_tokens = Some(3_456);
    event.first_token_ms = Some(420);
    let attempt = &mut event.attempts[0];
    attempt.provider_id = Some("chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012".to_owned());
    attempt.provider_request_id = Some("req_0123456789abcdef0123456789abcdef".to_owned());
    attempt.tokens = event.tokens.clone();
    event
}

#[tokio::test]
async fn a_typical_row_takes_at_most_400_bytes() {
    let books = Books::open().await;
    let price = "[[price]]\nmodel = \"gpt-4o-mini-2024-07-18\"\ncurrency = \"CNY\"\n\
                 from = 2023-10-01T00:00:00Z\nsource = \"a test\"\ninput = \"0.00015\"\n\
                 cache_read = \"0.000075\"\noutput = \"0.0006\"\n";
    import(&books.ledger, price).await;
    let events: Vec<_> = (1..=200).map(|number| typical(&books, number)).collect();
    books.accept(&events).await;

    assert_eq!(books.value("select count(*) from usage where cost is null").await, 0);
    let bytes = books.value("select max(pg_column_size(usage.*)) from usage").await;

    assert!((200..=400).contains(&bytes), "{bytes} bytes");
    let kinds = books.value("select count(*) from usage_kind").await;
    assert_eq!(kinds, 1, "what rows have in common is there once");
}

/// The partitions of usage, and how many rows each has.
const PARTITIONS: &str = "select format('%s %s', part.inhrelid::regclass,
         (xpath('/row/n/text()', query_to_xml(
             format('select count(*) as n from %s', part.inhrelid::regclass), false, true, '')))[1])
     from pg_inherits part where part.inhparent = 'usage'::regclass order by 1";

#[tokio::test]
async fn each_day_has_a_partition_that_is_made_ahead_or_when_a_row_needs_it() {
    let books = Books::open().await;
    assert_eq!(books.ledger.make_days().await.unwrap(), 3);
    assert_eq!(books.ledger.make_days().await.unwrap(), 0);
    let mut events: Vec<_> = (1..=5).map(|number| books.event(number)).collect();
    for (event, instant) in events.iter_mut().zip([
        "2026-11-20T23:59:59.999999Z",
        "2026-11-21T00:00:00Z",
        "2019-12-31T12:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "2031-01-01T00:00:00Z",
    ]) {
        event.at = at(instant);
    }

    assert_eq!(books.accept(&events).await.booked, 5);

    let wanted = [
        "usage_19691231 1",
        "usage_20191231 1",
        "usage_20261120 1",
        "usage_20261121 1",
        "usage_20261122 0",
        "usage_20310101 1",
    ];
    assert_eq!(books.lines(PARTITIONS).await, wanted);
    assert_eq!(books.accept(&events).await.duplicates, 5);
    let day = UsageFilter {
        since: Some(at("2026-11-21T00:00:00Z")),
        until: Some(at("2026-11-22T00:00:00Z")),
        ..UsageFilter::default()
    };
    let rows = books.ledger.usage(&day, &Page::default()).await.unwrap().items;
    assert_eq!((rows.len(), rows[0].request_id), (1, events[1].request_id));
}

/// A reader that stays in the midst of a view holds up no batch that makes a day, and holds up the
/// drop of one for two seconds.
#[tokio::test]
async fn readers_hold_up_no_new_day_and_no_old_one_for_long() {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.at = at("2026-10-05T12:00:00Z");
    books.accept(&[event.clone()]).await;
    books.clock.set("2026-12-02T10:00:00Z");
    books.issue("2026-10").await;
    for role in [Role::Operator, Role::Finance] {
        let by = books.as_role(role).await;
        books.ledger.sign_close("2026-10", Some("a test"), &by).await.unwrap();
    }
    let reader = books.database.reading("select count(*) from usage").await;

    event.request_id = request_id(2);
    event.at = at("2026-11-07T12:00:00Z");
    assert_eq!(books.accept(&[event]).await.booked, 1);
    let before = "2026-10-06".parse().unwrap();
    let refused = books.ledger.drop_usage(before, None, false).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Store { operation: "drop a day of usage", .. }));
    assert_eq!(books.value("select count(*) from usage").await, 2);

    reader.release().await;
    let dropped = books.ledger.drop_usage(before, None, false).await.unwrap();
    assert_eq!(dropped.days[0].requests, Some(1));
    assert_eq!(books.lines(PARTITIONS).await, ["usage_20261107 1"]);
}
