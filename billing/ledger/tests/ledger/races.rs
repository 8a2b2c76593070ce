//! Steps of invoices at once, from two ledgers on one file: no gap, no double, no partial state.

use std::collections::BTreeSet;

use permille_ledger::{
    CreditScope, Instruction, Invoice, InvoiceState, Ledger, LedgerError, NewCredit, NewPayment,
    Page, Role,
};
use permille_types::{Currency, CustomerId, InvoiceId, TokenClass};
use rust_decimal::Decimal;
use tokio::task::JoinSet;

use crate::support::{Books, add_customer, add_key, batch, event};

fn id(invoice: &Invoice) -> InvoiceId {
    invoice.id.clone().unwrap()
}

/// Two ledgers on one file, and who asks.
async fn two(books: &Books) -> ([Ledger; 2], Instruction) {
    ([books.ledger.clone(), books.reopened().await], books.as_role(Role::Finance).await)
}

/// Approved invoices of as many customers, each over one request.
async fn approved(books: &Books, count: u32, finance: &Instruction) -> Vec<InvoiceId> {
    let mut used = Vec::new();
    for number in 1..=count {
        let customer = format!("c{number}");
        add_customer(&books.ledger, &customer, Currency::CNY, "UTC").await;
        let key = add_key(&books.ledger, &customer).await.key;
        used.push(event(number, &customer, key.id.as_str()));
    }
    books.ledger.accept(&batch("n1", 1, &used)).await.unwrap();
    books.clock.set("2026-12-01T00:00:00Z");
    let mut ids = Vec::new();
    for number in 1..=count {
        let customer: CustomerId = format!("c{number}").parse().unwrap();
        let draft = books.ledger.draft_invoice(&customer, "2026-11", finance).await.unwrap();
        books.ledger.approve_invoice(&id(&draft), finance).await.unwrap();
        ids.push(id(&draft));
    }
    ids
}

