//! The close of a month: checks, drafts, two signatures, a lock, and a way back that is recorded.

use std::time::Duration;

use permille_ledger::{
    Close, CloseState, CreditScope, Instruction, Invoice, InvoiceState, LedgerError, NewCredit,
    Page, Role,
};
use permille_types::{Currency, CustomerId, InvoiceId, UsageEvent};

use crate::support::{Books, add_customer, add_key, at, batch, event, raw_batch};

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// `acme` and `globex` with usage in November, `idle` without; node `n1` has sent in December.
async fn in_december() -> Books {
    let books = Books::open().await;
    add_customer(&books.ledger, "globex", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "globex").await.key;
    add_customer(&books.ledger, "idle", Currency::CNY, "UTC").await;
    books.accept(&[books.event(1), event(2, "globex", key.id.as_str())]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let late = UsageEvent { at: at("2026-12-01T12:00:00Z"), ..books.event(3) };
    books.accept(&[late]).await;
    books
}

async fn issue(books: &Books, customer: &str) -> Invoice {
    let customer: CustomerId = customer.parse().unwrap();
    let finance = books.as_role(Role::Finance).await;
    let draft = books.ledger.draft_invoice(&customer, "2026-11", &finance).await.unwrap();
    books.ledger.approve_invoice(&id(&draft), &finance).await.unwrap();
    books.ledger.finalize_invoice(&id(&draft), &finance).await.unwrap()
}

async fn sign(books: &Books, role: Role) -> Result<Close, LedgerError> {
    let who = books.as_role(role).await;
    books.ledger.sign_close("2026-11", None, &who).await
}

/// A month with both invoices issued and both signatures.
async fn closed() -> Books {
    let books = in_december().await;
    issue(&books, "acme").await;
    issue(&books, "globex").await;
    sign(&books, Role::Operator).await.unwrap();
    sign(&books, Role::Finance).await.unwrap();
    books
}

/// The checks that are not in order.
fn open(close: &Close) -> Vec<&str> {
    close.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
}

fn refusal(error: &LedgerError) -> String {
    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_month_is_drafted_issued_signed_by_two_roles_and_locked() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;

    let before = books.ledger.close_report("2026-11").await.unwrap();
    let prepared = books.ledger.prepare_close("2026-11", &finance).await.unwrap();
    let drafts = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    issue(&books, "acme").await;
    issue(&books, "globex").await;
    let first = sign(&books, Role::Finance).await.unwrap();
    let second = sign(&books, Role::Operator).await.unwrap();

    assert_eq!(open(&before), ["drafts"]);
    assert!(before.checks[4].detail.contains("acme, globex"), "{:?}", before.checks);
    assert_eq!(open(&prepared), ["issued"]);
    let mut drafted: Vec<_> =
        drafts.iter().map(|draft| (draft.customer.as_str(), draft.state)).collect();
    // Ids of one millisecond are in no order.
    drafted.sort_by_key(|(customer, _)| *customer);
    let draft = InvoiceState::Draft;
    assert_eq!(drafted, [("acme", draft), ("globex", draft)], "nothing for who used nothing");
    assert_eq!((first.state, first.signatures.len()), (CloseState::Open, 1));
    assert_eq!(second.state, CloseState::Closed);
    let roles: Vec<_> = second.signatures.iter().map(|signed| signed.role.as_str()).collect();
    assert_eq!(roles, ["finance", "operator"]);
    let history: Vec<_> = second.history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(history, ["prepare", "sign", "sign", "close"]);
}

#[tokio::test]
async fn in_a_closed_month_only_credits_and_payments_are_possible() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let (acme, globex) = (issue(&books, "acme").await, issue(&books, "globex").await);
    let idle = books.ledger.draft_invoice(&"idle".parse().unwrap(), "2026-11", &finance).await;
    books.ledger.void_invoice(&id(&idle.unwrap()), "nothing used", &finance).await.unwrap();
    sign(&books, Role::Operator).await.unwrap();
    sign(&books, Role::Finance).await.unwrap();

    let void = books.ledger.void_invoice(&id(&acme), "a test", &finance).await.unwrap_err();
    let draft = books.ledger.draft_invoice(&"idle".parse().unwrap(), "2026-11", &finance).await;
    let twice = books.ledger.prepare_close("2026-11", &finance).await.unwrap_err();
    let signed = sign(&books, Role::Finance).await.unwrap_err();

    for error in [&void, &draft.unwrap_err(), &twice, &signed] {
        assert!(refusal(error).contains("2026-11` is closed"), "{error}");
    }
    let rest = NewCredit { scope: CreditScope::Rest, currency: None, reason: "a test".to_owned() };
    books.ledger.credit_invoice(&id(&acme), &rest, &finance).await.unwrap();
    books.ledger.pay_invoice(&id(&globex), None, &finance).await.unwrap();
}

