//! Usage that arrives after its month was invoiced: billed once, on the next invoice, naming the
//! month.

use permille_ledger::{Invoice, LedgerError, Role};
use permille_types::{InvoiceId, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{Books, at, import};

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// Event `number` of that instant.
fn on(books: &Books, number: u32, day: &str) -> UsageEvent {
    UsageEvent { at: at(&format!("{day}T12:00:00Z")), ..books.event(number) }
}

/// What lines bill: month, class, quantity.
fn billed(invoice: &Invoice) -> Vec<(Option<&str>, &str, u64)> {
    let lines = invoice.lines.iter();
    lines.map(|line| (line.corrects.as_deref(), line.meter.as_str(), line.quantity)).collect()
}

#[tokio::test]
async fn late_usage_is_billed_once_on_the_next_invoice_and_names_its_month() {
    let books = Books::open().await;
    books.accept(&[on(&books, 1, "2026-10-05"), on(&books, 2, "2026-11-05")]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;
    books.accept(&[on(&books, 3, "2026-10-06")]).await;

    let preview = books.ledger.preview_invoice(&books.key.key.customer, "2026-11").await.unwrap();
    let november = books.issue("2026-11").await;
    let december = books.ledger.preview_invoice(&books.key.key.customer, "2026-12").await.unwrap();

    let own = [(None, "input_uncached", 1_000), (None, "output_text", 500)];
    let late = [(Some("2026-10"), "input_uncached", 1_000), (Some("2026-10"), "output_text", 500)];
    assert_eq!(billed(&october), own);
    assert_eq!(billed(&november), [own, late].concat());
    assert_eq!(november.lines, preview.lines);
    let sum: Decimal = november.lines.iter().map(|line| line.amount).sum();
    assert_eq!((november.total, sum.to_string()), (sum, "0.04".to_owned()));
    assert_eq!(november.requests, 1, "requests are those of the month itself");
    assert_eq!(billed(&december), []);
}

#[tokio::test]
async fn held_usage_that_gets_its_price_after_the_invoice_is_late_too() {
    let books = Books::open().await;
    let mut held = on(&books, 1, "2026-10-05");
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[held, on(&books, 2, "2026-10-05")]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    let october = books.issue("2026-10").await;

    import(
        &books.ledger,
        "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\nfrom = 2026-10-01T00:00:00Z\n\
         source = \"a test\"\ninput = \"1\"\noutput = \"2\"\n",
    )
    .await;
    let november = books.issue("2026-11").await;

    assert_eq!(october.unpriced_requests, 1);
    assert_eq!(november.lines.len(), 2);
    assert!(november.lines.iter().all(|line| line.model.as_str() == "unheard-of"));
    assert_eq!(november.total.to_string(), "2.00");
}

#[tokio::test]
async fn of_two_drafts_with_the_same_late_usage_one_is_issued() {
    let books = Books::open().await;
    books.accept(&[on(&books, 1, "2026-09-05")]).await;
    books.clock.set("2026-12-02T00:00:00Z");
    books.issue("2026-09").await;
    books.accept(&[on(&books, 2, "2026-09-06")]).await;
    let finance = books.as_role(Role::Finance).await;
    let (october, november) = (books.draft("2026-10").await, books.draft("2026-11").await);
    for draft in [&october, &november] {
        books.ledger.approve_invoice(&id(draft), &finance).await.unwrap();
    }

    books.ledger.finalize_invoice(&id(&october), &finance).await.unwrap();
    let second = books.ledger.finalize_invoice(&id(&november), &finance).await.unwrap_err();

    assert!(matches!(second, LedgerError::Refused { .. }), "{second:?}");
    assert!(second.to_string().contains("2026-09"), "{second}");
    assert_eq!(books.value("select last from document_series").await, 2);
    let again = books.issue("2026-11").await;
    assert_eq!(billed(&again), []);
}

/// Whenever usage arrives and invoices are issued between: all of it is billed, and once.
#[tokio::test]
async fn any_interleaving_of_arrivals_and_invoices_bills_every_token_once() {
    for seed in 0_u32..12 {
        let books = Books::open().await;
        books.clock.set("2027-03-01T00:00:00Z");
        let months = ["2026-09", "2026-10", "2026-11", "2026-12"];
        let mut next = seed.wrapping_mul(2_654_435_761) | 1;
        let mut random = |below: u32| {
            next ^= next << 13;
            next ^= next >> 17;
            next ^= next << 5;
            next % below
        };
        let (mut number, mut sent, mut invoices) = (0, 0_u64, Vec::new());
        for month in months {
            for _ in 0..random(6) {
                number += 1;
                let place = usize::try_from(random(4)).unwrap();
                let mut event = on(&books, number, &format!("{}-{:02}", months[place], number));
                let tokens = u64::from(random(5_000));
                event.tokens = [(TokenClass::INPUT_UNCACHED, tokens)].into();
                sent += tokens;
                books.accept(&[event.clone()]).await;
                books.accept(&[event]).await;
            }
            let issued = books.issue(month).await;
            if random(3) == 0 {
                let finance = books.as_role(Role::Finance).await;
                books.ledger.void_invoice(&id(&issued), "again", &finance).await.unwrap();
                invoices.push(books.issue(month).await);
            } else {
                invoices.push(issued);
            }
        }
        invoices.push(books.issue("2027-01").await);

        let lines = invoices.iter().flat_map(|invoice| &invoice.lines);
        let billed: u64 = lines.map(|line| line.quantity).sum();
        assert_eq!(billed, sent, "seed {seed}");
        let standing = "select coalesce(sum(invoiced_usage.quantity), 0) from invoiced_usage
             join invoice on invoice.id = invoice where state <> 'void'";
        let rolled = "select coalesce(sum(quantity), 0) from usage_hour";
        assert_eq!(books.value(standing).await, books.value(rolled).await, "seed {seed}");
    }
}
