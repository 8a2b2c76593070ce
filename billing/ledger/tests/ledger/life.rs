//! The life of an invoice: states, numbers, frozen documents, the audit trail, and that a step is
//! made whole or not at all.

use permille_ledger::{Instruction, Invoice, InvoiceState, LedgerError, Page, Role};
use permille_types::{Currency, CustomerId, Flag, InvoiceId, TokenClass};

use crate::support::{Books, add_customer, add_key, event, import};

const DECEMBER: &str = "2026-12-01T00:00:00Z";

async fn in_december() -> Books {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    books.clock.set(DECEMBER);
    books
}

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// The instruction of a new finance token, under an idempotency key.
async fn under_key(books: &Books, key: &str) -> Instruction {
    let finance = books.as_role(Role::Finance).await;
    Instruction::new(finance.by().clone(), Some(key)).unwrap()
}

fn reason(error: &LedgerError) -> String {
    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_draft_is_approved_issued_and_paid_and_each_step_is_on_its_trail() {
    let books = in_december().await;
    let (ledger, finance) = (&books.ledger, books.as_role(Role::Finance).await);

    let draft = books.draft("2026-11").await;
    let approved = ledger.approve_invoice(&id(&draft), &finance).await.unwrap();
    let issued = ledger.finalize_invoice(&id(&draft), &finance).await.unwrap();
    let paid = ledger.pay_invoice(&id(&draft), Some("SEPA 42"), &finance).await.unwrap();

    assert_eq!((approved.state, approved.number), (InvoiceState::Approved, None));
    let number = issued.number.clone().unwrap();
    assert_eq!((issued.state, number.as_str()), (InvoiceState::Final, "INV-2026-000001"));
    assert_eq!(issued.issued_at, Some(DECEMBER.parse().unwrap()));
    let as_draft = Invoice {
        number: None,
        issued_at: None,
        standing: None,
        seal: None,
        state: InvoiceState::Draft,
        ..issued.clone()
    };
    assert_eq!(as_draft, draft, "what was approved is what is issued");
    assert_eq!(paid.state, InvoiceState::Paid);
    let by_number = ledger.invoice(&number.as_str().parse().unwrap()).await.unwrap();
    assert_eq!(by_number, paid);
    let history = ledger.invoice_history(&id(&draft)).await.unwrap();
    let steps: Vec<_> = history
        .iter()
        .map(|entry| (entry.action.as_str(), entry.from.as_deref(), entry.to.as_deref()))
        .collect();
    assert_eq!(
        steps,
        [
            ("draft", None, Some("draft")),
            ("approve", Some("draft"), Some("approved")),
            ("finalize", Some("approved"), Some("final")),
            ("pay", Some("final"), Some("paid")),
        ]
    );
    assert!(history.iter().all(|entry| entry.role == "finance" && entry.token.starts_with("tok_")));
    assert_eq!(history[0].at, DECEMBER.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    assert!(history[2].detail.as_ref().unwrap().contains("INV-2026-000001"));
    assert_eq!(history[3].detail.as_deref(), Some("0.02 CNY, 0.00 CNY is due: SEPA 42"));
}

#[tokio::test]
async fn an_issued_document_is_shown_byte_for_byte_whatever_comes_after() {
    let books = in_december().await;
    let issued = books.issue("2026-11").await;
    let document = books.ledger.invoice_document(&id(&issued)).await.unwrap();
    let finance = books.as_role(Role::Finance).await;

    import(
        &books.ledger,
        "[[price]]\nmodel = \"ERNIE-Bot\"\ncurrency = \"CNY\"\nfrom = 2026-11-01T00:00:00Z\n\
         source = \"later\"\ninput = \"9\"\noutput = \"9\"\n",
    )
    .await;
    books.accept(&[books.event(2)]).await;
    let redrafted =
        books.ledger.draft_invoice(&books.key.key.customer, "2026-11", &finance).await.unwrap_err();
    books.ledger.pay_invoice(&id(&issued), None, &finance).await.unwrap();

    assert_eq!(books.ledger.invoice_document(&id(&issued)).await.unwrap(), document);
    let issued = Invoice { standing: None, ..issued };
    assert_eq!(serde_json::from_str::<Invoice>(&document).unwrap(), issued);
    let shown = books.ledger.invoice(&id(&issued)).await.unwrap();
    let standing = shown.standing.clone().unwrap();
    assert_eq!((standing.paid, standing.due.to_string()), (issued.total, "0.00".to_owned()));
    let paid = Invoice { state: InvoiceState::Paid, standing: Some(standing), ..issued };
    assert_eq!(shown, paid);
    assert!(reason(&redrafted).contains("INV-2026-000001"), "{redrafted}");
    let history = books.ledger.invoice_history(&id(&shown)).await.unwrap();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&document));
    assert!(history[2].detail.as_ref().unwrap().contains(&digest), "{history:?}");
}

