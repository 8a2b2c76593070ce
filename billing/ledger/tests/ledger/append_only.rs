//! What was booked, noted, issued or signed is never changed, whoever asks the store for it.

use permille_ledger::{CreditScope, NewCredit, NewPayment, Role};
use permille_types::TokenClass;
use rust_decimal::Decimal;

use crate::support::Books;

/// Each table with a column of it.
const KEPT: [(&str, &str); 7] = [
    ("posting", "created_at"),
    ("posting_entry", "amount_nano"),
    ("audit", "at"),
    ("credit_note", "created_at"),
    ("invoiced_usage", "quantity"),
    ("invoice_payment", "at"),
    ("period_signature", "round"),
];

/// November issued, paid in part, credited in part and signed.
async fn signed() -> Books {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let id = books.issue("2026-11").await.id.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let payment = NewPayment { amount: Some(Decimal::ONE), ..NewPayment::default() };
    books.ledger.pay_invoice_in_part(&id, &payment, &finance).await.unwrap();
    let scope = CreditScope::Amount(Decimal::TWO);
    let new = NewCredit { scope, currency: None, reason: "too dear".to_owned() };
    books.ledger.credit_invoice(&id, &new, &finance).await.unwrap();
    books.ledger.sign_close("2026-11", Some("n1 is gone"), &finance).await.unwrap();
    books
}

#[tokio::test]
async fn no_row_of_the_books_and_of_the_trail_can_be_changed_or_deleted() {
    let books = signed().await;
    let before = books.dump().await;
    let truncated = env!("CARGO_CRATE_NAME") == "ledger_postgres";

    for (table, column) in KEPT {
        let filled = format!("select count(*) from {table}");
        assert!(books.value(Box::leak(filled.into_boxed_str())).await > 0, "{table} is empty");
        let mut changes = vec![
            format!("update {table} set {column} = {column} + 1"),
            format!("delete from {table}"),
        ];
        changes.extend(truncated.then(|| format!("truncate {table} cascade")));
        for change in changes {
            let refused = books.database.attempt(&change).await.unwrap_err();
            assert!(refused.contains(" is append-only"), "{change}: {refused}");
        }
    }

    assert_eq!(books.dump().await, before);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}
