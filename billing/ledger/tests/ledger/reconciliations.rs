//! Our side of a provider's bill, and reports that are kept and signed.

use chrono::NaiveDate;
use permille_ledger::{
    Instruction, LedgerError, NewReconciliation, Page, ProviderCell, ProviderScope, Role,
};
use permille_types::{Attempt, Currency, Ended, Flag, Source, TokenClass, TokenCounts, UsageEvent};
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::support::{Books, at, import};

const COSTS: &str = r#"
[[price]]
model = "ERNIE-Bot"
side = "cost"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.001"
output = "0.002"
"#;

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
}

fn scope(zone: chrono_tz::Tz, currency: Option<Currency>) -> ProviderScope {
    let upstreams = vec!["main".parse().unwrap()];
    ProviderScope { upstreams, currency, time_zone: zone, first: day(19), last: day(20) }
}

fn used(books: &Books, number: u32, instant: &str) -> UsageEvent {
    let mut event = books.event(number);
    event.at = at(instant);
    event
}

/// Day, class, quantity and amount of each sum.
fn shown(cells: &[ProviderCell]) -> Vec<String> {
    let shown = cells.iter().map(|cell| {
        format!("{} {} {} {}", cell.day.format("%d"), cell.meter, cell.quantity, cell.amount)
    });
    shown.collect()
}

#[tokio::test]
async fn calls_are_summed_up_by_the_providers_days_and_priced_by_side_cost() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    books.clock.set("2026-11-22T00:00:00Z");
    books
        .accept(&[
            used(&books, 6, "2026-11-20T18:00:00Z"),
            used(&books, 1, "2026-11-18T23:59:59.999999Z"),
            used(&books, 2, "2026-11-19T00:00:00Z"),
            used(&books, 3, "2026-11-19T17:00:00Z"),
            used(&books, 4, "2026-11-20T23:59:59.999999Z"),
            used(&books, 5, "2026-11-21T00:00:00Z"),
        ])
        .await;

    let usd = Some(Currency::USD);
    let utc = books.ledger.provider_side(&scope(chrono_tz::UTC, usd)).await.unwrap();
    let shanghai =
        books.ledger.provider_side(&scope(chrono_tz::Asia::Shanghai, usd)).await.unwrap();
    let counted = books.ledger.provider_side(&scope(chrono_tz::UTC, None)).await.unwrap();
    let yuan = scope(chrono_tz::UTC, Some(Currency::CNY));
    let yuan = books.ledger.provider_side(&yuan).await.unwrap();

    assert_eq!(
        shown(&utc),
        [
            "19 input_uncached 2000 0.002",
            "19 output_text 1000 0.002",
            "20 input_uncached 2000 0.002",
            "20 output_text 1000 0.002",
        ]
    );
    assert_eq!(
        shown(&shanghai),
        [
            "19 input_uncached 2000 0.002",
            "19 output_text 1000 0.002",
            "20 input_uncached 1000 0.001",
            "20 output_text 500 0.001",
        ]
    );
    assert_eq!((counted[0].quantity, counted[0].amount), (2_000, Decimal::ZERO));
    assert_eq!((yuan[0].quantity, yuan[0].unpriced), (2_000, 2_000));
}

#[tokio::test]
async fn failed_estimated_batch_and_simulated_calls_are_told_apart() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let failed = |tokens: TokenCounts| Attempt {
        upstream: "main".parse().unwrap(),
        model: None,
        status: Some(500),
        provider_id: None,
        provider_request_id: None,
        ended: Ended::UpstreamError,
        tokens,
    };
    let mut retried = used(&books, 1, "2026-11-20T09:00:00Z");
    retried.attempts.insert(0, failed([(TokenClass::INPUT_UNCACHED, 100)].into()));
    retried.attempts.insert(0, failed(TokenCounts::new()));
    let mut estimated = used(&books, 2, "2026-11-20T09:00:00Z");
    (estimated.source, estimated.service_tier) = (Source::Estimated, Some("batch".to_owned()));
    let mut simulated = used(&books, 3, "2026-11-20T09:00:00Z");
    simulated.flags = vec![Flag::Simulated];
    let mut elsewhere = used(&books, 4, "2026-11-20T09:00:00Z");
    elsewhere.attempts[0].upstream = "other".parse().unwrap();
    books.accept(&[retried, estimated, simulated, elsewhere]).await;

    let scope = scope(chrono_tz::UTC, Some(Currency::USD));
    let cells = books.ledger.provider_side(&scope).await.unwrap();

    assert_eq!(shown(&cells), ["20 input_uncached 2100 0.0021", "20 output_text 1000 0.002"]);
    let input = &cells[0];
    assert_eq!((input.failed, input.untold), (100, 1));
    assert_eq!((input.estimated, input.batch), (1_000, 1_000));
}

