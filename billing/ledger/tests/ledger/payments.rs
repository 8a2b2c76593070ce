//! Money of invoices: in parts, never above what is due, and back where credit notes say so.

use permille_ledger::{
    CreditScope, Instruction, Invoice, InvoiceState, LedgerError, NewCredit, NewPayment, Role,
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

fn of(amount: &str) -> NewPayment<'static> {
    NewPayment { amount: Some(decimal(amount)), ..NewPayment::default() }
}

/// An issued invoice over 12.00.
async fn issued() -> (Books, Invoice) {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    assert_eq!(invoice.total.to_string(), "12.00");
    (books, invoice)
}

/// Money in or back; the books are in order after it, whatever came of it.
async fn pay(books: &Books, invoice: &Invoice, amount: &str) -> Result<Invoice, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    let paid = books.ledger.pay_invoice_in_part(&id(invoice), &of(amount), &finance).await;
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    paid
}

async fn refund(
    books: &Books,
    invoice: &Invoice,
    amount: Option<&str>,
) -> Result<Invoice, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    let payment = NewPayment { amount: amount.map(decimal), ..NewPayment::default() };
    let back = books.ledger.refund_invoice(&id(invoice), &payment, &finance).await;
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    back
}

async fn credit(books: &Books, invoice: &Invoice, amount: &str) {
    let finance = books.as_role(Role::Finance).await;
    let scope = CreditScope::Amount(decimal(amount));
    let new = NewCredit { scope, currency: None, reason: "charged twice".to_owned() };
    books.ledger.credit_invoice(&id(invoice), &new, &finance).await.unwrap();
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

async fn balance(books: &Books, account: &str) -> String {
    let balances = books.ledger.balances().await.unwrap();
    let found = balances.iter().find(|balance| balance.account == account);
    found.map_or_else(|| "0".to_owned(), |balance| balance.amount().to_string())
}

/// State, and what was paid, paid back and is due.
fn standing(invoice: &Invoice) -> (InvoiceState, String, String, String) {
    let now = invoice.standing.clone().unwrap();
    let refunded = now.refunded.map_or_else(|| "none".to_owned(), |amount| amount.to_string());
    (invoice.state, now.paid.to_string(), refunded, now.due.to_string())
}

#[tokio::test]
async fn an_invoice_is_paid_in_parts_and_paid_with_the_last_of_them() {
    let (books, invoice) = issued().await;

    let first = pay(&books, &invoice, "5").await.unwrap();
    let second = pay(&books, &invoice, "6.99").await.unwrap();
    let in_between = balance(&books, "receivable:billed:acme").await;
    let last = pay(&books, &invoice, "0.01").await.unwrap();
    let more = pay(&books, &invoice, "0.01").await.unwrap_err();

    let none = || "none".to_owned();
    assert_eq!(standing(&first), (InvoiceState::Final, "5.00".into(), none(), "7.00".into()));
    assert_eq!(standing(&second), (InvoiceState::Final, "11.99".into(), none(), "0.01".into()));
    assert_eq!(in_between, "0.01");
    assert_eq!(standing(&last), (InvoiceState::Paid, "12.00".into(), none(), "0.00".into()));
    assert!(more.to_string().contains("is paid: pay is not possible"), "{more}");
    assert_eq!(balance(&books, "cash").await, "12");
    assert_eq!(balance(&books, "receivable:billed:acme").await, "0");
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let paid: Vec<_> = history.iter().filter(|entry| entry.action == "pay").collect();
    let details: Vec<_> = paid.iter().map(|entry| entry.detail.as_deref().unwrap()).collect();
    assert_eq!(details[0], "5.00 CNY, 7.00 CNY is due");
    let states: Vec<_> = paid.iter().map(|entry| entry.to.as_deref().unwrap()).collect();
    assert_eq!(states, ["final", "final", "paid"]);
}

#[tokio::test]
async fn more_than_is_due_and_what_is_no_money_are_refused_and_leave_nothing() {
    let (books, invoice) = issued().await;
    pay(&books, &invoice, "2").await.unwrap();
    let before = books.dump().await;

    for (amount, words) in [
        ("10.01", "above 0, up to 10.00, which is due; what came above it can be granted"),
        ("0", "above 0"),
        ("-1", "above 0"),
        ("0.001", "at most 2 decimal places"),
    ] {
        let error = pay(&books, &invoice, amount).await.unwrap_err();
        assert!(matches!(error, LedgerError::Invalid { field: "amount", .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{amount}: {error}");
    }
    let early = refund(&books, &invoice, None).await.unwrap_err();
    let finance = books.as_role(Role::Finance).await;
    let draft = books.draft("2026-12").await;
    let void = books.ledger.void_invoice(&id(&invoice), "a test", &finance).await.unwrap_err();
    let of_draft = pay(&books, &draft, "1").await.unwrap_err();

    assert!(early.to_string().contains("has nothing to be paid back"), "{early}");
    assert!(void.to_string().contains("has payments and cannot be made void"), "{void}");
    assert!(of_draft.to_string().contains("is draft: pay is not possible"), "{of_draft}");
    books.ledger.void_invoice(&id(&draft), "a test", &finance).await.unwrap();
    let after: Vec<String> = books.dump().await;
    let moved = |lines: &[String]| {
        let is_money = |line: &&String| line.contains("account") || line.contains("INV-");
        lines.iter().filter(is_money).cloned().collect::<Vec<_>>()
    };
    assert_eq!(moved(&after), moved(&before));
}

#[tokio::test]
async fn what_a_credit_note_leaves_too_much_is_paid_back_in_parts() {
    let (books, invoice) = issued().await;
    pay(&books, &invoice, "12").await.unwrap();
    credit(&books, &invoice, "5").await;

    let part = refund(&books, &invoice, Some("2")).await.unwrap();
    let above = refund(&books, &invoice, Some("3.01")).await.unwrap_err();
    let rest = refund(&books, &invoice, None).await.unwrap();
    let again = refund(&books, &invoice, None).await.unwrap_err();

    let paid = InvoiceState::Paid;
    assert_eq!(standing(&part), (paid, "12.00".into(), "2.00".into(), "-3.00".into()));
    assert!(above.to_string().contains("up to 3.00, which is to be paid back"), "{above}");
    assert_eq!(standing(&rest), (paid, "12.00".into(), "5.00".into(), "0.00".into()));
    assert!(again.to_string().contains("has nothing to be paid back"), "{again}");
    assert_eq!(balance(&books, "cash").await, "7");
    assert_eq!(balance(&books, "receivable:billed:acme").await, "0");
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let last = history.last().unwrap();
    let detail = "3.00 CNY, 0.00 CNY is due";
    assert_eq!((last.action.as_str(), last.detail.as_deref()), ("refund", Some(detail)));
}

#[tokio::test]
async fn a_credit_of_what_is_left_settles_what_was_paid_in_part_and_nothing_else() {
    let (books, invoice) = issued().await;
    credit(&books, &invoice, "2").await;
    let credited = books.ledger.invoice(&id(&invoice)).await.unwrap();
    pay(&books, &invoice, "4").await.unwrap();
    credit(&books, &invoice, "6").await;
    let settled = books.ledger.invoice(&id(&invoice)).await.unwrap();
    credit(&books, &invoice, "1").await;
    let over = refund(&books, &invoice, None).await.unwrap();

    assert_eq!(credited.state, InvoiceState::Final);
    let none = "none".to_owned();
    assert_eq!(standing(&settled), (InvoiceState::Paid, "4.00".into(), none, "0.00".into()));
    assert_eq!(standing(&over).3, "0.00");
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let credits: Vec<_> = history
        .iter()
        .filter(|entry| entry.action == "credit")
        .map(|entry| (entry.from.as_deref().unwrap(), entry.to.as_deref().unwrap()))
        .collect();
    assert_eq!(credits, [("final", "final"), ("final", "paid"), ("paid", "paid")]);
}

#[tokio::test]
async fn a_payment_or_a_refund_that_is_told_twice_under_its_key_moves_money_once() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let keyed = |key| Instruction::new(finance.by().clone(), Some(key)).unwrap();
    let (paying, refunding) = (keyed("pay-1"), keyed("back-1"));
    let pay = async |amount, by: &Instruction| {
        books.ledger.pay_invoice_in_part(&id(&invoice), &of(amount), by).await
    };

    let first = pay("5", &paying).await.unwrap();
    let again = pay("5.00", &paying).await.unwrap();
    let other = pay("6", &paying).await.unwrap_err();
    pay("7", &finance).await.unwrap();
    credit(&books, &invoice, "3").await;
    for _ in 0..2 {
        books.ledger.refund_invoice(&id(&invoice), &of("1"), &refunding).await.unwrap();
    }

    assert_eq!(first, again);
    assert!(matches!(other, LedgerError::Refused { noun: "idempotency key", .. }), "{other}");
    let now = books.ledger.invoice(&id(&invoice)).await.unwrap();
    assert_eq!(standing(&now), (InvoiceState::Paid, "12.00".into(), "1.00".into(), "-2.00".into()));
    assert_eq!(balance(&books, "cash").await, "11");
}

#[tokio::test]
async fn a_payment_that_is_told_again_by_its_reference_is_booked_once() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let day = |text: &str| Some(text.parse().unwrap());
    let first = NewPayment { reference: Some("bank 17"), date: day("2026-11-30"), ..of("5") };
    let pay = async |payment| {
        let paid = books.ledger.pay_invoice_in_part(&id(&invoice), &payment, &finance).await;
        assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
        paid
    };

    let booked = pay(first).await.unwrap();
    let again = pay(NewPayment { reference: Some(" bank 17 "), ..first }).await.unwrap();
    let other_amount = NewPayment { amount: of("7").amount, ..first };
    let all = NewPayment { amount: None, ..first };
    let other_day = NewPayment { date: day("2026-12-01"), ..first };
    let no_day = NewPayment { date: None, ..first };
    let mut refused = Vec::new();
    for other in [other_amount, all, other_day, no_day] {
        refused.push(pay(other).await.unwrap_err());
    }
    let to_come = NewPayment { date: day("2026-12-02"), reference: None, ..of("1") };
    let early = pay(to_come).await.unwrap_err();
    let rest = NewPayment { reference: Some("bank 18"), ..NewPayment::default() };
    let last = pay(rest).await.unwrap();
    let last_again = pay(rest).await.unwrap();
    let last_by_amount = pay(NewPayment { amount: of("7").amount, ..rest }).await.unwrap();

    assert_eq!(booked, again);
    for error in refused {
        assert!(matches!(error, LedgerError::Invalid { field: "reference", .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("bank 17") && text.contains("5.00 CNY on 2026-11-30"), "{text}");
    }
    assert!(matches!(early, LedgerError::Invalid { field: "date", .. }), "{early:?}");
    assert_eq!((last.state, &last), (InvoiceState::Paid, &last_again));
    assert_eq!(last, last_by_amount);
    assert_eq!(balance(&books, "cash").await, "12");
    let history = books.ledger.invoice_history(&id(&invoice)).await.unwrap();
    let paid = history.iter().filter(|entry| entry.action == "pay");
    let details: Vec<_> = paid.filter_map(|entry| entry.detail.as_deref()).collect();
    let of_first = "5.00 CNY on 2026-11-30, 7.00 CNY is due: bank 17";
    assert_eq!(details, [of_first, "7.00 CNY, 0.00 CNY is due: bank 18"]);

    credit(&books, &invoice, "3").await;
    let back = NewPayment { reference: Some("bank 17"), ..of("2") };
    for _ in 0..2 {
        books.ledger.refund_invoice(&id(&invoice), &back, &finance).await.unwrap();
    }
    let now = books.ledger.invoice(&id(&invoice)).await.unwrap();
    assert_eq!(standing(&now).3, "-1.00");
    assert_eq!(balance(&books, "cash").await, "10");

    // Telling it again spends a key as well.
    let keyed = Instruction::new(finance.by().clone(), Some("key-1")).unwrap();
    let other = NewPayment { reference: Some("bank 19"), ..of("1") };
    for _ in 0..2 {
        books.ledger.refund_invoice(&id(&invoice), &back, &keyed).await.unwrap();
    }
    let taken = books.ledger.refund_invoice(&id(&invoice), &other, &keyed).await.unwrap_err();
    assert!(matches!(taken, LedgerError::Refused { .. }), "{taken:?}");
    assert_eq!(balance(&books, "cash").await, "10");
}

#[tokio::test]
async fn a_failure_at_any_statement_of_a_payment_leaves_nothing() {
    let (books, invoice) = issued().await;
    let finance = books.as_role(Role::Finance).await;
    let before = books.dump().await;

    for failure in [
        "create trigger boom before insert on posting begin select raise(abort, 'b'); end",
        "create trigger boom before insert on invoice_payment begin select raise(abort, 'b'); end",
        "create trigger boom before update of paid on invoice begin select raise(abort, 'b'); end",
        "create trigger boom before update of state on invoice begin select raise(abort, 'b'); end",
        "create trigger boom before insert on audit begin select raise(abort, 'b'); end",
    ] {
        books.tamper(failure).await;
        let done = books.ledger.pay_invoice_in_part(&id(&invoice), &of("3"), &finance).await;
        books.tamper("drop trigger boom").await;
        assert!(matches!(done, Err(LedgerError::Store { .. })), "{failure}: {done:?}");
        assert_eq!(books.dump().await, before, "{failure}");
    }
}
