//! Prepaid credit: what it pays, what it leaves in the books, and that it is never overdrawn.

use std::sync::Arc;

use permille_ledger::{
    CreditScope, CustomerChanges, Grant, Instruction, Invoice, LedgerError, NewCredit, NewGrant,
    Page, Role, TaxRate, TaxTerms,
};
use permille_types::{Currency, CustomerId, TokenClass};
use rust_decimal::Decimal;

use crate::support::{Books, at};

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn credit(amount: &str, paid: &str) -> NewGrant {
    NewGrant {
        amount: decimal(amount),
        currency: None,
        paid: decimal(paid),
        priority: 0,
        from: None,
        expires_at: None,
        models: Vec::new(),
        reason: "top-up".to_owned(),
    }
}

async fn add(books: &Books, new: &NewGrant) -> Grant {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_grant(&acme(), new, &finance).await.unwrap()
}

async fn left(books: &Books) -> Vec<String> {
    let grants = books.ledger.grants(Some(&acme()), &Page::default()).await.unwrap().items;
    grants.iter().map(|grant| grant.left.to_string()).collect()
}

/// What an account has, in nano-units.
async fn balance(books: &Books, account: &str) -> i64 {
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    let balances = books.ledger.balances().await.unwrap();
    let found = balances.iter().find(|balance| balance.account == account);
    found.map_or(0, |balance| balance.amount_nano)
}

const CNY: i64 = 1_000_000_000;

/// November with usage of 12.00, and VAT of 10 percent.
async fn in_december() -> Books {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    let rates = vec![TaxRate { name: "VAT".to_owned(), percent: decimal("10") }];
    let tax = Some(TaxTerms::Standard { rates });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    books.ledger.change_customer(&acme(), changes, &finance).await.unwrap();
    let mut event = books.event(1);
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[event]).await;
    books
}

fn paid(invoice: &Invoice) -> (String, String) {
    (invoice.prepaid.unwrap_or_default().to_string(), invoice.total.to_string())
}

#[tokio::test]
async fn credit_pays_after_tax_and_the_books_follow() {
    let books = in_december().await;
    add(&books, &credit("10", "8")).await;
    assert_eq!(balance(&books, "credit:prepaid:acme").await, -10 * CNY);
    assert_eq!(balance(&books, "cash").await, 8 * CNY);
    assert_eq!(balance(&books, "expense:promotion").await, 2 * CNY);
    books.clock.set("2026-12-02T00:00:00Z");

    let draft = books.draft("2026-11").await;
    assert_eq!(left(&books).await, ["10.00"], "a draft draws nothing");
    let issued = books.issue("2026-11").await;

    assert_eq!((paid(&draft), paid(&issued)), (paid(&issued), ("10.00".into(), "3.20".into())));
    assert_eq!(left(&books).await, ["0.00"]);
    assert_eq!(balance(&books, "credit:prepaid:acme").await, 0);
    assert_eq!(balance(&books, "receivable:billed:acme").await, 3_200_000_000);
    let id = issued.id.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let shown = books.ledger.pay_invoice(&id, None, &finance).await.unwrap();
    assert_eq!(shown.standing.unwrap().paid.to_string(), "3.20");
    assert_eq!(balance(&books, "cash").await, 11_200_000_000);
}

