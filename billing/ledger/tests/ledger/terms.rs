//! What invoices say of taxes, addresses, orders and notes.

use permille_ledger::{
    CustomerChanges, CustomerTerms, Invoice, InvoiceTexts, LedgerError, NewCustomer, NewProject,
    Role, TaxRate, TaxTerms, TextChange,
};
use permille_types::{Currency, CustomerId, InvoiceId, TokenClass};
use rust_decimal::Decimal;

use crate::support::Books;

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

fn rates<const N: usize>(rates: [(&str, &str); N]) -> TaxTerms {
    let rates = rates.map(|(name, percent)| TaxRate {
        name: name.to_owned(),
        percent: percent.parse().unwrap(),
    });
    TaxTerms::Standard { rates: rates.into() }
}

fn some(text: &str) -> TextChange {
    TextChange::Set(text.to_owned())
}

async fn change(books: &Books, changes: CustomerChanges) -> Result<(), LedgerError> {
    let finance = books.as_role(Role::Finance).await;
    books.ledger.change_customer(&acme(), changes, &finance).await.map(drop)
}

/// 140.00 of net: 11,666,667 tokens at 0.012 per thousand are 140.000004.
async fn net_of_140() -> Books {
    let books = Books::open().await;
    let mut event = books.event(1);
    event.tokens = [(TokenClass::INPUT_UNCACHED, 11_666_667)].into();
    books.accept(&[event]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    books
}

#[tokio::test]
async fn each_rate_is_on_the_rounded_net_and_is_owed_to_the_tax_office() {
    let books = net_of_140().await;
    let tax = Some(rates([("GST", "5"), ("QST", "9.975")]));
    change(&books, CustomerChanges { tax, ..CustomerChanges::default() }).await.unwrap();

    let preview = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let issued = books.issue("2026-11").await;

    // Source: invoiceninja#1453.
    let amounts: Vec<_> = issued.tax.iter().map(|tax| tax.amount.to_string()).collect();
    assert_eq!(amounts, ["7.00", "13.97"]);
    let sums = (issued.net.to_string(), issued.gross.to_string(), issued.total.to_string());
    assert_eq!(sums, ("140.00".into(), "160.97".into(), "160.97".into()));
    assert_eq!((&preview.tax, preview.total), (&issued.tax, issued.total));
    let balances = books.ledger.balances().await.unwrap();
    let of = |account: &str| {
        let found = balances.iter().find(|balance| balance.account == account).unwrap();
        found.amount().to_string()
    };
    assert_eq!(of("receivable:billed:acme"), "160.97");
    assert_eq!((of("revenue:billed"), of("tax:payable")), ("-140".into(), "-20.97".into()));
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reverse_charge_needs_a_tax_id_and_an_exemption_its_reason() {
    let books = net_of_140().await;
    let reverse =
        || CustomerChanges { tax: Some(TaxTerms::ReverseCharge), ..CustomerChanges::default() };

    let refused = change(&books, reverse()).await.unwrap_err();
    change(&books, CustomerChanges { tax_id: some("DE123456789"), ..reverse() }).await.unwrap();
    let reversed = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();
    let taken = CustomerChanges { tax_id: TextChange::Clear, ..CustomerChanges::default() };
    let needed = change(&books, taken).await.unwrap_err();
    let tax = Some(TaxTerms::Exempt { reason: "Article 132".to_owned() });
    change(&books, CustomerChanges { tax, ..CustomerChanges::default() }).await.unwrap();
    let exempt = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();

    assert!(matches!(refused, LedgerError::Invalid { field: "tax_id", .. }), "{refused}");
    assert!(matches!(needed, LedgerError::Invalid { field: "tax_id", .. }), "{needed}");
    assert_eq!(reversed.tax_terms, TaxTerms::ReverseCharge);
    assert_eq!(reversed.customer.tax_id.as_deref(), Some("DE123456789"));
    assert_eq!((reversed.tax.len(), reversed.total), (0, reversed.net));
    assert!(matches!(exempt.tax_terms, TaxTerms::Exempt { .. }));
    assert_eq!(exempt.total.to_string(), "140.00");
}

#[tokio::test]
async fn an_invoice_says_what_its_customer_was_when_it_was_drafted() {
    let books = net_of_140().await;
    let changes = CustomerChanges {
        name: Some("Acme Ltd.".to_owned()),
        billing_address: some("1 Nanjing Road\nShanghai"),
        purchase_order: some("PO-1"),
        notes: some("Thank you."),
        ..CustomerChanges::default()
    };
    change(&books, changes).await.unwrap();
    let issued = books.issue("2026-11").await;
    let document = books.ledger.invoice_document(&id(&issued)).await.unwrap();

    let moved = CustomerChanges {
        billing_address: some("2 Other Street"),
        purchase_order: TextChange::Clear,
        ..CustomerChanges::default()
    };
    change(&books, moved).await.unwrap();
    let december = books.ledger.preview_invoice(&acme(), "2026-12").await.unwrap();

    assert_eq!(issued.customer.name, "Acme Ltd.");
    assert_eq!(issued.customer.billing_address.as_deref(), Some("1 Nanjing Road\nShanghai"));
    assert_eq!(issued.purchase_order.as_deref(), Some("PO-1"));
    assert_eq!(books.ledger.invoice_document(&id(&issued)).await.unwrap(), document);
    assert_eq!(december.customer.billing_address.as_deref(), Some("2 Other Street"));
    assert_eq!(december.purchase_order, None);
    assert_eq!(december.notes.as_deref(), Some("Thank you."));
    let history = books.ledger.customer_history(&acme()).await.unwrap();
    let details: Vec<_> = history.iter().map(|entry| entry.detail.as_deref().unwrap()).collect();
    assert_eq!(
        details,
        ["name, billing_address, purchase_order, notes", "billing_address, purchase_order"]
    );
}

#[tokio::test]
async fn one_invoice_may_have_texts_of_its_own_until_others_are_given() {
    let books = net_of_140().await;
    let changes = CustomerChanges { notes: some("To all."), ..CustomerChanges::default() };
    change(&books, changes).await.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let texts = InvoiceTexts { purchase_order: Some("PO-9".to_owned()), notes: None };

    let ledger = &books.ledger;
    ledger.draft_invoice_saying(&acme(), "2026-11", texts, &finance).await.unwrap();
    let again = books.draft("2026-11").await;
    let bad = InvoiceTexts { purchase_order: None, notes: Some("\u{1b}[2J".to_owned()) };
    let refused = ledger.draft_invoice_saying(&acme(), "2026-11", bad, &finance).await;

    assert_eq!(again.purchase_order.as_deref(), Some("PO-9"));
    assert_eq!(again.notes.as_deref(), Some("To all."));
    assert!(matches!(refused, Err(LedgerError::Invalid { field: "notes", .. })));
}

#[tokio::test]
async fn cost_centres_are_named_and_add_up_to_the_net() {
    let books = net_of_140().await;
    let new = NewProject { customer: acme(), id: None, name: "Web Shop".to_owned() };
    let project = books.ledger.create_project(new).await.unwrap();
    let new = permille_ledger::NewKey {
        customer: acme(),
        project: project.id.clone(),
        name: None,
        rpm: None,
    };
    let key = books.ledger.create_key(new).await.unwrap().key;
    let mut event = books.event(2);
    event.project = project.id;
    event.key = key.id;
    books.accept(&[event]).await;

    let invoice = books.ledger.preview_invoice(&acme(), "2026-11").await.unwrap();

    let named: Vec<_> = invoice
        .projects
        .iter()
        .map(|project| (project.name.as_str(), project.amount.to_string()))
        .collect();
    assert_eq!(named, [("default", "140.00".to_owned()), ("Web Shop", "0.02".to_owned())]);
    let sum: Decimal = invoice.projects.iter().map(|project| project.amount).sum();
    assert_eq!(sum, invoice.net);
}

#[tokio::test]
async fn terms_that_no_invoice_can_say_are_refused_by_field_and_change_nothing() {
    let books = net_of_140().await;
    let before = books.ledger.customer(&acme()).await.unwrap();
    let long = "x".repeat(2_001);
    let none = CustomerChanges::default;
    for (changes, named) in [
        (CustomerChanges { name: Some(" ".to_owned()), ..none() }, "name"),
        (CustomerChanges { tax: Some(rates([("VAT", "101")])), ..none() }, "tax.percent"),
        (CustomerChanges { tax: Some(rates([])), ..none() }, "tax.rates"),
        (CustomerChanges { tax_id: some(""), ..none() }, "tax_id"),
        (CustomerChanges { billing_address: some("a\u{0}b"), ..none() }, "billing_address"),
        (CustomerChanges { purchase_order: some("a\nb"), ..none() }, "purchase_order"),
        (CustomerChanges { notes: some(&long), ..none() }, "notes"),
    ] {
        let error = change(&books, changes).await.unwrap_err();
        let LedgerError::Invalid { field, .. } = &error else { panic!("{error}") };
        assert_eq!(*field, named, "{error}");
    }

    assert_eq!(books.ledger.customer(&acme()).await.unwrap(), before);
    assert_eq!(books.ledger.customer_history(&acme()).await.unwrap().len(), 0);
    let new = NewCustomer {
        id: None,
        name: "Globex".to_owned(),
        currency: Currency::EUR,
        time_zone: chrono_tz::UTC,
    };
    let terms = CustomerTerms { tax: TaxTerms::ReverseCharge, ..CustomerTerms::default() };
    let error = books.ledger.create_customer_with(new, terms).await.unwrap_err();
    assert!(matches!(error, LedgerError::Invalid { field: "tax_id", .. }), "{error}");
}