#[tokio::test]
async fn a_step_out_of_turn_is_refused_by_name_and_changes_nothing() {
    let books = in_december().await;
    let (ledger, finance) = (&books.ledger, books.as_role(Role::Finance).await);
    let draft = id(&books.draft("2026-11").await);
    let before = books.dump().await;

    let finalized = ledger.finalize_invoice(&draft, &finance).await.unwrap_err();
    let paid = ledger.pay_invoice(&draft, None, &finance).await.unwrap_err();
    let document = ledger.invoice_document(&draft).await.unwrap_err();
    let unheard = ledger.approve_invoice(&"inv_none".parse().unwrap(), &finance).await;
    let unreasoned = ledger.void_invoice(&draft, " ", &finance).await.unwrap_err();

    assert!(reason(&finalized).contains("is draft: finalize is not possible"), "{finalized}");
    assert!(reason(&paid).contains("accepted: a final invoice"), "{paid}");
    assert!(reason(&document).contains("no document"), "{document}");
    assert!(matches!(unheard, Err(LedgerError::NotFound { noun: "invoice", .. })));
    assert!(matches!(unreasoned, LedgerError::Invalid { field: "reason", .. }));
    assert_eq!(books.dump().await, before);
}

#[tokio::test]
async fn what_is_approved_is_a_draft_again_once_it_is_drafted_again() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let draft = id(&books.draft("2026-11").await);
    books.ledger.approve_invoice(&draft, &finance).await.unwrap();
    books.accept(&[books.event(2)]).await;

    let again = books.draft("2026-11").await;
    books.draft("2026-11").await;

    assert_eq!((id(&again), again.state), (draft.clone(), InvoiceState::Draft));
    assert_eq!(again.lines[0].quantity, 2_000);
    let history = books.ledger.invoice_history(&draft).await.unwrap();
    assert_eq!(history.len(), 3, "a draft that changes nothing is no change: {history:?}");
    assert_eq!(history[2].from.as_deref(), Some("approved"));
}

