//! Idempotency keys: spent with the change itself, whatever it changes, and on one call.

use permille_ledger::{
    Change, CustomerChanges, Instruction, InvoiceTexts, LedgerError, LimitChanges, Limited,
    NewWebhook, Outcome, Role, TextChange,
};
use permille_rating::price_book::parse_price_book;
use permille_types::Price;

use crate::support::Books;

const PLAN: &str =
    "[[plan]]\nname = \"p\"\nkind = \"subscription\"\ncurrency = \"CNY\"\nfee = \"1\"\n";
const CHARGE: &str = "[[charge]]\nname = \"c\"\ncurrency = \"CNY\"\nkind = \"package\"\n\
                      from = 2026-12-01T00:00:00Z\nsize = \"1000\"\nunit = \"5\"\n";

fn prices(input: &str) -> Vec<Price> {
    let text = format!(
        "[[price]]\nmodel = \"imported\"\ncurrency = \"CNY\"\nfrom = 2026-12-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"{input}\"\noutput = \"0.01\"\n"
    );
    parse_price_book(&text, "a test").unwrap()
}

fn rpm(rpm: u32) -> LimitChanges {
    LimitChanges { rpm: Change::Set(rpm), ..LimitChanges::default() }
}

/// One call of each kind, the second of two values of it or the first, as text.
async fn call(
    books: &Books,
    what: &str,
    second: bool,
    by: &Instruction,
) -> Result<String, LedgerError> {
    let ledger = &books.ledger;
    let acme = &books.key.key.customer;
    let word = if second { "b" } else { "a" };
    let shown = match what {
        "customer" => {
            let notes = TextChange::Set(word.to_owned());
            let changes = CustomerChanges { notes, ..CustomerChanges::default() };
            format!("{:?}", ledger.change_customer(acme, changes, by).await?)
        }
        "limits" => {
            let whose = Limited::Customer(acme.clone());
            format!("{:?}", ledger.change_limits(&whose, rpm(5 + u32::from(second)), by).await?)
        }
        "plans" => {
            let text = if second { PLAN.replace("\"1\"", "\"2\"") } else { PLAN.to_owned() };
            format!("{:?}", ledger.add_plans(&text, by).await?)
        }
        "plan of a customer" => {
            let name = if second { "none" } else { "p" };
            format!("{:?}", ledger.assign_plan(acme, name, None, by).await?)
        }
        "charges" => {
            let text = if second { CHARGE.replace("\"c\"", "\"d\"") } else { CHARGE.to_owned() };
            format!("{:?}", ledger.add_charges(&text, by).await?)
        }
        "prices" => {
            let prices = prices(if second { "0.03" } else { "0.02" });
            format!("{:?}", ledger.import_prices_by(&prices, true, by).await?.0)
        }
        "draft" => {
            let texts = InvoiceTexts { notes: Some(word.to_owned()), ..InvoiceTexts::default() };
            format!("{:?}", ledger.draft_invoice_saying(acme, "2026-11", texts, by).await?)
        }
        other => {
            assert_eq!(other, "outcome");
            let outcome = if second { Outcome::Rejected } else { Outcome::Accepted };
            let session = books.event(1).session;
            format!("{:?}", ledger.tell_outcome(acme, &session, outcome, by).await?.session)
        }
    };
    Ok(shown)
}

const CALLS: [&str; 8] =
    ["customer", "limits", "plans", "plan of a customer", "charges", "prices", "draft", "outcome"];

