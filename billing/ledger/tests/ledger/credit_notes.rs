//! Credit notes: under numbers of their own, never above what is left, with their tax.

use permille_ledger::{
    CreditNote, CreditScope, CustomerChanges, Instruction, Invoice, InvoiceState, LedgerError,
    NewCredit, Page, Role, TaxRate, TaxTerms,
};
use permille_types::{InvoiceId, TokenClass};
use rust_decimal::Decimal;

use crate::support::Books;

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn over(scope: CreditScope) -> NewCredit {
    NewCredit { scope, currency: None, reason: "charged twice".to_owned() }
}

fn amount(text: &str) -> NewCredit {
    over(CreditScope::Amount(decimal(text)))
}

/// An issued invoice of two lines, 12.00 and 6.00, and VAT of 20 percent: 21.60.
async fn issued() -> (Books, Invoice) {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    let vat = TaxRate { name: "VAT".to_owned(), percent: decimal("20") };
    let tax = Some(TaxTerms::Standard { rates: vec![vat] });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    let customer = books.key.key.customer.clone();
    books.ledger.change_customer(&customer, changes, &finance).await.unwrap();
    let mut event = books.event(1);
    event.tokens =
        [(TokenClass::INPUT_UNCACHED, 1_000_000), (TokenClass::OUTPUT_TEXT, 500_000)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    assert_eq!(invoice.total.to_string(), "21.60");
    (books, invoice)
}

async fn credit(
    books: &Books,
    invoice: &Invoice,
    new: &NewCredit,
) -> Result<CreditNote, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    let made = books.ledger.credit_invoice(&id(invoice), new, &finance).await;
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    made
}

async fn balance(books: &Books, account: &str) -> String {
    let balances = books.ledger.balances().await.unwrap();
    let found = balances.iter().find(|balance| balance.account == account);
    found.map_or_else(|| "0".to_owned(), |balance| balance.amount().to_string())
}

#[tokio::test]
async fn a_credit_takes_back_its_lines_with_their_tax_and_leaves_the_invoice_as_it_is() {
    let (books, invoice) = issued().await;
    let document = books.ledger.invoice_document(&id(&invoice)).await.unwrap();

    let spread = credit(&books, &invoice, &amount("0.10")).await.unwrap();
    let line = over(CreditScope::Line { number: 2, amount: Some(decimal("1.00")) });
    let line = credit(&books, &invoice, &line).await.unwrap();

    let parts = |note: &CreditNote| {
        let lines = note.lines.iter().map(|line| (line.line, line.amount.to_string()));
        (lines.collect::<Vec<_>>(), note.tax[0].amount.to_string(), note.gross.to_string())
    };
    let lines = vec![(1, "0.07".to_owned()), (2, "0.03".to_owned())];
    assert_eq!(parts(&spread), (lines, "0.02".into(), "0.12".into()));
    assert_eq!(parts(&line), (vec![(2, "1.00".into())], "0.20".into(), "1.20".into()));
    let numbers = [spread.number.as_str(), line.number.as_str()];
    assert_eq!(numbers, ["CN-2026-000001", "CN-2026-000002"]);
    assert_eq!(spread.invoice.number, invoice.number.clone().unwrap());
    let shown = books.ledger.invoice(&id(&invoice)).await.unwrap();
    let standing = shown.standing.unwrap();
    assert_eq!((standing.credited, standing.due), (decimal("1.32"), decimal("20.28")));
    assert_eq!(books.ledger.invoice_document(&id(&invoice)).await.unwrap(), document);
    assert_eq!(balance(&books, "receivable:billed:acme").await, "20.28");
    assert_eq!(balance(&books, "revenue:billed").await, "-16.9");
    assert_eq!(balance(&books, "tax:payable").await, "-3.38");
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.action.as_str(), last.to.as_deref()), ("credit", Some("final")));
    assert!(last.detail.as_ref().unwrap().contains("CN-2026-000002"), "{last:?}");
}