#[tokio::test]
async fn what_credit_has_paid_goes_back_to_it_and_not_to_money() {
    let books = in_december().await;
    add(&books, &credit("6", "6")).await;
    books.clock.set("2026-11-20T10:00:01Z");
    add(&books, &credit("4", "0")).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let issued = books.issue("2026-11").await;
    let finance = books.as_role(Role::Finance).await;
    let id = issued.id.clone().unwrap();
    let back = async |scope| {
        let new = NewCredit { scope, currency: None, reason: "goodwill".to_owned() };
        books.ledger.credit_invoice(&id, &new, &finance).await
    };
    let told = |note: &permille_ledger::CreditNote| {
        let credits = note.credits.iter().map(|credit| credit.amount.to_string());
        (note.gross.to_string(), note.in_money().to_string(), credits.collect::<Vec<_>>())
    };
    // A promotion pays before what was paid for: 4.00, then 6.00; the last drawn goes back first.
    assert_eq!((paid(&issued), left(&books).await.len()), (("10.00".into(), "3.20".into()), 2));

    let money = back(CreditScope::Amount(decimal("2"))).await.unwrap();
    let both = back(CreditScope::Amount(decimal("6"))).await.unwrap();
    let half = left(&books).await;
    let void = books.ledger.void_invoice(&id, "a test", &finance).await.unwrap_err();
    let rest = back(CreditScope::Rest).await.unwrap();
    let none = back(CreditScope::Rest).await.unwrap_err();

    assert_eq!(told(&money), ("2.20".into(), "2.20".into(), vec![]));
    assert_eq!(told(&both), ("6.60".into(), "1.00".into(), vec!["5.60".into()]));
    assert_eq!(half, ["5.60", "0.00"]);
    assert!(void.to_string().contains("has credit notes"), "{void}");
    assert_eq!(told(&rest), ("4.40".into(), "0.00".into(), vec!["0.40".into(), "4.00".into()]));
    assert!(none.to_string().contains("nothing left"), "{none}");
    assert_eq!(left(&books).await, ["6.00", "4.00"]);
    assert_eq!(balance(&books, "credit:prepaid:acme").await, -10 * CNY);
    for account in ["receivable:billed:acme", "revenue:billed", "tax:payable"] {
        assert_eq!(balance(&books, account).await, 0, "{account}");
    }
    let standing = books.ledger.invoice(&id).await.unwrap().standing.unwrap();
    assert_eq!((standing.credited, standing.due.to_string()), (decimal("3.20"), "0.00".to_owned()));
}

#[tokio::test]
async fn credit_that_was_taken_before_tax_goes_back_with_the_lines() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let plan = "[[plan]]\nname = \"prepaid\"\nkind = \"prepaid\"\ncurrency = \"CNY\"\n\
                credit = \"before_tax\"\n";
    books.ledger.add_plans(plan, &finance).await.unwrap();
    let from = Some(at("2026-11-01T00:00:00Z"));
    books.ledger.assign_plan(&acme(), "prepaid", from, &finance).await.unwrap();
    add(&books, &credit("3", "3")).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let issued = books.issue("2026-11").await;
    let back = async |scope| {
        let new = NewCredit { scope, currency: None, reason: "goodwill".to_owned() };
        books.ledger.credit_invoice(&issued.id.clone().unwrap(), &new, &finance).await.unwrap()
    };

    let third = back(CreditScope::Amount(decimal("4"))).await;
    let after = left(&books).await;
    back(CreditScope::Rest).await;

    // Of 12.00 credit took 3.00; 9.00 and VAT of 0.90 were to be paid.
    assert_eq!(issued.total.to_string(), "9.90");
    let amounts = [third.of_lines(), third.net, third.tax[0].amount, third.in_money()];
    assert_eq!(amounts.map(|amount| amount.to_string()), ["4.00", "3.00", "0.30", "3.30"]);
    assert_eq!(after, ["1.00"]);
    assert_eq!(left(&books).await, ["3.00"]);
    for account in ["receivable:billed:acme", "revenue:billed", "tax:payable"] {
        assert_eq!(balance(&books, account).await, 0, "{account}");
    }
}

#[tokio::test]
async fn a_plan_may_take_credit_before_tax() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let plan = "[[plan]]\nname = \"prepaid\"\nkind = \"prepaid\"\ncurrency = \"CNY\"\n\
                credit = \"before_tax\"\n";
    books.ledger.add_plans(plan, &finance).await.unwrap();
    let from = Some(at("2026-11-01T00:00:00Z"));
    books.ledger.assign_plan(&acme(), "prepaid", from, &finance).await.unwrap();
    add(&books, &credit("10", "10")).await;
    books.clock.set("2026-12-02T00:00:00Z");

    let issued = books.issue("2026-11").await;

    assert_eq!(
        (issued.subtotal.to_string(), issued.net.to_string()),
        ("12.00".into(), "2.00".into())
    );
    assert_eq!(paid(&issued), ("10.00".into(), "2.20".into()));
    assert_eq!(balance(&books, "revenue:billed").await, -12 * CNY);
    assert_eq!(balance(&books, "tax:payable").await, -200_000_000);
}

