//! A ledger with rows that an earlier version wrote is brought up to date and says what it said.

use permille_ledger::{Page, Role, UsageFilter};
use permille_types::{Flag, TokenClass, TurnKind, UsageEvent};

use crate::support::{Books, at, batch, import, request_id};

/// The rows as versions up to migration 39 had them. What those wrote of attempts is read by a test
/// of its own.
const ROWS: &str = "create table usage_old as
     select ID as request_id, usage_key.payload_sha256, usage.at, usage.customer, usage.project,
         usage.api_key, usage.session, usage_kind.session_explicit, usage.turn, usage_kind.family,
         usage_kind.endpoint, usage.model_requested,
         case usage_kind.served_as_asked
             when 1 then usage.model_requested else usage.model_served end as model_served,
         usage_kind.service_tier, usage_kind.upstream, usage_kind.status, usage_kind.streamed,
         usage_kind.ended, usage_kind.source, usage.tokens, usage.input_total,
         usage.output_total, usage.units, usage.attempts, usage.latency_ms, usage.first_token_ms,
         usage_kind.flags, usage_kind.price_version, usage_kind.band, usage.cost,
         case when usage.cost is null then 1 else 0 end as unpriced, usage_kind.region,
         usage.estimate_error_permille, usage_kind.turn_kind, usage.resent_tokens, usage.leaf,
         usage.priced_as
     from usage
     join usage_kind on usage_kind.id = usage.kind
     join usage_key on usage_key.request_id = usage.request_id";

/// An id as text, on either engine.
const ID_POSTGRES: &str = "cast(cast(encode(usage.request_id, 'hex') as uuid) as text)";
const ID_SQLITE: &str = "lower(substr(hex(usage.request_id), 1, 8) || '-'
     || substr(hex(usage.request_id), 9, 4) || '-' || substr(hex(usage.request_id), 13, 4) || '-'
     || substr(hex(usage.request_id), 17, 4) || '-' || substr(hex(usage.request_id), 21))";

const SINCE: [&str; 8] = [
    "drop table usage_drop",
    "alter table session drop column last_kind",
    "alter table session drop column last_ended",
    "drop table usage",
    "drop table usage_key",
    "drop table usage_kind",
    "alter table usage_old rename to usage",
    "delete from _sqlx_migrations where version between 40 and 44",
];

const SINCE_POSTGRES: [&str; 3] = [
    "drop function usage_partition_drop",
    "drop function usage_partition",
    "drop function usage_partition_name",
];

/// Makes the tables of the store what they were.
async fn as_of_before(books: &Books) {
    let on_postgres = env!("CARGO_CRATE_NAME") == "ledger_postgres";
    let id = if on_postgres { ID_POSTGRES } else { ID_SQLITE };
    books.tamper(Box::leak(ROWS.replace("ID", id).into_boxed_str())).await;
    let more: &[&str] = if on_postgres { &SINCE_POSTGRES } else { &[] };
    for statement in SINCE.iter().chain(more) {
        books.tamper(statement).await;
    }
}

/// Events that differ in whatever moved.
fn events(books: &Books) -> Vec<UsageEvent> {
    let mut events: Vec<UsageEvent> = (1..=40).map(|number| books.event(number)).collect();
    for (event, day) in events.iter_mut().zip((1..=20).cycle()) {
        event.at = at(&format!("2026-11-{day:02}T23:59:59.999999Z"));
    }
    events[1].at = at("2026-11-02T00:00:00Z");
    events[2].model_served = Some(events[2].model_requested.clone());
    events[3].model_served = Some("ERNIE-Bot".parse().unwrap());
    events[3].model_requested = "alias".parse().unwrap();
    events[4].service_tier = Some("it's, NULL \\ flex".to_owned());
    events[5].region = Some("cn-north-4".to_owned());
    events[6].turn_kind = Some(TurnKind::Regenerate);
    events[7].flags = vec![Flag::Drained, Flag::Simulated];
    events[8].model_requested = "unheard-of".parse().unwrap();
    events[9].upstream = None;
    events[9].status = None;
    events[9].attempts.clear();
    events[10].units = [(permille_types::Unit::Requests, 1)].into();
    events[11].estimate_error_permille = Some(33);
    events[12].tokens.insert(TokenClass::CACHE_READ, 7);
    events[13].session_explicit = false;
    events
}

#[tokio::test]
async fn rows_of_before_are_read_as_they_were_and_are_known_when_they_come_again() {
    let books = Books::open().await;
    let events = events(&books);
    books.accept(&events).await;
    let price = "[[price]]\nmodel = \"alias\"\ncurrency = \"CNY\"\nfrom = 2023-10-01T00:00:00Z\n\
                 source = \"a test\"\ninput = \"0.001\"\noutput = \"0.001\"\n";
    import(&books.ledger, price).await;
    let (filter, page) = (UsageFilter::default(), Page::new(None, Some(100)).unwrap());
    let usage = books.ledger.usage(&filter, &page).await.unwrap();
    let sessions = books.ledger.sessions(None, &page).await.unwrap();
    let dump = books.dump().await;
    let draft = books.draft("2026-11").await;
    let records = books.ledger.invoice_records(draft.id.as_ref().unwrap(), &page).await.unwrap();
    books.ledger.close().await;
    as_of_before(&books).await;

    let again = books.reopened().await;

    assert_eq!(again.usage(&filter, &page).await.unwrap(), usage);
    assert_eq!(again.sessions(None, &page).await.unwrap(), sessions);
    let finance = books.as_role_of(&again, Role::Finance).await;
    let redrafted =
        again.draft_invoice(&books.key.key.customer, "2026-11", &finance).await.unwrap();
    assert_eq!((&redrafted.total, &redrafted.records), (&draft.total, &draft.records));
    let id = redrafted.id.unwrap();
    let recorded = again.invoice_records(&id, &page).await.unwrap();
    assert_eq!(format!("{recorded:?}"), format!("{records:?}"));
    let accepted = again.accept(&batch("n1", 1, &events)).await.unwrap();
    assert_eq!((accepted.booked, accepted.duplicates), (0, 40));
    let one = UsageFilter { request: Some(events[4].request_id), ..UsageFilter::default() };
    assert_eq!(again.usage(&one, &page).await.unwrap().items.len(), 1);
    let usage_of = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.starts_with("[\"usage\"")).collect()
    };
    assert_eq!(usage_of(books.dump().await), usage_of(dump));
    assert_eq!(again.check_books().await.unwrap(), Vec::<String>::new());
    // A row that is like one of before is of its kind.
    let kinds = books.value("select count(*) from usage_kind").await;
    let mut like = events[5].clone();
    like.request_id = request_id(1_000);
    again.accept(&batch("n1", 41, &[like])).await.unwrap();
    assert_eq!(books.value("select count(*) from usage_kind").await, kinds);
}