#[tokio::test]
async fn a_call_is_made_once_under_its_key_however_late_it_comes_again() {
    let books = Books::open().await;
    books.accept(&[books.event(1)]).await;
    let admin = books.as_role(Role::Admin).await;
    let keyed = |key: &str| Instruction::new(admin.by().clone(), Some(key)).unwrap();
    for what in CALLS {
        let [one, two, three] = ["1", "2", "3"].map(|key| keyed(&format!("{what} {key}")));

        let first = call(&books, what, false, &one).await.unwrap();
        let made = books.dump().await;
        let again = call(&books, what, false, &one).await.unwrap();
        let other = call(&books, what, true, &one).await.unwrap_err();

        assert_eq!(again, first, "{what}");
        let is_of_key = matches!(other, LedgerError::Refused { noun: "idempotency key", .. });
        assert!(is_of_key, "{what}: {other}");
        assert_eq!(books.dump().await, made, "{what}");
        // The same anew changes nothing, or is refused: where it is not, its key is spent too.
        if call(&books, what, false, &two).await.is_ok() {
            let other = call(&books, what, true, &two).await.unwrap_err().to_string();
            assert!(other.contains("Idempotency-Key"), "{what}: {other}");
        }
        call(&books, what, true, &three).await.unwrap();
        let since = books.dump().await;
        call(&books, what, false, &one).await.unwrap();
        assert_eq!(books.dump().await, since, "{what}: the first value came back");
    }
}

#[tokio::test]
async fn a_key_and_its_change_are_kept_together_or_not_at_all() {
    let books = Books::open().await;
    let admin = books.as_role(Role::Admin).await;
    let keyed = |key: &str| Instruction::new(admin.by().clone(), Some(key)).unwrap();
    call(&books, "limits", false, &keyed("1")).await.unwrap();
    let before = books.dump().await;
    for (fault, end) in [
        ("create unique index one on audit (noun) where noun = 'limits of'", "drop index one"),
        (
            "create unique index two on audit (action) where action = 'change limits'",
            "drop index two",
        ),
    ] {
        books.tamper(fault).await;

        let failed = call(&books, "limits", true, &keyed("2")).await.unwrap_err();

        assert!(matches!(failed, LedgerError::Store { .. }), "{failed}");
        assert_eq!(books.dump().await, before, "{fault}");
        books.tamper(end).await;
    }
    call(&books, "limits", true, &keyed("2")).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_spends_no_key() {
    let books = Books::open().await;
    let admin = books.as_role(Role::Admin).await;
    let keyed = Instruction::new(admin.by().clone(), Some("once")).unwrap();
    let whose = Limited::Customer(books.key.key.customer.clone());

    books.ledger.change_limits(&whose, rpm(0), &keyed).await.unwrap_err();
    let changed = books.ledger.change_limits(&whose, rpm(5), &keyed).await.unwrap();

    assert_eq!(changed.rpm, Some(5));
}

#[tokio::test]
async fn an_endpoint_is_asked_once_under_one_key() {
    let books = Books::open().await;
    let admin = books.as_role(Role::Admin).await;
    let keyed = |key: &str| Instruction::new(admin.by().clone(), Some(key)).unwrap();
    let new = |url: &str| NewWebhook {
        customer: None,
        url: url.to_owned(),
        events: Vec::new(),
        description: None,
    };
    let made = books.ledger.add_webhook(new("https://example.com/1"), &admin).await.unwrap();
    let id = made.webhook.id;

    let test = books.ledger.test_webhook(&id, &keyed("test")).await.unwrap();
    let other = books.ledger.resend_delivery(&id, &test.event, &keyed("test")).await.unwrap_err();
    books.ledger.resend_delivery(&id, &test.event, &keyed("resend")).await.unwrap();
    let removed = books.ledger.remove_webhook(&id, &keyed("remove")).await.unwrap();
    let after = books.dump().await;

    assert!(other.to_string().contains("was used to test endpoint"), "{other}");
    // Also when it is there no more.
    let again = books.ledger.test_webhook(&id, &keyed("test")).await.unwrap();
    assert_eq!(again.event, test.event);
    books.ledger.resend_delivery(&id, &test.event, &keyed("resend")).await.unwrap();
    assert_eq!(books.ledger.remove_webhook(&id, &keyed("remove")).await.unwrap(), removed);
    assert_eq!(books.dump().await, after);
    let key = &books.key.key.id;
    books.ledger.revoke_key(key, &keyed("revoke")).await.unwrap();
    let other = books.ledger.remove_webhook(&id, &keyed("revoke")).await.unwrap_err();
    assert!(other.to_string().contains(&format!("revoke access by `{key}`")), "{other}");
}