#[tokio::test]
async fn a_voided_invoice_gives_the_credit_back() {
    let books = in_december().await;
    add(&books, &credit("10", "10")).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let first = books.issue("2026-11").await;
    let finance = books.as_role(Role::Finance).await;

    books.ledger.void_invoice(first.id.as_ref().unwrap(), "again", &finance).await.unwrap();

    assert_eq!(left(&books).await, ["10.00"]);
    assert_eq!(balance(&books, "credit:prepaid:acme").await, -10 * CNY);
    let second = books.issue("2026-11").await;
    assert_eq!(paid(&second), paid(&first));
}

#[tokio::test]
async fn of_two_drafts_that_draw_on_one_grant_the_second_is_drafted_again() {
    let books = in_december().await;
    let mut event = books.event(2);
    event.at = at("2026-10-05T10:00:00Z");
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[event]).await;
    add(&books, &NewGrant { from: Some(at("2026-10-01T00:00:00Z")), ..credit("15", "15") }).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let finance = books.as_role(Role::Finance).await;
    let (october, november) = (books.draft("2026-10").await, books.draft("2026-11").await);
    let ids = [october.id.unwrap(), november.id.unwrap()];
    for id in &ids {
        books.ledger.approve_invoice(id, &finance).await.unwrap();
    }

    books.ledger.finalize_invoice(&ids[0], &finance).await.unwrap();
    let refused = books.ledger.finalize_invoice(&ids[1], &finance).await.unwrap_err();

    assert!(matches!(refused, LedgerError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("draft it again"), "{refused}");
    assert_eq!(left(&books).await, ["1.80"], "and nothing was half done");
    let again = books.issue("2026-11").await;
    assert_eq!(paid(&again), ("1.80".into(), "11.40".into()));
    assert_eq!(left(&books).await, ["0.00"]);
    assert_eq!(books.value("select last from document_series").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_finalize_at_once_a_grant_is_never_overdrawn() {
    let books = Books::open().await;
    let months = ["2026-06", "2026-07", "2026-08", "2026-09", "2026-10", "2026-11"];
    let events: Vec<_> = (1..)
        .zip(months)
        .map(|(number, month)| {
            let mut event = books.event(number);
            event.at = at(&format!("{month}-05T10:00:00Z"));
            event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
            event
        })
        .collect();
    books.accept(&events).await;
    add(&books, &NewGrant { from: Some(at("2026-01-01T00:00:00Z")), ..credit("40", "0") }).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let finance = books.as_role(Role::Finance).await;
    let mut ids = Vec::new();
    for month in months {
        let id = books.draft(month).await.id.unwrap();
        books.ledger.approve_invoice(&id, &finance).await.unwrap();
        ids.push(id);
    }

    let ledger = Arc::new(books.ledger.clone());
    let tasks: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let (ledger, finance) = (Arc::clone(&ledger), finance.clone());
            tokio::spawn(async move { ledger.finalize_invoice(&id, &finance).await.is_ok() })
        })
        .collect();
    let mut issued = 0;
    for task in tasks {
        issued += u32::from(task.await.unwrap());
    }

    assert_eq!(issued, 3, "each draws 12 of 40");
    assert_eq!(left(&books).await, ["4.00"]);
    assert_eq!(balance(&books, "credit:prepaid:acme").await, -4 * CNY);
}

#[tokio::test]
async fn a_grant_pays_in_its_time_and_what_is_left_is_breakage_when_the_month_is_closed() {
    let books = in_december().await;
    let expires_at = Some(at("2026-12-01T00:00:00Z"));
    add(&books, &NewGrant { expires_at, ..credit("100", "100") }).await;
    books.clock.set("2026-11-20T10:00:01Z");
    add(&books, &NewGrant { from: Some(at("2026-12-01T00:00:00Z")), ..credit("7", "7") }).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-11").await;
    assert_eq!(left(&books).await, ["86.80", "7.00"]);

    for role in [Role::Operator, Role::Finance] {
        let by = books.as_role(role).await;
        books.ledger.sign_close("2026-11", Some("a test without gateways"), &by).await.unwrap();
    }

    assert_eq!(left(&books).await, ["0.00", "7.00"]);
    assert_eq!(balance(&books, "revenue:breakage").await, -86_800_000_000);
    assert_eq!(balance(&books, "credit:prepaid:acme").await, -7 * CNY);
}

