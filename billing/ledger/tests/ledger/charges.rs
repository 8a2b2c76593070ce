//! Charges over the sums of months: on previews, drafts and invoices, and for late usage.

use permille_ledger::{Invoice, LedgerError, Role};
use permille_types::{CustomerId, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{Books, add_customer, add_key, at, event};

/// 100 thousand at 0.01, what is above at 0.005.
const GRADUATED: &str = r#"
[[charge]]
name = "tokens"
models = "ERNIE-*"
currency = "CNY"
kind = "graduated"
from = 2026-10-01T00:00:00Z
tiers = [ { up_to = "100", unit = "0.01" }, { unit = "0.005" } ]
"#;

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

/// Event `number` of a day, with so many tokens in and a third of them out.
fn used(books: &Books, number: u32, day: &str, tokens: u64) -> UsageEvent {
    let mut event = books.event(number);
    event.at = at(&format!("{day}T12:00:00Z"));
    event.tokens =
        [(TokenClass::INPUT_UNCACHED, tokens), (TokenClass::OUTPUT_TEXT, tokens / 3)].into();
    event
}

async fn add(books: &Books, text: &str) -> Result<Vec<permille_ledger::ListedCharge>, LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.add_charges(text, &finance).await
}

/// Month, class and amount of each line.
fn lines(invoice: &Invoice) -> Vec<(Option<&str>, &str, String)> {
    let lines = invoice.lines.iter();
    lines
        .map(|line| (line.corrects.as_deref(), line.meter.as_str(), line.amount.to_string()))
        .collect()
}

#[tokio::test]
async fn preview_draft_and_final_invoice_bill_the_same_by_a_charge() {
    let books = Books::open().await;
    add(&books, GRADUATED).await.unwrap();
    books
        .accept(&[used(&books, 1, "2026-11-05", 60_000), used(&books, 2, "2026-11-06", 30_000)])
        .await;
    books.clock.set("2026-12-01T00:00:00Z");

    let preview = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let draft = books.draft("2026-11").await;
    let issued = books.issue("2026-11").await;

    // 120 thousand are 1.10; the exact costs of 1.08 and 0.36 share it as 3 to 1.
    let expected = [(None, "input_uncached", "0.83"), (None, "output_text", "0.27")];
    let expected = expected.map(|(month, class, amount)| (month, class, amount.to_owned()));
    assert_eq!(lines(&preview), expected);
    assert_eq!((preview.lines, preview.charges), (draft.lines.clone(), draft.charges.clone()));
    assert_eq!((&draft.lines, &draft.charges), (&issued.lines, &issued.charges));
    assert_eq!(issued.total.to_string(), "1.10");
    let document = books.ledger.invoice_document(issued.id.as_ref().unwrap()).await.unwrap();
    let read: Invoice = serde_json::from_str(&document).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), document);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    let unbilled = "select coalesce(sum(amount_nano), 0) from posting_entry
         where account = 'receivable:unbilled:acme'";
    assert_eq!(books.value(unbilled).await, 0, "the exact cost has left what is unbilled");
}

