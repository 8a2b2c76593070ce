//! What issuing, paying and voiding an invoice does to the accounts.

use std::collections::BTreeMap;

use permille_ledger::{Invoice, Role};
use permille_types::{InvoiceId, TokenClass};

use crate::support::Books;

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// Balances that are not zero, in nano-units, after looking that all is well.
async fn balances(books: &Books) -> BTreeMap<String, i64> {
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    let balances = books.ledger.balances().await.unwrap();
    assert_eq!(balances.iter().map(|balance| balance.amount_nano).sum::<i64>(), 0);
    let accounts = balances.into_iter().map(|balance| (balance.account, balance.amount_nano));
    accounts.filter(|(_, nano)| *nano != 0).collect()
}

fn accounts<const N: usize>(of: [(&str, i64); N]) -> BTreeMap<String, i64> {
    of.into_iter().map(|(account, nano)| (account.to_owned(), nano)).collect()
}

/// 41,666 tokens at 0.012 per thousand: exactly 0.499992, on the invoice 0.50.
async fn in_december() -> Books {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens = [(TokenClass::INPUT_UNCACHED, 41_666)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    books
}

#[tokio::test]
async fn an_invoice_moves_usage_from_unbilled_to_billed_and_its_payment_to_cash() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let accrued = [("receivable:unbilled:acme", 499_992_000), ("revenue:unbilled", -499_992_000)];
    let billed = [("receivable:billed:acme", 500_000_000), ("revenue:billed", -500_000_000)];
    let draft = books.draft("2026-11").await;
    books.ledger.approve_invoice(&id(&draft), &finance).await.unwrap();
    assert_eq!(balances(&books).await, accounts(accrued));

    books.ledger.finalize_invoice(&id(&draft), &finance).await.unwrap();
    assert_eq!(balances(&books).await, accounts(billed));

    books.ledger.pay_invoice(&id(&draft), None, &finance).await.unwrap();
    let paid = [("cash", 500_000_000), ("revenue:billed", -500_000_000)];
    assert_eq!(balances(&books).await, accounts(paid));
    let subjects = books.lines("select distinct subject from posting order by subject").await;
    let of_invoice: Vec<_> =
        subjects.iter().filter(|text| text.starts_with("invoice INV-2026-000001 ")).collect();
    assert_eq!(of_invoice.len(), 2, "issued and paid, each by its number: {subjects:?}");
}

#[tokio::test]
async fn a_voided_invoice_leaves_the_accounts_as_if_it_had_never_been() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let before = balances(&books).await;

    let draft = books.draft("2026-11").await;
    books.ledger.void_invoice(&id(&draft), "a draft posts nothing", &finance).await.unwrap();
    let issued = books.issue("2026-11").await;
    books.ledger.void_invoice(&id(&issued), "wrong address", &finance).await.unwrap();

    assert_eq!(balances(&books).await, before);
    let standing = books.ledger.invoice(&id(&issued)).await.unwrap().standing.unwrap();
    assert_eq!(
        (standing.paid.to_string(), standing.due.to_string()),
        ("0.00".into(), "0.00".into())
    );
    books.issue("2026-11").await;
    assert!(!balances(&books).await.contains_key("receivable:unbilled:acme"));
}

#[tokio::test]
async fn what_is_not_invoiced_stays_unbilled_to_the_nano_unit() {
    let books = in_december().await;
    books.issue("2026-11").await;

    books.accept(&[books.event(2)]).await;

    let now = balances(&books).await;
    assert_eq!(now["receivable:unbilled:acme"], 18_000_000);
    assert_eq!(now["receivable:billed:acme"], 500_000_000);
}

#[tokio::test]
async fn books_that_something_else_wrote_to_are_found_out() {
    let books = in_december().await;
    books.issue("2026-11").await;

    books.tamper("drop trigger posting_entry_no_update").await;
    books
        .tamper(
            "update posting_entry set amount_nano = amount_nano + 1
             where account = 'receivable:billed:acme'",
        )
        .await;
    let found = books.ledger.check_books().await.unwrap();

    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("sums to 1 nano-units"), "{found:?}");
    assert!(found[1].contains("500000001") && found[1].contains("500000000"), "{found:?}");
}

#[tokio::test]
async fn a_balance_of_a_customer_whose_invoices_are_all_void_is_found_out() {
    let books = in_december().await;
    let issued = books.issue("2026-11").await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.void_invoice(&id(&issued), "wrong address", &finance).await.unwrap();

    books.tamper("drop trigger posting_entry_no_update").await;
    books
        .tamper(
            "update posting_entry set amount_nano = amount_nano + 1
             where account = 'receivable:billed:acme'",
        )
        .await;
    let found = books.ledger.check_books().await.unwrap();

    let says = "account receivable:billed:acme says 2 nano-units, invoices say 0";
    assert!(found.iter().any(|found| found == says), "{found:?}");
}