#[tokio::test]
async fn what_is_left_is_the_most_and_the_last_note_leaves_nothing() {
    let (books, invoice) = issued().await;
    credit(&books, &invoice, &amount("17.99")).await.unwrap();
    let before = books.dump().await;

    let above = credit(&books, &invoice, &amount("0.02")).await.unwrap_err();
    let line = CreditScope::Line { number: 3, amount: None };
    let no_line = credit(&books, &invoice, &over(line)).await.unwrap_err();
    let fine = credit(&books, &invoice, &amount("0.001")).await.unwrap_err();
    let none = credit(&books, &invoice, &amount("0")).await.unwrap_err();
    let mute = NewCredit { scope: CreditScope::Rest, currency: None, reason: String::new() };
    let mute = credit(&books, &invoice, &mute).await.unwrap_err();

    for (error, field, words) in [
        (&above, "amount", "up to 0.01"),
        (&no_line, "line", "1 to 2"),
        (&fine, "amount", "2 decimal places"),
        (&none, "amount", "above 0"),
        (&mute, "reason", "1 to 1000 bytes"),
    ] {
        assert!(matches!(error, LedgerError::Invalid { field: found, .. } if *found == field));
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(books.dump().await, before, "a refusal takes no number");
    let rest = credit(&books, &invoice, &over(CreditScope::Rest)).await.unwrap();
    assert_eq!(rest.number.as_str(), "CN-2026-000002");
    let standing = books.ledger.invoice(&id(&invoice)).await.unwrap().standing.unwrap();
    assert_eq!((standing.credited, standing.due.to_string()), (invoice.total, "0.00".into()));
    let nothing = credit(&books, &invoice, &over(CreditScope::Rest)).await.unwrap_err();
    assert!(nothing.to_string().contains("nothing left"), "{nothing}");
    for account in ["receivable:billed:acme", "revenue:billed", "tax:payable"] {
        assert_eq!(balance(&books, account).await, "0", "{account}");
    }
}

#[tokio::test]
async fn what_was_never_issued_or_is_void_is_not_credited_and_what_is_credited_not_voided() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let draft = books.draft("2026-12").await;

    let early = credit(&books, &draft, &over(CreditScope::Rest)).await.unwrap_err();
    credit(&books, &invoice, &amount("1.00")).await.unwrap();
    let voided = books.ledger.void_invoice(&id(&invoice), "a test", &finance).await.unwrap_err();
    books.ledger.void_invoice(&id(&draft), "a test", &finance).await.unwrap();
    let void = credit(&books, &draft, &over(CreditScope::Rest)).await.unwrap_err();

    assert!(early.to_string().contains("is draft"), "{early}");
    assert!(voided.to_string().contains("has credit notes"), "{voided}");
    assert!(void.to_string().contains("is void"), "{void}");
}

#[tokio::test]
async fn what_is_due_after_a_credit_is_what_is_paid_and_a_later_credit_is_owed_back() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    credit(&books, &invoice, &amount("3.00")).await.unwrap();

    let paid = books.ledger.pay_invoice(&id(&invoice), None, &finance).await.unwrap();
    credit(&books, &invoice, &amount("5.00")).await.unwrap();

    assert_eq!(paid.state, InvoiceState::Paid);
    assert_eq!(paid.standing.unwrap().paid, decimal("18.00"));
    let standing = books.ledger.invoice(&id(&invoice)).await.unwrap().standing.unwrap();
    assert_eq!(standing.due, decimal("-6.00"));
    assert_eq!(balance(&books, "receivable:billed:acme").await, "-6");
    assert_eq!(balance(&books, "cash").await, "18");
}

#[tokio::test]
async fn a_credit_that_is_asked_for_again_under_its_key_is_the_same_credit() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let keyed = Instruction::new(finance.by().clone(), Some("k-1")).unwrap();

    let first = books.ledger.credit_invoice(&id(&invoice), &amount("1"), &keyed).await.unwrap();
    let again = books.ledger.credit_invoice(&id(&invoice), &amount("1"), &keyed).await.unwrap();
    let other = books.ledger.credit_invoice(&id(&invoice), &amount("2"), &keyed).await.unwrap_err();

    assert_eq!(again, first);
    assert!(matches!(other, LedgerError::Refused { noun: "idempotency key", .. }), "{other}");
    let listed = books.ledger.credit_notes(None, &Page::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].number, listed[0].gross), (&first.number, first.gross));
    let text = books.ledger.credit_note_document(first.number.as_str()).await.unwrap();
    assert_eq!(serde_json::from_str::<CreditNote>(&text).unwrap(), first);
}

#[tokio::test]
async fn a_failure_at_any_statement_of_a_credit_leaves_nothing() {
    let (books, invoice) = issued().await;
    let before = books.dump().await;

    for failure in [
        "create trigger boom before insert on document_series begin select raise(abort, 'b'); end",
        "create trigger boom before insert on credit_note begin select raise(abort, 'b'); end",
        "create trigger boom before insert on posting begin select raise(abort, 'b'); end",
        "create trigger boom before insert on posting_entry when new.account = 'tax:payable'
             begin select raise(abort, 'b'); end",
        "create trigger boom before insert on audit begin select raise(abort, 'b'); end",
    ] {
        books.tamper(failure).await;
        let done = books
            .ledger
            .credit_invoice(&id(&invoice), &amount("1"), &books.as_role(Role::Finance).await)
            .await;
        books.tamper("drop trigger boom").await;
        assert!(matches!(done, Err(LedgerError::Store { .. })), "{failure}: {done:?}");
        assert_eq!(books.dump().await, before, "{failure}");
    }

    let note = credit(&books, &invoice, &amount("1")).await.unwrap();
    assert_eq!(note.number.as_str(), "CN-2026-000001");
}