#[tokio::test]
async fn what_comes_late_for_a_closed_month_is_on_the_next_invoice_also_of_who_had_none() {
    let books = closed().await;
    let key = add_key(&books.ledger, "idle").await.key;
    let mut late = event(4, "idle", key.id.as_str());
    late.at = at("2026-11-30T23:59:59Z");
    books.accept(&[late, books.event(5)]).await;

    for customer in ["acme", "idle"] {
        let customer = customer.parse().unwrap();
        let preview = books.ledger.preview_invoice(&customer, "2026-12").await.unwrap();
        let late: Vec<_> = preview.lines.iter().filter(|line| line.corrects.is_some()).collect();
        assert_eq!(late.len(), 2, "{customer}: {:?}", preview.lines);
        assert!(late.iter().all(|line| line.corrects.as_deref() == Some("2026-11")));
    }
}

#[tokio::test]
async fn a_check_that_is_not_in_order_is_named_and_signed_only_with_a_reason() {
    let books = in_december().await;
    let mut held = books.event(7);
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[held]).await;
    books.clock.set("2026-11-30T23:00:00Z");
    books.ledger.accept(&raw_batch("n2", 1, &[b"no event".to_vec()])).await.unwrap();
    books.clock.set("2026-12-02T00:00:00Z");
    issue(&books, "acme").await;
    let (operator, finance) =
        (books.as_role(Role::Operator).await, books.as_role(Role::Finance).await);
    let before = books.dump().await;

    let refused = books.ledger.sign_close("2026-11", None, &operator).await.unwrap_err();
    assert_eq!(books.dump().await, before);
    let signed = books.ledger.sign_close("2026-11", Some("n2 is gone"), &operator).await.unwrap();

    assert_eq!(open(&signed), ["intake", "quarantine", "unpriced_usage", "drafts"]);
    let refused = refusal(&refused);
    for words in
        ["n2 (last 2026-11-30T23:00:00Z)", "1 open payloads", "acme (1 requests)", "globex"]
    {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(signed.signatures[0].accepted.as_deref(), Some("n2 is gone"));
    let last = signed.history.last().unwrap().detail.clone().unwrap();
    assert!(last.contains("n2 is gone") && last.contains("quarantine: 1 open payloads"), "{last}");
    books.tamper("drop trigger posting_entry_no_update").await;
    books.tamper("update posting_entry set amount_nano = amount_nano + 1 where account = 'revenue:billed'").await;
    let broken = books.ledger.sign_close("2026-11", None, &finance).await.unwrap_err();
    assert!(refusal(&broken).contains("sums to 1 nano-units"), "{broken}");
}