#[tokio::test]
async fn late_usage_is_billed_the_difference_to_the_charge_over_the_whole_month() {
    let books = Books::open().await;
    add(&books, GRADUATED).await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-05", 60_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.accept(&[used(&books, 2, "2026-10-06", 30_000), used(&books, 3, "2026-11-06", 3)]).await;

    let preview = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let november = books.issue("2026-11").await;

    // 80 thousand are 0.80; 120 thousand are 1.10.
    assert_eq!(october.total.to_string(), "0.80");
    let late: Decimal = november
        .lines
        .iter()
        .filter(|line| line.corrects.as_deref() == Some("2026-10"))
        .map(|line| line.amount)
        .sum();
    assert_eq!(late.to_string(), "0.30");
    assert_eq!(november.lines, preview.lines);
    let applied = november.charges.iter().find(|applied| applied.corrects.is_some()).unwrap();
    assert_eq!(applied.billed_before.map(|before| before.to_string()), Some("0.80".to_owned()));
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_voided_invoice_gives_its_share_of_the_charge_back() {
    let books = Books::open().await;
    add(&books, GRADUATED).await.unwrap();
    books.accept(&[used(&books, 1, "2026-10-05", 90_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let first = books.issue("2026-10").await;
    let finance = books.as_role(Role::Finance).await;
    books.ledger.void_invoice(first.id.as_ref().unwrap(), "again", &finance).await.unwrap();

    let second = books.issue("2026-10").await;

    assert_eq!((first.total, first.charges), (second.total, second.charges));
}

#[tokio::test]
async fn of_two_drafts_over_one_charge_the_second_is_drafted_again() {
    let books = Books::open().await;
    add(&books, GRADUATED).await.unwrap();
    books.accept(&[used(&books, 1, "2026-09-30", 3)]).await;
    books.accept(&[used(&books, 2, "2026-10-05", 60_000)]).await;
    books.clock.set("2026-12-20T00:00:00Z");
    books.issue("2026-10").await;
    books.accept(&[used(&books, 3, "2026-10-06", 30_000)]).await;
    let finance = books.as_role(Role::Finance).await;
    let november = books.draft("2026-11").await;
    books.ledger.approve_invoice(november.id.as_ref().unwrap(), &finance).await.unwrap();
    // Usage of another model of October: no quantity meets, but the charge's sum does.
    let mut other = used(&books, 4, "2026-10-07", 30_000);
    other.tokens = [(TokenClass::REASONING, 9_000)].into();
    books.accept(&[other]).await;
    books.clock.set("2027-01-02T00:00:00Z");
    books.issue("2026-12").await;

    let refused =
        books.ledger.finalize_invoice(november.id.as_ref().unwrap(), &finance).await.unwrap_err();

    assert!(matches!(refused, LedgerError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("2026-10"), "{refused}");
    let issued: Vec<String> = books.lines("select total from invoice where state = 'final'").await;
    let total: Decimal = issued.iter().map(|total| total.parse::<Decimal>().unwrap()).sum();
    // 129 thousand by the charge: 1.00 and 0.145.
    assert_eq!(total.to_string(), "1.15");
}

#[tokio::test]
async fn a_charge_of_one_customer_is_nobody_elses_and_an_everyones_one_steps_back() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", permille_types::Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    let own = GRADUATED
        .replace("name = \"tokens\"", "name = \"own\"\ncustomer = \"acme\"")
        .replace("0.01\"", "0.02\"");
    add(&books, &format!("{GRADUATED}{own}")).await.unwrap();
    let mut theirs = event(2, "other", key.id.as_str());
    theirs.tokens = [(TokenClass::INPUT_UNCACHED, 100_000)].into();
    let mut ours = books.event(1);
    ours.tokens = theirs.tokens.clone();
    books.accept(&[ours, theirs]).await;

    let acme = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let other = books.ledger.preview_invoice(&"other".parse().unwrap(), "2026-11").await.unwrap();

    assert_eq!((acme.total.to_string(), other.total.to_string()), ("2.00".into(), "1.00".into()));
    let seen = books.ledger.charges(Some(&"other".parse().unwrap())).await.unwrap();
    assert_eq!(seen.len(), 1, "what is agreed with acme is not shown to others");
}

#[tokio::test]
async fn a_month_that_is_invoiced_keeps_the_charges_that_it_had() {
    let books = Books::open().await;
    let added = add(&books, GRADUATED).await.unwrap();
    let version = added[0].version.clone();
    books.accept(&[used(&books, 1, "2026-10-05", 60_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-10").await;
    let finance = books.as_role(Role::Finance).await;
    let dearer = |from: &str| GRADUATED.replace("0.01\"", "0.09\"").replace("2026-10-01", from);

    let again = add(&books, GRADUATED).await.unwrap_err();
    let early = add(&books, &dearer("2026-09-15")).await.unwrap_err();
    let end = books.ledger.end_charge(&version, at("2026-10-01T00:00:01Z"), &finance).await;
    add(&books, &dearer("2026-11-02")).await.unwrap();

    assert!(early.to_string().contains("2026-10 of `acme` is invoiced"), "{early}");
    assert!(again.to_string().contains("2026-10 of `acme` is invoiced"), "{again}");
    assert!(end.is_ok(), "{end:?}");
    books
        .accept(&[used(&books, 2, "2026-11-06", 30_000), used(&books, 3, "2026-12-01", 30_000)])
        .await;
    let november = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let december = books.ledger.preview_invoice(&acme(), "2026-12").await.unwrap();
    assert_eq!(november.total.to_string(), "0.48", "no charge: 40 thousand at 0.012");
    assert_eq!(december.total.to_string(), "3.60", "40 thousand at 0.09");
    let twice = books.ledger.end_charge(&version, at("2026-12-01T00:00:00Z"), &finance).await;
    assert!(matches!(twice, Err(LedgerError::Refused { .. })), "{twice:?}");
}

#[tokio::test]
async fn a_minimum_of_ones_own_is_invoiced_without_any_usage_and_can_be_credited() {
    let books = Books::open().await;
    let minimum = GRADUATED
        .replace("kind =", "customer = \"acme\"\nminimum = \"100\"\nkind =")
        .replace("2026-10-01", "2026-11-01");
    add(&books, &minimum).await.unwrap();
    books.clock.set("2026-12-02T00:00:00Z");

    let issued = books.issue("2026-11").await;

    assert_eq!(lines(&issued), [(None, "charge", "100.00".to_owned())]);
    assert_eq!(issued.projects.len(), 1);
    let finance = books.as_role(Role::Finance).await;
    let credit = permille_ledger::NewCredit {
        scope: permille_ledger::CreditScope::Rest,
        currency: None,
        reason: "goodwill".to_owned(),
    };
    let id = issued.id.unwrap();
    let note = books.ledger.credit_invoice(&id, &credit, &finance).await.unwrap();
    assert_eq!(note.gross.to_string(), "100.00");
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn charges_that_make_no_sense_are_refused_by_name() {
    let books = Books::open().await;

    for (text, named) in [
        ("not toml", "charges"),
        ("", "charges"),
        (&GRADUATED.replace("CNY", "yuan"), "currency"),
        (
            &GRADUATED.replace("kind =", "customer = \"acme\"\nkind =").replace("CNY", "USD"),
            "currency",
        ),
        (&GRADUATED.replace("kind =", "customer = \"nobody\"\nkind ="), "nobody"),
        (&GRADUATED.replace("\"0.01\"", "\"-1\""), "unit"),
    ] {
        let refused = add(&books, text).await.unwrap_err();
        assert!(refused.to_string().contains(named), "{refused}");
    }
    assert!(books.ledger.charges(None).await.unwrap().is_empty());
}