fn new(id: &str, fingerprint: &str) -> NewReconciliation {
    NewReconciliation {
        id: id.to_owned(),
        provider: "openai".to_owned(),
        first: day(1),
        last: day(30),
        asked: "the bill of November".to_owned(),
        fingerprint: fingerprint.to_owned(),
        drift_permille: Some(Decimal::new(125, 1)),
        report: RawValue::from_string(format!("{{\"id\":\"{id}\"}}")).unwrap(),
        detail: "2 of 9 comparisons differ".to_owned(),
    }
}

#[tokio::test]
async fn a_call_that_is_made_again_under_its_key_gets_its_first_report() {
    let books = Books::open().await;
    let by = books.as_role(Role::Finance).await.by().clone();
    let keyed = Instruction::new(by, Some("november")).unwrap();
    let first = books.ledger.keep_reconciliation(&new("rec_1", "a"), &keyed).await.unwrap();

    let again = books.ledger.keep_reconciliation(&new("rec_2", "b"), &keyed).await.unwrap();
    let december = NewReconciliation { asked: "of December".to_owned(), ..new("rec_3", "c") };
    let other = books.ledger.keep_reconciliation(&december, &keyed).await.unwrap_err();

    assert_eq!(first.summary.id, "rec_1");
    assert_eq!(again.summary.id, "rec_1", "our side may say something else by now");
    assert!(other.to_string().contains("use another one"), "{other}");
    let page = Page::new(None, None).unwrap();
    assert_eq!(books.ledger.reconciliations(None, &page).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_report_is_kept_once_signed_once_and_leaves_a_trail() {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    let (first, _) = books.ledger.reconciliation_id().unwrap();

    let kept = books.ledger.keep_reconciliation(&new(&first, "a"), &finance).await.unwrap();
    let same = books.ledger.keep_reconciliation(&new("rec_2", "a"), &finance).await.unwrap();
    let other = books.ledger.keep_reconciliation(&new("rec_z", "b"), &finance).await.unwrap();
    let signed = books.ledger.sign_reconciliation(&first, " agreed ", &finance).await.unwrap();

    assert_eq!((&kept.summary.id, &same.summary.id), (&first, &first));
    assert_eq!(kept.report.get(), format!("{{\"id\":\"{first}\"}}"));
    assert_eq!(other.summary.id, "rec_z");
    let signature = signed.summary.signed.unwrap();
    assert_eq!(signature.note, "agreed");
    assert!(signature.by.ends_with("(finance)"), "{signature:?}");
    let trail: Vec<_> = signed.history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(trail, ["compare", "sign"]);
    let again = books.ledger.sign_reconciliation(&first, "once more", &finance).await.unwrap_err();
    assert!(again.to_string().contains("is signed already"), "{again}");
    let empty = books.ledger.sign_reconciliation("rec_z", "\n", &finance).await.unwrap_err();
    assert!(matches!(empty, LedgerError::Invalid { field: "note", .. }), "{empty}");
    let unknown = books.ledger.reconciliation("rec_0").await.unwrap_err();
    assert!(matches!(unknown, LedgerError::NotFound { .. }), "{unknown}");

    let page = Page::new(None, Some(1)).unwrap();
    let listed = books.ledger.reconciliations(Some("openai"), &page).await.unwrap();
    assert_eq!((listed.items.len(), listed.next_cursor.is_some()), (1, true));
    let none = books.ledger.reconciliations(Some("other"), &Page::default()).await.unwrap();
    assert!(none.items.is_empty());
    let last = books.ledger.last_reconciliations().await.unwrap();
    assert_eq!(last.iter().map(|of| of.id.as_str()).collect::<Vec<_>>(), ["rec_z"]);
}
