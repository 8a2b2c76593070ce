//! Invoices over plans, charges and prepaid credit are computed again from their files alone, and
//! no number of them can be changed by a hand.

use permille_ledger::{
    CreditScope, CustomerChanges, Invoice, InvoiceIssuer, NO_PLAN, NewCredit, NewGrant, Role,
    TaxRate, TaxTerms,
};
use permille_types::{Currency, CustomerId, TokenClass, UsageEvent};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{
    evidence::{Files, files},
    support::{Books, at},
};

const PLANS: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "30"
minimum = "450"
trial = { days = 5 }
[plan.allowance]
tokens = 300000

[[plan]]
name = "committed"
kind = "commitment"
currency = "CNY"
commitment = "100"
grant_order = "expiry"
[[plan.charge]]
name = "output of the plan"
models = "ERNIE-*"
classes = ["output_text"]
currency = "CNY"
kind = "package"
size = "100"
unit = "1.10"

[[plan]]
name = "before"
kind = "prepaid"
currency = "CNY"
credit = "before_tax"
"#;

const CHARGES: &str = r#"
[[charge]]
name = "tokens of the month"
classes = ["input_uncached"]
from = 2026-01-01T00:00:00Z
kind = "graduated"
currency = "CNY"
tiers = [ { up_to = "500", unit = "0.011" }, { unit = "0.009" } ]

[[charge]]
name = "a seat"
customer = "acme"
models = "nobody-uses-it"
from = 2026-01-01T00:00:00Z
kind = "unit"
currency = "CNY"
unit = "1"
minimum = "7"
"#;

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Event `number` of an instant, with so many tokens in and half of them out.
fn used(books: &Books, number: u32, instant: &str, tokens: u64) -> UsageEvent {
    let tokens =
        [(TokenClass::INPUT_UNCACHED, tokens), (TokenClass::OUTPUT_TEXT, tokens / 2)].into();
    UsageEvent { at: at(instant), tokens, ..books.event(number) }
}

async fn assign(books: &Books, plan: &str, from: &str) {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.assign_plan(&acme(), plan, Some(at(from)), &finance).await.unwrap();
}

async fn grant(books: &Books, amount: &str, expires: Option<&str>, models: &[&str]) {
    let finance = books.as_role(Role::Finance).await;
    let new = NewGrant {
        amount: decimal(amount),
        currency: None,
        paid: decimal(amount),
        priority: 1,
        from: Some(at("2026-09-01T00:00:00Z")),
        expires_at: expires.map(at),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        reason: "top-up".to_owned(),
    };
    books.ledger.add_grant(&acme(), &new, &finance).await.unwrap();
}

/// A customer of New York with VAT and all terms that there are.
async fn with_terms() -> Books {
    let books = Books::with("acme", Currency::CNY, "America/New_York").await;
    let finance = books.as_role(Role::Finance).await;
    let rate = |name: &str, percent| TaxRate { name: name.to_owned(), percent: decimal(percent) };
    let tax = Some(TaxTerms::Standard { rates: vec![rate("GST", "5"), rate("QST", "9.975")] });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    books.ledger.change_customer(&acme(), changes, &finance).await.unwrap();
    books.ledger.add_plans(PLANS, &finance).await.unwrap();
    books.ledger.add_charges(CHARGES, &finance).await.unwrap();
    books
}