/// A later month may be closed first: an earlier one's invoice keeps the credit that it is to draw.
#[tokio::test]
async fn credit_that_an_approved_invoice_is_to_draw_does_not_expire_before_it() {
    let books = Books::open().await;
    books.clock.set("2026-10-02T00:00:00Z");
    let expires_at = Some(at("2026-10-20T00:00:00Z"));
    add(&books, &NewGrant { expires_at, ..credit("100", "100") }).await;
    let mut event = books.event(1);
    event.at = at("2026-10-05T12:00:00Z");
    event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let (draft, finance) = (books.draft("2026-10").await, books.as_role(Role::Finance).await);
    let id = draft.id.unwrap();
    books.ledger.approve_invoice(&id, &finance).await.unwrap();
    for role in [Role::Operator, Role::Finance] {
        let by = books.as_role(role).await;
        books.ledger.sign_close("2026-11", Some("a test without gateways"), &by).await.unwrap();
    }
    let kept = left(&books).await;

    let issued = books.ledger.finalize_invoice(&id, &finance).await.unwrap();

    assert_eq!(kept, ["100.00"]);
    assert_eq!(paid(&issued), ("12.00".into(), "0.00".into()));
    assert_eq!(left(&books).await, ["88.00"]);
}

#[tokio::test]
async fn the_credit_of_a_trial_is_granted_once() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let plan = "[[plan]]\nname = \"try\"\nkind = \"metered\"\ncurrency = \"CNY\"\n\
                trial = { days = 30, credit = \"5\" }\n";
    books.ledger.add_plans(plan, &finance).await.unwrap();
    for from in ["2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"] {
        books.ledger.assign_plan(&acme(), "try", Some(at(from)), &finance).await.unwrap();
    }

    let grants = books.ledger.grants(None, &Page::default()).await.unwrap().items;
    let preview = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();

    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].expires_at, Some(at("2026-12-01T00:00:00Z")));
    assert_eq!(paid(&preview), ("5.00".into(), "8.20".into()));
    assert_eq!(balance(&books, "expense:promotion").await, 5 * CNY);
}

#[tokio::test]
async fn a_grant_is_made_once_under_a_key_and_refused_where_it_makes_no_sense() {
    let books = in_december().await;
    let finance = books.as_role(Role::Finance).await;
    let keyed = Instruction::new(finance.by().clone(), Some("key-1")).unwrap();
    let new = credit("10", "10");
    let first = books.ledger.add_grant(&acme(), &new, &keyed).await.unwrap();
    let again = books.ledger.add_grant(&acme(), &new, &keyed).await.unwrap();
    let other = books.ledger.add_grant(&acme(), &credit("11", "10"), &keyed).await.unwrap_err();

    assert_eq!(first.id, again.id);
    assert!(matches!(other, LedgerError::Refused { .. }), "{other:?}");
    assert_eq!(left(&books).await, ["10.00"]);
    let past = Some(at("2026-01-01T00:00:00Z"));
    for (bad, field) in [
        (credit("0", "0"), "amount"),
        (credit("-1", "0"), "amount"),
        (credit("1.001", "0"), "amount"),
        (credit("1", "2"), "paid"),
        (credit("1", "-1"), "paid"),
        (NewGrant { priority: 101, ..credit("1", "0") }, "priority"),
        (NewGrant { expires_at: past, ..credit("1", "0") }, "expires_at"),
        (NewGrant { models: vec![String::new()], ..credit("1", "0") }, "models"),
        (NewGrant { reason: " ".to_owned(), ..credit("1", "0") }, "reason"),
        (NewGrant { currency: Some(Currency::USD), ..credit("1", "0") }, "currency `USD`"),
    ] {
        let refused = books.ledger.add_grant(&acme(), &bad, &finance).await.unwrap_err();
        assert!(refused.to_string().starts_with(field), "{refused}");
    }
    let nobody = books.ledger.add_grant(&"nobody".parse().unwrap(), &new, &finance).await;
    assert!(matches!(nobody, Err(LedgerError::NotFound { .. })));
    assert_eq!(left(&books).await, ["10.00"]);
}

#[tokio::test]
async fn a_grant_that_something_else_wrote_to_is_found_out() {
    let books = in_december().await;
    add(&books, &credit("10", "10")).await;

    books.tamper("update credit_grant set left_nano = left_nano - 1").await;
    let found = books.ledger.check_books().await.unwrap();

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("credit:prepaid:acme"), "{found:?}");
}
