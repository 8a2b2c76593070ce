//! Drafts: stored as their preview read, standing until the month is drafted again.

use permille_ledger::{Invoice, InvoiceState, LedgerError, Page, Role};
use permille_types::{CustomerId, TokenClass};

use crate::support::{Books, at};

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

async fn preview(books: &Books, period: &str) -> Invoice {
    books.ledger.preview_invoice(&acme(), period).await.unwrap()
}

#[tokio::test]
async fn a_draft_says_what_its_preview_said() {
    let books = Books::open().await;
    let mut held = books.event(2);
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[books.event(1), held]).await;
    let preview = preview(&books, "2026-11").await;

    let draft = books.draft("2026-11").await;

    assert_eq!((preview.state, &preview.id), (InvoiceState::Preview, &None));
    assert_eq!(draft.state, InvoiceState::Draft);
    let as_preview = Invoice { id: None, state: InvoiceState::Preview, ..draft.clone() };
    assert_eq!(as_preview, preview);
    assert_eq!(books.ledger.invoice(draft.id.as_ref().unwrap()).await.unwrap(), draft);
}

#[tokio::test]
async fn a_stored_draft_stands_until_its_month_is_drafted_again() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let first = books.draft("2026-11").await;
    let id = first.id.clone().unwrap();

    books.clock.set("2026-11-21T10:00:00Z");
    let mut large = books.event(2);
    large.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[large]).await;

    assert_eq!(books.ledger.invoice(&id).await.unwrap(), first);
    assert_eq!(preview(&books, "2026-11").await.total.to_string(), "12.02");
    let again = books.draft("2026-11").await;
    assert_eq!((again.id.as_ref(), again.total.to_string()), (Some(&id), "12.02".to_owned()));
    let listed = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    assert_eq!((listed.len(), &listed[0].id), (1, &id));
    assert_eq!(listed[0].total, again.total);
    assert_eq!(listed[0].created_at, at("2026-11-20T10:00:00Z"));
    assert_eq!(listed[0].updated_at, at("2026-11-21T10:00:00Z"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_month_that_is_drafted_many_times_at_once_has_one_draft() {
    let books = Books::open().await;
    let second = books.reopened().await;
    let finance = books.as_role(Role::Finance).await;
    books.accept(&[books.event(1)]).await;
    let mut running = tokio::task::JoinSet::new();
    for ledger in [&books.ledger, &second].into_iter().cycle().take(10) {
        let (ledger, finance) = (ledger.clone(), finance.clone());
        running.spawn(
            async move { ledger.draft_invoice(&acme(), "2026-11", &finance).await.unwrap() },
        );
    }

    let drafts = running.join_all().await;

    assert!(drafts.iter().all(|draft| *draft == drafts[0]));
    assert_eq!(books.value("select count(*) from invoice").await, 1);
}

#[tokio::test]
async fn what_is_no_month_or_no_customer_is_refused_and_stores_nothing() {
    let books = Books::open().await;

    let finance = books.as_role(Role::Finance).await;
    for period in ["2026", "2026-13", "2026-1", "november", ""] {
        let error = books.ledger.draft_invoice(&acme(), period, &finance).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { field: "period", .. }), "{period}");
    }
    // A month that has not begun, by the customer's own calendar.
    let error = books.ledger.draft_invoice(&acme(), "2026-12", &finance).await.unwrap_err();
    assert!(error.to_string().contains("begins at 2026-12-01T00:00:00Z"), "{error}");
    let nobody = "nobody".parse().unwrap();
    let error = books.ledger.draft_invoice(&nobody, "2026-11", &finance).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound { noun: "customer", .. }));
    let error = books.ledger.invoice(&"inv_none".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound { noun: "invoice", .. }));

    assert_eq!(books.value("select count(*) from invoice").await, 0);
}