/// The checks that take long are made before a signature has its turn to write.
#[tokio::test]
async fn what_changes_while_a_signature_waits_for_its_turn_is_found() {
    let books = in_december().await;
    issue(&books, "acme").await;
    issue(&books, "globex").await;
    let (ledger, finance) = (books.ledger.clone(), books.as_role(Role::Finance).await);
    let mut other = books.database.lock().await;
    for change in [
        "update request_hour set requests = requests + 1, unpriced = 1 where customer = 'acme'",
        "update invoice set state = 'void' where customer = 'globex'",
        "update usage_hour set quantity = quantity + 1 where customer = 'globex'",
    ] {
        other.write(change).await;
    }

    let mut waiting =
        tokio::spawn(async move { ledger.sign_close("2026-11", None, &finance).await });
    let early = tokio::time::timeout(Duration::from_millis(500), &mut waiting).await;
    other.release().await;

    assert!(early.is_err(), "{early:?}");
    let refused = refusal(&waiting.await.unwrap().unwrap_err());
    for words in ["without an invoice: globex", "acme (", "held for want of a price"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

#[tokio::test]
async fn who_may_not_sign_what_may_not_be_closed_and_no_month_are_refused() {
    let books = in_december().await;
    issue(&books, "acme").await;
    issue(&books, "globex").await;
    let finance = books.as_role(Role::Finance).await;

    let admin = sign(&books, Role::Admin).await.unwrap_err();
    sign(&books, Role::Finance).await.unwrap();
    let again = sign(&books, Role::Finance).await.unwrap_err();
    let running = books.ledger.prepare_close("2026-12", &finance).await.unwrap_err();
    let future = books.ledger.sign_close("2027-11", None, &finance).await.unwrap_err();
    let nonsense = books.ledger.close_report("november").await.unwrap_err();
    let open = books.ledger.reopen_period("2026-11", "a test", &finance).await.unwrap_err();

    assert!(refusal(&admin).contains("two roles, not by admin"), "{admin}");
    assert!(refusal(&again).contains("signed by finance already"), "{again}");
    assert!(refusal(&running).contains("from 2027-01-01T00:00:00Z on"), "{running}");
    assert!(refusal(&future).contains("has not ended"), "{future}");
    assert!(matches!(nonsense, LedgerError::Invalid { field: "period", .. }));
    assert!(refusal(&open).contains("is not closed"), "{open}");
    add_customer(&books.ledger, "hawaii", Currency::USD, "Pacific/Honolulu").await;
    books.clock.set("2026-12-01T09:59:59Z");
    let west = books.ledger.prepare_close("2026-11", &finance).await.unwrap_err();
    assert!(refusal(&west).contains("2026-12-01T10:00:00Z"), "{west}");
}

#[tokio::test]
async fn a_month_is_opened_again_only_for_a_reason_that_stays_and_is_signed_anew() {
    let books = closed().await;
    let finance = books.as_role(Role::Finance).await;

    let mute = books.ledger.reopen_period("2026-11", " ", &finance).await.unwrap_err();
    let opened = books.ledger.reopen_period("2026-11", "wrong VAT", &finance).await.unwrap();
    let acme: CustomerId = "acme".parse().unwrap();
    let listed = books.ledger.invoices(Some(&acme), &Page::default()).await.unwrap().items;
    books.ledger.void_invoice(&listed[0].id, "wrong VAT", &finance).await.unwrap();
    issue(&books, "acme").await;
    let one = sign(&books, Role::Finance).await.unwrap();
    let two = sign(&books, Role::Operator).await.unwrap();

    assert!(matches!(mute, LedgerError::Invalid { field: "reason", .. }));
    assert_eq!((opened.state, opened.signatures.len()), (CloseState::Open, 0));
    let last = opened.history.last().unwrap();
    assert_eq!((last.action.as_str(), last.detail.as_deref()), ("reopen", Some("wrong VAT")));
    assert_eq!((one.state, two.state), (CloseState::Open, CloseState::Closed));
    assert_eq!(books.value("select count(*) from period_signature").await, 4);
}

/// Documents without the ids and instants that each run makes anew.
pub(crate) async fn documents(books: &Books) -> Vec<(String, String, String)> {
    let rows = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    let mut documents = Vec::new();
    for row in rows {
        let invoice = books.ledger.invoice(&row.id).await.unwrap();
        let lines = serde_json::to_string(&invoice.lines).unwrap();
        documents.push((row.customer.to_string(), row.state.as_str().to_owned(), lines));
    }
    documents.sort();
    documents
}

/// Eight customers with usage.
pub(crate) async fn eight(books: &Books) {
    for number in 1..=8_u32 {
        let customer = format!("c{number}");
        add_customer(&books.ledger, &customer, Currency::CNY, "UTC").await;
        let key = add_key(&books.ledger, &customer).await.key;
        let used = event(number, &customer, key.id.as_str());
        books.ledger.accept(&batch("n1", number.into(), &[used])).await.unwrap();
    }
    books.clock.set("2026-12-02T00:00:00Z");
}

#[tokio::test]
async fn a_close_that_fails_anywhere_and_is_run_again_gives_the_same() {
    let (books, whole) = (Books::open().await, Books::open().await);
    eight(&books).await;
    eight(&whole).await;
    let finance = books.as_role(Role::Finance).await;
    let by = whole.as_role(Role::Finance).await;
    whole.ledger.prepare_close("2026-11", &by).await.unwrap();

    for failure in [
        "create trigger boom before insert on invoice when new.customer = 'c3'
             begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on audit when new.noun = 'invoice' and
             (select count(*) from audit where noun = 'invoice') = 5
             begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on invoice when new.customer = 'c7'
             begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on period_close begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on audit when new.noun = 'period'
             begin select raise(abort, 'boom'); end",
    ] {
        books.tamper(failure).await;
        let done = books.ledger.prepare_close("2026-11", &finance).await;
        books.tamper("drop trigger boom").await;
        assert!(matches!(done, Err(LedgerError::Store { .. })), "{failure}: {done:?}");
    }
    let close = books.ledger.prepare_close("2026-11", &finance).await.unwrap();

    assert_eq!(open(&close), ["intake", "issued"], "n1 has sent nothing since");
    assert_eq!(documents(&books).await, documents(&whole).await);
}

#[tokio::test]
async fn a_signature_that_fails_anywhere_leaves_nothing() {
    let books = in_december().await;
    issue(&books, "acme").await;
    issue(&books, "globex").await;
    sign(&books, Role::Operator).await.unwrap();
    let finance: Instruction = books.as_role(Role::Finance).await;
    let before = books.dump().await;

    for failure in [
        "create trigger boom before insert on period_signature
             begin select raise(abort, 'boom'); end",
        "create trigger boom before update on period_close
             begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on audit when new.action = 'sign'
             begin select raise(abort, 'boom'); end",
        "create trigger boom before insert on audit when new.action = 'close'
             begin select raise(abort, 'boom'); end",
    ] {
        books.tamper(failure).await;
        let done = books.ledger.sign_close("2026-11", None, &finance).await;
        books.tamper("drop trigger boom").await;
        assert!(matches!(done, Err(LedgerError::Store { .. })), "{failure}: {done:?}");
        assert_eq!(books.dump().await, before, "{failure}");
    }

    let close = books.ledger.sign_close("2026-11", None, &finance).await.unwrap();
    assert_eq!(close.state, CloseState::Closed);
}
