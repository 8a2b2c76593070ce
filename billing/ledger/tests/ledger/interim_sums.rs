//! However a month is cut into interim invoices, all of it is billed, and once: beside a customer
//! of the same usage and terms whose month is billed by one invoice.

use std::collections::BTreeMap;

use permille_ledger::{
    CustomerChanges, Instruction, Invoice, InvoiceTexts, LedgerError, Role, TaxRate, TaxTerms,
};
use permille_types::{Currency, CustomerId, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::{
    evidence::files,
    support::{Books, add_customer, add_key, at},
};

/// An allowance over input; tiers over output.
const PLAN: &str = r#"
[[plan]]
name = "team"
kind = "subscription"
currency = "CNY"
fee = "31"
minimum = "33"
threshold = "1"
[plan.allowance]
tokens = 30000
classes = ["input_uncached"]
"#;

const CHARGE: &str = r#"
[[charge]]
name = "output"
classes = ["output_text"]
from = 2026-01-01T00:00:00Z
kind = "graduated"
currency = "CNY"
tiers = [ { up_to = "20", unit = "0.05" }, { up_to = "60", unit = "0.04", flat = "1" },
          { unit = "0.02" } ]
"#;

/// What invoices of a month add up to.
#[derive(Debug, Default)]
struct Added {
    quantities: BTreeMap<String, u64>,
    /// What charges, the allowance and the fee have billed, by name.
    charges: BTreeMap<String, Decimal>,
    subtotal: Decimal,
    tax: Decimal,
}

impl Added {
    fn of(invoices: &[Invoice]) -> Self {
        let mut added = Self::default();
        for invoice in invoices {
            for line in invoice.lines.iter().filter(|line| line.meter.is_usage()) {
                *added.quantities.entry(line.meter.to_string()).or_default() += line.quantity;
            }
            for charge in invoice.charges.iter().filter(|charge| charge.name != "team minimum") {
                *added.charges.entry(charge.name.clone()).or_default() += charge.billed;
            }
            added.subtotal += invoice.subtotal;
            added.tax += invoice.tax.iter().map(|tax| tax.amount).sum::<Decimal>();
        }
        added
    }
}

fn customer(id: &str) -> CustomerId {
    id.parse().unwrap()
}

/// `acme` and `twin` in the same terms, and the key of each.
async fn twins(finance: &Instruction, books: &Books) -> [(CustomerId, String); 2] {
    let ledger = &books.ledger;
    add_customer(ledger, "twin", Currency::CNY, "UTC").await;
    ledger.add_plans(PLAN, finance).await.unwrap();
    ledger.add_charges(CHARGE, finance).await.unwrap();
    let rate = TaxRate { name: "VAT".to_owned(), percent: "9.975".parse().unwrap() };
    let mut twins = Vec::new();
    for id in ["acme", "twin"] {
        let key = add_key(ledger, id).await.key.id.as_str().to_owned();
        let id = customer(id);
        let from = Some(at("2026-11-01T00:00:00Z"));
        ledger.assign_plan(&id, "team", from, finance).await.unwrap();
        let tax = Some(TaxTerms::Standard { rates: vec![rate.clone()] });
        let changes = CustomerChanges { tax, ..CustomerChanges::default() };
        ledger.change_customer(&id, changes, finance).await.unwrap();
        twins.push((id, key));
    }
    twins.try_into().unwrap()
}

async fn issue(books: &Books, draft: &Invoice, finance: &Instruction) -> Invoice {
    let id = draft.id.clone().unwrap();
    books.ledger.approve_invoice(&id, finance).await.unwrap();
    books.ledger.finalize_invoice(&id, finance).await.unwrap()
}

/// Both use the same on that day of November.
async fn use_by_both(
    books: &Books,
    twins: &[(CustomerId, String); 2],
    day: u32,
    tokens: &[(TokenClass, u64); 2],
) {
    for (place, (id, key)) in (0..).zip(twins) {
        let event = UsageEvent {
            customer: id.clone(),
            key: key.parse().unwrap(),
            at: at(&format!("2026-11-{day:02}T12:00:00Z")),
            tokens: tokens.clone().into(),
            ..books.event(day * 2 + place)
        };
        books.accept(&[event]).await;
    }
}

/// What an interim invoice billed that is made void is billed by the month's own, also where a
/// later interim invoice names it.
#[tokio::test]
async fn an_interim_invoice_made_void_that_a_later_one_names_leaves_nothing_unbilled() {
    let books = Books::open().await;
    let finance = books.as_role(Role::Finance).await;
    let twins = twins(&finance, &books).await;
    let mut issued = Vec::new();
    for number in 1..=3 {
        let tokens = [(TokenClass::INPUT_UNCACHED, 14_001), (TokenClass::OUTPUT_TEXT, 13_337)];
        use_by_both(&books, &twins, number, &tokens).await;
        if number < 3 {
            let (id, texts) = (&twins[0].0, InvoiceTexts::default());
            let drafted = books.ledger.draft_interim(id, "2026-11", texts, &finance).await;
            issued.push(issue(&books, &drafted.unwrap(), &finance).await);
        }
    }
    let first = issued.remove(0);
    let id = first.id.clone().unwrap();
    books.ledger.void_invoice(&id, "a test", &finance).await.unwrap();
    books.clock.set("2026-12-01T00:00:00Z");
    let month = books.issue("2026-11").await;
    let draft = books.ledger.draft_invoice(&twins[1].0, "2026-11", &finance).await.unwrap();
    let one = issue(&books, &draft, &finance).await;

    let second = issued[0].clone();
    let names: Vec<_> = second.billed_before.iter().map(|before| &before.number).collect();
    assert_eq!(names, [first.number.as_ref().unwrap()], "as it was issued");
    let names: Vec<_> = month.billed_before.iter().map(|before| &before.number).collect();
    assert_eq!(names, [second.number.as_ref().unwrap()]);
    for (invoice, earlier) in [(&second, &first), (&month, &second)] {
        let files = files(&books, invoice, &[earlier]).await;
        assert_eq!(files.faults(), Vec::<String>::new());
    }
    issued.push(month);
    let (parts, one) = (Added::of(&issued), Added::of(&[one]));
    assert_eq!((parts.quantities, parts.charges), (one.quantities, one.charges));
    assert_eq!(parts.subtotal, one.subtotal);
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn interim_invoices_and_the_months_own_bill_what_one_invoice_would_have() {
    for seed in 0_u32..8 {
        let books = Books::open().await;
        let finance = books.as_role(Role::Finance).await;
        let twins = twins(&finance, &books).await;
        let mut next = (seed + 1).wrapping_mul(2_654_435_761) | 1;
        let mut random = |below: u32| {
            next ^= next << 13;
            next ^= next >> 17;
            next ^= next << 5;
            next % below
        };
        let mut issued = Vec::new();
        let mut sent = BTreeMap::<String, u64>::new();
        for number in 1..=12 {
            let (input, output) = (u64::from(random(9_000)), u64::from(random(9_000)));
            let tokens = [(TokenClass::INPUT_UNCACHED, input), (TokenClass::OUTPUT_TEXT, output)];
            for (class, count) in &tokens {
                *sent.entry(class.to_string()).or_default() += count;
            }
            use_by_both(&books, &twins, number, &tokens).await;
            if random(3) == 0 {
                let texts = InvoiceTexts::default();
                let drafted =
                    books.ledger.draft_interim(&twins[0].0, "2026-11", texts, &finance).await;
                match drafted {
                    Ok(draft) => issued.push(issue(&books, &draft, &finance).await),
                    Err(LedgerError::Refused { .. }) => {}
                    Err(other) => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        books.clock.set("2026-12-01T00:00:00Z");
        let month = books.issue("2026-11").await;
        let draft = books.ledger.draft_invoice(&twins[1].0, "2026-11", &finance).await.unwrap();
        let one = issue(&books, &draft, &finance).await;

        let earlier: Vec<&Invoice> = issued.iter().collect();
        let files = files(&books, &month, &earlier).await;
        assert_eq!(files.faults(), Vec::<String>::new(), "seed {seed}");
        assert_eq!(month.billed_before.len(), issued.len(), "seed {seed}");
        issued.push(month);
        let (parts, one) = (Added::of(&issued), Added::of(&[one]));
        assert_eq!(parts.quantities, sent, "seed {seed}: {} invoices", issued.len());
        assert_eq!(parts.quantities, one.quantities, "seed {seed}");
        assert_eq!(parts.charges, one.charges, "seed {seed}");
        // All usage is under a charge or the allowance: to the cent. Taxes are rounded once each.
        assert_eq!(parts.subtotal, one.subtotal, "seed {seed}");
        let off = (parts.tax - one.tax).abs();
        let most = Decimal::new(i64::try_from(issued.len()).unwrap(), 2);
        assert!(off <= most, "seed {seed}: taxes {} and {}", parts.tax, one.tax);
        assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new(), "seed {seed}");
    }
}