/// Everything that must hold whatever raced: numbers 1 to the last one, each once; every issued
/// invoice whole; books that agree.
async fn assert_whole(books: &Books) {
    assert_eq!(books.ledger.check_books().await.unwrap(), Vec::<String>::new());
    for (series, table) in [("INV", "invoice"), ("CN", "credit_note")] {
        let numbers = match table {
            "invoice" => "select number from invoice where number is not null order by number",
            _ => "select number from credit_note order by number",
        };
        let numbers = books.lines(numbers).await;
        let wanted: Vec<_> =
            (1..=numbers.len()).map(|number| format!("{series}-2026-{number:06}")).collect();
        assert_eq!(numbers, wanted);
    }
    let last = "select coalesce(max(last), 0) from document_series where series = 'INV-2026'";
    let issued = "select count(*) from invoice where number is not null";
    assert_eq!(books.value(last).await, books.value(issued).await);
    let partial = "select count(*) from invoice where (number is null) <> (issued_at is null)
         or (state in ('final', 'paid') and number is null)
         or (state in ('draft', 'approved') and number is not null)
         or (number is not null and json_extract(document, '$.number') <> number)
         or (number is not null and (select count(*) from invoiced_usage where invoice = id)
             <> json_array_length(document, '$.lines'))";
    assert_eq!(books.value(partial).await, 0);
    let over = "select count(*) from (
             select invoiced_usage.customer from invoiced_usage join invoice on invoice.id = invoice
             where state <> 'void' group by invoiced_usage.customer, meter
             having sum(quantity) > 1000000 or count(*) > 1
         ) as billed_twice";
    assert_eq!(books.value(over).await, 0);
    let steps = "select count(*) from audit where action = 'finalize'";
    assert_eq!(books.value(steps).await, books.value(issued).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_finalisations_at_once_give_two_hundred_numbers() {
    let books = Books::open().await;
    let (ledgers, finance) = two(&books).await;
    let ids = approved(&books, 200, &finance).await;
    let mut running = JoinSet::new();
    for (ledger, id) in ledgers.into_iter().cycle().zip(ids) {
        let finance = finance.clone();
        running.spawn(async move { ledger.finalize_invoice(&id, &finance).await.unwrap() });
    }

    let issued = running.join_all().await;

    let numbers: BTreeSet<_> =
        issued.iter().map(|invoice| invoice.number.clone().unwrap().to_string()).collect();
    assert_eq!(numbers.len(), 200);
    assert_eq!(numbers.last().map(String::as_str), Some("INV-2026-000200"));
    assert_whole(&books).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_invoice_that_is_finalised_many_times_at_once_is_issued_once() {
    let books = Books::open().await;
    let (ledgers, finance) = two(&books).await;
    let ids = approved(&books, 1, &finance).await;
    let mut running = JoinSet::new();
    for ledger in ledgers.into_iter().cycle().take(20) {
        let (id, finance) = (ids[0].clone(), finance.clone());
        running.spawn(async move { ledger.finalize_invoice(&id, &finance).await });
    }

    let done = running.join_all().await;

    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1);
    for error in done.into_iter().filter_map(Result::err) {
        assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    }
    assert_whole(&books).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn issuing_voiding_paying_and_drafting_at_once_leave_every_invoice_whole() {
    let books = Books::open().await;
    let (ledgers, finance) = two(&books).await;
    let ids = approved(&books, 25, &finance).await;
    let mut running = JoinSet::new();
    for (number, id) in (1_usize..).zip(&ids) {
        let customer: CustomerId = format!("c{number}").parse().unwrap();
        for step in 0..4 {
            let ledger = ledgers[(number + step) % 2].clone();
            let (id, customer, finance) = (id.clone(), customer.clone(), finance.clone());
            running.spawn(async move {
                match step {
                    0 => ledger.finalize_invoice(&id, &finance).await,
                    1 => ledger.void_invoice(&id, "a race", &finance).await,
                    2 => ledger.pay_invoice(&id, None, &finance).await,
                    _ => ledger.draft_invoice(&customer, "2026-11", &finance).await,
                }
            });
        }
    }

    for error in running.join_all().await.into_iter().filter_map(Result::err) {
        assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    }

    assert_whole(&books).await;
    for id in &ids {
        let invoice = books.ledger.invoice(id).await.unwrap();
        let history = books.ledger.invoice_history(id).await.unwrap();
        let last = history.last().unwrap().to.clone().unwrap();
        assert_eq!(last, invoice.state.as_str(), "the trail ends where the invoice is");
        for pair in history.windows(2) {
            assert_eq!(pair[1].from, pair[0].to, "no step is missing: {history:?}");
        }
    }
    let listed = books.ledger.invoices(None, &Page::default()).await.unwrap().items;
    let live = listed.iter().filter(|row| row.state != InvoiceState::Void);
    let customers: Vec<_> = live.map(|row| row.customer.clone()).collect();
    let distinct: BTreeSet<_> = customers.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), customers.len(), "a month has one invoice that is not void");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn credits_at_once_never_take_more_than_there_is() {
    let books = Books::open().await;
    let (ledgers, finance) = two(&books).await;
    let mut large = books.event(1);
    large.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
    books.accept(&[large]).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let invoice = books.issue("2026-11").await;
    assert_eq!(invoice.total.to_string(), "12.00");
    let mut running = JoinSet::new();
    for ledger in ledgers.into_iter().cycle().take(30) {
        let (id, finance) = (id(&invoice), finance.clone());
        running.spawn(async move {
            let scope = CreditScope::Amount(Decimal::ONE);
            let new = NewCredit { scope, currency: None, reason: "a race".to_owned() };
            ledger.credit_invoice(&id, &new, &finance).await
        });
    }

    let done = running.join_all().await;

    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 12);
    let standing = books.ledger.invoice(&id(&invoice)).await.unwrap().standing.unwrap();
    assert_eq!((standing.credited, standing.due.to_string()), (invoice.total, "0.00".to_owned()));
    assert_whole(&books).await;
}

/// What races with a credit note of 3.00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Against {
    Void,
    /// All that is due.
    Pay,
    /// All that notes have left to be paid back, on a paid invoice of which 5.00 was credited.
    Refund,
}

/// Issued invoices over 12.00, of one customer each.
async fn issued(books: &Books, count: u32, finance: &Instruction) -> Vec<InvoiceId> {
    let mut used = Vec::new();
    for number in 1..=count {
        let customer = format!("c{number}");
        add_customer(&books.ledger, &customer, Currency::CNY, "UTC").await;
        let key = add_key(&books.ledger, &customer).await.key;
        let mut event = event(number, &customer, key.id.as_str());
        event.tokens = [(TokenClass::INPUT_UNCACHED, 1_000_000)].into();
        used.push(event);
    }
    books.ledger.accept(&batch("n1", 1, &used)).await.unwrap();
    books.clock.set("2026-12-01T00:00:00Z");
    let mut ids = Vec::new();
    for number in 1..=count {
        let customer: CustomerId = format!("c{number}").parse().unwrap();
        let draft = books.ledger.draft_invoice(&customer, "2026-11", finance).await.unwrap();
        books.ledger.approve_invoice(&id(&draft), finance).await.unwrap();
        books.ledger.finalize_invoice(&id(&draft), finance).await.unwrap();
        ids.push(id(&draft));
    }
    ids
}