/// October under three plans one after the other, with late usage, and November.
async fn three_plans(books: &Books) -> [Invoice; 3] {
    assign(books, "team", "2026-10-03T04:00:00Z").await;
    assign(books, "committed", "2026-10-20T17:00:00Z").await;
    assign(books, "before", "2026-11-10T05:00:00Z").await;
    grant(books, "20", Some("2026-11-15T00:00:00Z"), &["ERNIE-*"]).await;
    grant(books, "12.34", None, &[]).await;
    books
        .accept(&[
            used(books, 1, "2026-10-01T12:00:00Z", 100_000),
            used(books, 2, "2026-10-05T12:00:00Z", 200_000),
            used(books, 3, "2026-10-12T12:00:00Z", 1_400_000),
            used(books, 4, "2026-10-20T16:59:59Z", 77_777),
            used(books, 5, "2026-10-20T17:00:00Z", 333_333),
            used(books, 6, "2026-11-05T12:00:00Z", 1_000_000),
            used(books, 7, "2026-11-20T12:00:00Z", 2_000_000),
        ])
        .await;
    books.clock.set("2027-01-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books
        .accept(&[
            used(books, 8, "2026-10-13T12:00:00Z", 500_000),
            used(books, 9, "2026-10-30T12:00:00Z", 900),
        ])
        .await;
    let november = books.issue("2026-11").await;
    books.accept(&[used(books, 10, "2026-10-31T12:00:00Z", 41_000)]).await;
    [october, november, books.issue("2026-12").await]
}

#[tokio::test]
async fn whatever_an_invoice_bills_by_it_follows_from_its_files_byte_for_byte() {
    let books = with_terms().await;
    let [october, november, december] = three_plans(&books).await;
    // What has become of the terms since is nothing to an invoice that is out.
    let finance = books.as_role(Role::Finance).await;
    for charge in books.ledger.charges(None).await.unwrap() {
        let until = at("2027-01-01T12:00:00Z");
        books.ledger.end_charge(&charge.version, until, &finance).await.unwrap();
    }
    assign(&books, NO_PLAN, "2027-01-10T05:00:00Z").await;

    let first = files(&books, &october, &[]).await;
    let second = files(&books, &november, &[&october]).await;
    let third = files(&books, &december, &[&october, &november]).await;

    let terms: Vec<&str> = october.lines.iter().map(|line| line.meter.as_str()).collect();
    for term in ["fee", "minimum", "commitment", "charge"] {
        assert!(terms.contains(&term), "{term} in {terms:?}");
    }
    let names: Vec<&str> = october.charges.iter().map(|charge| charge.name.as_str()).collect();
    for name in ["team trial", "team allowance", "output of the plan", "tokens of the month"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(october.credits.len(), 2, "{:?}", october.credits);
    assert!(november.lines.iter().any(|line| line.corrects.is_some()));
    assert!(december.lines.iter().any(|line| line.corrects.is_some()));
    for (files, what) in [(&first, "october"), (&second, "november"), (&third, "december")] {
        let found = files.verify().unwrap_or_else(|refused| panic!("{what}: {refused}"));
        assert_eq!(found.differences, Vec::<String>::new(), "{what}");
        assert_eq!(serde_json::to_string(&found.recomputed).unwrap(), files.document, "{what}");
    }
    let remarks = third.verify().unwrap().remarks;
    assert!(remarks[0].contains("bill late usage of 2026-10, of which INV-"), "{remarks:?}");
    let alone = files(&books, &november, &[]).await.faults();
    assert!(alone[0].contains("is needed beside this one"), "{alone:?}");
}

/// Every number of a document, as the path to it and what a hand would write instead.
fn numbers(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Value)>) {
    let changed = |text: &str| {
        let at = text.rfind(|c: char| c.is_ascii_digit())?;
        let digit = text.as_bytes()[at] - b'0';
        Some(format!("{}{}{}", &text[..at], (digit + 1) % 10, &text[at + 1..]))
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                path.push(name.clone());
                numbers(value, path, found);
                path.pop();
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                path.push(place.to_string());
                numbers(value, path, found);
                path.pop();
            }
        }
        Value::Number(number) => {
            found.push((path.clone(), (number.as_u64().unwrap() + 1).into()));
        }
        Value::String(text) => {
            found.extend(changed(text).map(|text| (path.clone(), text.into())));
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// The same document with one value changed, its fields in the order in which they were.
fn with(document: &str, path: &[String], changed: &Value) -> Option<String> {
    let mut value: Value = serde_json::from_str(document).unwrap();
    let steps = path.iter().flat_map(|step| ["/".to_owned(), step.replace('/', "~1")]);
    let pointer: String = steps.collect();
    *value.pointer_mut(&pointer).unwrap() = changed.clone();
    // What is no invoice any more is refused when it is read.
    let invoice: Invoice = serde_json::from_value(value).ok()?;
    Some(serde_json::to_string(&invoice).unwrap())
}

#[tokio::test]
async fn an_invoice_of_which_a_hand_has_changed_any_number_is_refused_and_the_line_named() {
    let books = with_terms().await;
    let [october, november, december] = three_plans(&books).await;

    for (invoice, earlier) in
        [(&october, vec![]), (&november, vec![&october]), (&december, vec![&october, &november])]
    {
        let files = files(&books, invoice, &earlier).await;
        let mut changes = Vec::new();
        let document: Value = serde_json::from_str(&files.document).unwrap();
        numbers(&document, &mut Vec::new(), &mut changes);
        assert!(changes.len() > 100, "{} numbers", changes.len());
        for (path, changed) in changes {
            let Some(document) = with(&files.document, &path, &changed) else { continue };
            let forged = Files {
                document,
                records: files.records.clone(),
                book: books.ledger.price_book(),
                earlier: files.earlier.clone(),
                notes: Vec::new(),
            };
            let faults = forged.faults();
            assert!(!faults.is_empty(), "{path:?} as {changed} passes");
            if let [list, place, field] = &path[..]
                && list == "lines"
                && ["amount", "quantity", "exact", "price_per_thousand"].contains(&field.as_str())
            {
                let number = place.parse::<usize>().unwrap() + 1;
                let line = format!("line {number} `");
                assert!(faults[0].starts_with(&line), "{path:?}: {faults:?}");
            }
        }
    }
}

#[tokio::test]
async fn terms_that_a_hand_has_changed_are_named() {
    let books = with_terms().await;
    let [october, ..] = three_plans(&books).await;
    let whole = files(&books, &october, &[]).await;

    for (printed, instead, fault) in [
        ("fee = \\\"30\\\"", "fee = \\\"20\\\"", "is not what its text says: the text makes"),
        ("unit = \\\"0.011\\\"", "unit = \\\"0.010\\\"", "charge `tokens of the month@"),
        ("\"trial\":true", "\"trial\":false", "line 3 `default`"),
        ("2026-10-20T17:00:00Z\"},", "2026-10-20T18:00:00Z\"},", "do not make up the month"),
        ("\"left\":\"20\"", "\"left\":\"19\"", "credits 1 amount: 20.00 printed, 19.00"),
        ("\"left\":\"20\"", "\"left\":\"25\"", "credits 1 amount: 20.00 printed, 25.00"),
    ] {
        let at = whole.document.find("\"terms\":{\"months\"").unwrap();
        let (head, terms) = whole.document.split_at(at);
        assert!(terms.contains(printed), "{printed} in {terms}");
        let forged = Files {
            document: format!("{head}{}", terms.replacen(printed, instead, 1)),
            records: whole.records.clone(),
            book: books.ledger.price_book(),
            earlier: Vec::new(),
            notes: Vec::new(),
        };
        let faults = forged.faults();
        assert!(faults.iter().any(|found| found.contains(fault)), "{instead}: {faults:?}");
    }
}

/// Everything that an invoice says about money, and what it follows from.
fn said(invoice: &Invoice) -> Value {
    let mut said = serde_json::to_value(invoice).unwrap();
    let fields = said.as_object_mut().unwrap();
    fields.retain(|name, _| {
        let names = ["lines", "charges", "credits", "prepaid", "net", "tax", "gross", "total"];
        let terms = ["subtotal", "terms", "records", "projects", "billed_by"];
        names.contains(&name.as_str()) || terms.contains(&name.as_str())
    });
    assert!(fields.len() > 8, "{:?}", fields.keys());
    said
}

/// What plans say is frozen with the draft: a plan of the same name that is other changes nothing.
#[tokio::test]
async fn random_months_under_random_terms_are_verified() {
    for seed in 0..6_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let books = with_terms().await;
        let plans = ["team", "committed", "before", NO_PLAN];
        for _ in 0..next(4) {
            let plan = plans[usize::try_from(next(4)).unwrap()];
            assign(&books, plan, &format!("2026-{}-{:02}T08:00:00Z", 9 + next(3), 1 + next(28)))
                .await;
        }
        for _ in 0..next(3) {
            grant(&books, &format!("{}.{:02}", 1 + next(90), next(100)), None, &[]).await;
        }
        books.clock.set("2027-01-02T00:00:00Z");
        let mut number = 0;
        let mut issued: Vec<Invoice> = Vec::new();
        for month in ["2026-09", "2026-10", "2026-11"] {
            for _ in 0..=next(5) {
                number += 1;
                let day = 1 + next(28);
                let late = 9 + next(3);
                let instant = format!("2026-{late:02}-{day:02}T{:02}:30:00Z", next(24));
                books.accept(&[used(&books, number, &instant, 1 + next(900_000))]).await;
            }
            let preview = books.ledger.preview_invoice(&acme(), month).await.unwrap();
            let invoice = books.issue(month).await;
            assert_eq!(said(&preview), said(&invoice), "seed {seed} {month}: preview and final");
            let earlier: Vec<&Invoice> = issued.iter().collect();
            let found = files(&books, &invoice, &earlier).await.verify();
            let found = found.unwrap_or_else(|refused| panic!("seed {seed} {month}: {refused}"));
            assert_eq!(found.differences, Vec::<String>::new(), "seed {seed} {month}");
            issued.push(invoice);
        }
        assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn who_issued_an_invoice_stays_on_it_whatever_is_configured_since() {
    let issuer = |name: &str| InvoiceIssuer {
        name: name.to_owned(),
        address: vec!["2 Side Street".to_owned()],
        tax_id: Some("DE987654321".to_owned()),
        ..InvoiceIssuer::default()
    };
    let mut books = Books::open().await;
    books.ledger = books.ledger.issuing(Some(issuer("Permille GmbH")));
    books.accept(&[used(&books, 1, "2026-10-05T12:00:00Z", 100_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.ledger = books.ledger.issuing(Some(issuer("Permille SE")));
    let november = books.issue("2026-11").await;

    let shown = books.ledger.invoice(&october.id.clone().unwrap()).await.unwrap();
    let names = [&shown, &november].map(|invoice| invoice.issuer.clone().unwrap().name);
    assert_eq!(names, ["Permille GmbH", "Permille SE"]);
    let mut files = files(&books, &october, &[]).await;
    assert_eq!(files.faults(), Vec::<String>::new());
    files.document = files.document.replacen("DE987654321", "DE987654322", 1);
    assert!(files.faults()[0].starts_with("seal: "), "{:?}", files.faults());
}

#[tokio::test]
async fn an_invoice_beside_that_is_not_named_is_reported() {
    let books = Books::open().await;
    books.accept(&[used(&books, 1, "2026-10-05T12:00:00Z", 100_000)]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let void = books.issue("2026-10").await;
    let finance = books.as_role(Role::Finance).await;
    let id = void.id.clone().unwrap();
    books.ledger.void_invoice(&id, "wrong address", &finance).await.unwrap();
    let october = books.issue("2026-10").await;
    let november = books.issue("2026-11").await;

    let found = files(&books, &october, &[&void, &november]).await.verify().unwrap();

    assert_eq!(found.differences, Vec::<String>::new());
    let number = void.number.unwrap();
    let said = format!("{number} is beside it, bills of 2026-10 too and is not in its `billed_by`");
    assert!(found.remarks[0].starts_with(&said), "{:?}", found.remarks);
    assert!(found.remarks[1].contains("has billed nothing of its months"), "{:?}", found.remarks);
}

/// Whoever has the notes too knows what is left to be paid, and that none of them says otherwise.
#[tokio::test]
async fn credit_notes_beside_an_invoice_follow_from_their_lines() {
    let books = with_terms().await;
    let [october, ..] = three_plans(&books).await;
    let finance = books.as_role(Role::Finance).await;
    let id = october.id.clone().unwrap();
    let mut files = files(&books, &october, &[]).await;
    for scope in [CreditScope::Amount(decimal("3.33")), CreditScope::Rest] {
        let new = NewCredit { scope, currency: None, reason: "goodwill".to_owned() };
        files.notes.push(books.ledger.credit_invoice(&id, &new, &finance).await.unwrap());
    }
    files.notes.reverse();
    let found = files.verify().unwrap();

    assert_eq!(found.differences, Vec::<String>::new());
    let total = october.total;
    let left = format!("of {total} 0.00 is left to be paid after 2 credit notes");
    assert_eq!(found.remarks.last(), Some(&left));
    assert!(found.remarks[0].starts_with("CN-2027-000001 takes back 3.8"), "{:?}", found.remarks);
    assert!(found.remarks[1].contains("to prepaid credit"), "{:?}", found.remarks);

    let first = files.notes[1].clone();
    let mut forge = |change: &dyn Fn(&mut permille_ledger::CreditNote), fault: &str| {
        let mut forged = first.clone();
        change(&mut forged);
        files.notes = vec![forged];
        let faults = files.faults();
        assert!(faults.iter().any(|found| found.contains(fault)), "{fault}: {faults:?}");
    };
    let cent = decimal("0.01");
    forge(&|note| note.tax[0].amount += cent, "CN-2027-000001 tax GST: 0.18 printed, 0.17");
    forge(&|note| note.net += cent, "net: 3.34 printed, 3.33 from its lines");
    forge(&|note| note.gross += cent, "gross: ");
    forge(&|note| note.total = Some(decimal("1.00")), "total: 1.00 printed");
    forge(&|note| note.lines[0].line = 99, "line `99` is not accepted");
    forge(&|note| note.lines[0].line += 1, "line 2 is another one's");
    forge(&|note| note.lines[0].amount = decimal("900"), "takes back 900 of line 1, of which");
    forge(&|note| note.invoice.number = "INV-2026-000009".parse().unwrap(), "not of this one");
}