#[tokio::test]
async fn numbers_have_no_gaps_and_begin_anew_with_the_year() {
    let books = in_december().await;
    let mut numbers = Vec::new();
    for (place, now) in
        [DECEMBER, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"].iter().enumerate()
    {
        books.clock.set(now);
        let customer = format!("c{place}");
        add_customer(&books.ledger, &customer, Currency::CNY, "UTC").await;
        let customer: CustomerId = customer.parse().unwrap();
        let finance = books.as_role(Role::Finance).await;
        let draft = books.ledger.draft_invoice(&customer, "2026-11", &finance).await.unwrap();
        books.ledger.approve_invoice(&id(&draft), &finance).await.unwrap();
        let issued = books.ledger.finalize_invoice(&id(&draft), &finance).await.unwrap();
        books.ledger.finalize_invoice(&id(&draft), &finance).await.unwrap_err();
        numbers.push(issued.number.unwrap().to_string());
    }

    assert_eq!(numbers, ["INV-2026-000001", "INV-2026-000002", "INV-2027-000001"]);
    let listed = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    assert!(listed.iter().all(|row| row.number.is_some()), "{listed:?}");
}

#[tokio::test]
async fn a_void_invoice_keeps_its_number_and_gives_its_usage_back() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let first = books.issue("2026-11").await;
    let document = books.ledger.invoice_document(&id(&first)).await.unwrap();

    let void = books.ledger.void_invoice(&id(&first), "wrong month", &finance).await.unwrap();
    let second = books.issue("2026-11").await;
    books.ledger.pay_invoice(&id(&second), None, &finance).await.unwrap();
    let paid = books.ledger.void_invoice(&id(&second), "too late", &finance).await.unwrap_err();

    assert_eq!((void.state, &void.number), (InvoiceState::Void, &first.number));
    assert_eq!(books.ledger.invoice_document(&id(&first)).await.unwrap(), document);
    assert_eq!(second.number.unwrap().as_str(), "INV-2026-000002");
    assert_eq!(second.lines, first.lines);
    assert!(reason(&paid).contains("is paid"), "{paid}");
    assert_eq!(books.ledger.invoices(None, &Page::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn neither_a_running_month_nor_simulated_usage_is_ever_approved() {
    let books = Books::with("acme", Currency::CNY, "America/New_York").await;
    books.accept(&[books.event(1)]).await;
    add_customer(&books.ledger, "trial", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "trial").await.key;
    let mut simulated = event(2, "trial", key.id.as_str());
    simulated.flags = vec![Flag::Simulated];
    books.accept(&[simulated]).await;
    let finance = books.as_role(Role::Finance).await;
    books.clock.set("2026-12-01T04:59:59Z");
    let running = books.draft("2026-11").await;
    let trial = books.ledger.draft_invoice(&key.customer, "2026-11", &finance).await.unwrap();

    let early = books.ledger.approve_invoice(&id(&running), &finance).await.unwrap_err();
    books.clock.set("2026-12-01T05:00:00Z");
    let never = books.ledger.approve_invoice(&id(&trial), &finance).await.unwrap_err();

    assert!(reason(&early).contains("2026-12-01T05:00:00Z"), "{early}");
    assert!(trial.simulated && !trial.lines.is_empty());
    assert!(reason(&never).contains("simulated"), "{never}");
    // The rest of the month is not on a draft that was made before its end.
    let stale = books.ledger.approve_invoice(&id(&running), &finance).await.unwrap_err();
    assert!(reason(&stale).contains("draft it again"), "{stale}");
    let whole = books.draft("2026-11").await;
    books.ledger.approve_invoice(&id(&whole), &finance).await.unwrap();
}

#[tokio::test]
async fn the_same_call_under_the_same_key_is_made_once() {
    let books = in_december().await;
    let draft = id(&books.draft("2026-11").await);
    let first = under_key(&books, "key-1").await;

    let done = books.ledger.void_invoice(&draft, "a typo", &first).await.unwrap();
    let before = books.dump().await;
    let again = books.ledger.void_invoice(&draft, "a typo", &first).await.unwrap();
    let other = books.ledger.void_invoice(&draft, "another reason", &first).await.unwrap_err();
    let step = books.ledger.approve_invoice(&draft, &first).await.unwrap_err();

    assert_eq!(again, done);
    assert!(reason(&other).contains("key-1"), "{other}");
    assert!(reason(&step).contains("key-1"), "{step}");
    assert_eq!(books.dump().await, before);
    // Another caller's key is another key, and a void invoice is not voided again.
    let stranger = under_key(&books, "key-1").await;
    let refused = books.ledger.void_invoice(&draft, "a typo", &stranger).await.unwrap_err();
    assert!(reason(&refused).contains("is void"), "{refused}");
}

/// What stops a statement of the books, one at a time.
pub(crate) const FAILURES: [&str; 11] = [
    "create trigger boom before insert on invoiced_usage when new.line = 1
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on invoiced_usage when new.line = 2
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on document_series
         begin select raise(abort, 'boom'); end",
    "create trigger boom before update on document_series
         begin select raise(abort, 'boom'); end",
    "create trigger boom before update of document on invoice
         begin select raise(abort, 'boom'); end",
    "create trigger boom before update of state on invoice
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on posting
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on posting_entry when new.account = 'revenue:billed'
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on posting_entry when new.account = 'revenue:unbilled'
         begin select raise(abort, 'boom'); end",
    "create trigger boom before update on drawdown
         begin select raise(abort, 'boom'); end",
    "create trigger boom before insert on audit
         begin select raise(abort, 'boom'); end",
];

#[tokio::test]
async fn a_failure_at_any_statement_leaves_nothing_and_takes_no_number() {
    let books = in_december().await;
    add_customer(&books.ledger, "other", Currency::CNY, "UTC").await;
    let other: CustomerId = "other".parse().unwrap();
    let finance = books.as_role(Role::Finance).await;
    let first = books.ledger.draft_invoice(&other, "2026-11", &finance).await.unwrap();
    books.ledger.approve_invoice(&id(&first), &finance).await.unwrap();
    books.ledger.finalize_invoice(&id(&first), &finance).await.unwrap();
    let draft = id(&books.draft("2026-11").await);
    books.ledger.approve_invoice(&draft, &finance).await.unwrap();
    let before = books.dump().await;
    let mut stopped = 0;

    for failure in FAILURES {
        books.tamper(failure).await;
        let done = books.ledger.finalize_invoice(&draft, &finance).await;
        books.tamper("drop trigger boom").await;
        let Err(error) = done else { panic!("{failure}") };
        assert!(matches!(error, LedgerError::Store { .. }), "{failure}: {error:?}");
        assert_eq!(books.dump().await, before, "{failure}");
        stopped += 1;
    }

    assert_eq!(stopped, FAILURES.len());
    let issued = books.ledger.finalize_invoice(&draft, &finance).await.unwrap();
    assert_eq!(issued.number.unwrap().as_str(), "INV-2026-000002");
    assert_eq!(issued.lines[0].quantity, 1_000);
    assert_eq!(issued.lines[1].meter.as_str(), TokenClass::OUTPUT_TEXT.as_str());
}