async fn credit(
    ledger: &Ledger,
    id: &InvoiceId,
    amount: i64,
    finance: &Instruction,
) -> Result<(), LedgerError> {
    let scope = CreditScope::Amount(Decimal::from(amount));
    let new = NewCredit { scope, currency: None, reason: "a race".to_owned() };
    ledger.credit_invoice(id, &new, finance).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_credit_beside_a_void_a_payment_or_a_refund_comes_before_it_or_after_it() {
    let books = Books::open().await;
    let (ledgers, finance) = two(&books).await;
    let ids = issued(&books, 36, &finance).await;
    let kinds = [Against::Void, Against::Pay, Against::Refund];
    let mut running = JoinSet::new();
    for (place, (id, against)) in ids.iter().zip(kinds.into_iter().cycle()).enumerate() {
        if against == Against::Refund {
            books.ledger.pay_invoice(id, None, &finance).await.unwrap();
            credit(&books.ledger, id, 5, &finance).await.unwrap();
        }
        // Each of the two goes first, on either ledger: one ledger may keep the other waiting.
        let credit_first = place % 2 == 0;
        for is_credit in [credit_first, !credit_first] {
            let ledger = ledgers[(place / 6 + usize::from(is_credit)) % 2].clone();
            let (id, finance) = (id.clone(), finance.clone());
            running.spawn(async move {
                let done = match against {
                    _ if is_credit => credit(&ledger, &id, 3, &finance).await,
                    Against::Void => ledger.void_invoice(&id, "a race", &finance).await.map(drop),
                    Against::Pay => ledger.pay_invoice(&id, None, &finance).await.map(drop),
                    Against::Refund => {
                        let rest = NewPayment::default();
                        ledger.refund_invoice(&id, &rest, &finance).await.map(drop)
                    }
                };
                if let Err(error) = done {
                    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
                }
            });
        }
    }

    running.join_all().await;

    assert_whole(&books).await;
    let mut found = BTreeSet::new();
    for (id, against) in ids.iter().zip(kinds.into_iter().cycle()) {
        let invoice = books.ledger.invoice(id).await.unwrap();
        let now = invoice.standing.unwrap();
        let refunded = now.refunded.unwrap_or_default().to_string();
        let of = |amount: Decimal| amount.to_string();
        let standing = (of(now.credited), of(now.paid), refunded, of(now.due));
        found.insert((against, invoice.state.as_str(), standing));
    }
    let of = |against, state, [credited, paid, refunded, due]: [&str; 4]| {
        let owned = str::to_owned;
        (against, state, (owned(credited), owned(paid), owned(refunded), owned(due)))
    };
    // The credit first, then the other way round: nothing else is possible, and both come.
    let possible = BTreeSet::from([
        of(Against::Void, "final", ["3.00", "0.00", "0", "9.00"]),
        of(Against::Void, "void", ["0.00", "0.00", "0", "0.00"]),
        of(Against::Pay, "paid", ["3.00", "9.00", "0", "0.00"]),
        of(Against::Pay, "paid", ["3.00", "12.00", "0", "-3.00"]),
        of(Against::Refund, "paid", ["8.00", "12.00", "8.00", "0.00"]),
        of(Against::Refund, "paid", ["8.00", "12.00", "5.00", "-3.00"]),
    ]);
    assert_eq!(found, possible);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_roles_that_sign_at_once_close_a_month_once() {
    let books = Books::open().await;
    let ([first, second], finance) = two(&books).await;
    let operator = books.as_role(Role::Operator).await;
    books.clock.set("2026-12-01T00:00:00Z");
    let mut running = JoinSet::new();
    for (ledger, who) in [(&first, &finance), (&second, &operator)].into_iter().cycle().take(8) {
        let (ledger, who) = (ledger.clone(), who.clone());
        running.spawn(async move { ledger.sign_close("2026-11", None, &who).await });
    }

    let done = running.join_all().await;

    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 2);
    assert_eq!(books.value("select count(*) from period_signature").await, 2);
    assert_eq!(books.value("select count(*) from audit where action = 'close'").await, 1);
}
