//! Random walks through everything that can be done to invoices and months: whatever comes, the
//! books agree, numbers have no gap, and no token is billed twice.

use permille_ledger::{
    CreditScope, CustomerChanges, Instruction, LedgerError, NewCredit, NewPayment, Page, Role,
    TaxRate, TaxTerms,
};
use permille_types::{InvoiceId, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{Books, at};

const MONTHS: [&str; 3] = ["2026-09", "2026-10", "2026-11"];
const WALKS: u32 = 8;
const STEPS: u32 = 60;

/// A small generator: the same seed is the same walk.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % bound
    }

    fn month(&mut self) -> &'static str {
        MONTHS[usize::try_from(self.below(3)).unwrap()]
    }
}

struct Walk {
    books: Books,
    finance: Instruction,
    operator: Instruction,
    random: Random,
    events: u32,
}

impl Walk {
    async fn begin(seed: u32) -> Self {
        let books = Books::open().await;
        books.clock.set("2026-12-05T00:00:00Z");
        let finance = books.as_role(Role::Finance).await;
        let operator = books.as_role(Role::Operator).await;
        let rate = |name: &str, percent: &str| TaxRate {
            name: name.to_owned(),
            percent: percent.parse().unwrap(),
        };
        let rates = vec![rate("GST", "5"), rate("QST", "9.975")];
        let tax = Some(TaxTerms::Standard { rates });
        let changes = CustomerChanges { tax, ..CustomerChanges::default() };
        let acme = books.key.key.customer.clone();
        books.ledger.change_customer(&acme, changes, &finance).await.unwrap();
        let random = Random(seed.wrapping_mul(2_654_435_761) | 1);
        Self { books, finance, operator, random, events: 0 }
    }

    async fn some_invoice(&mut self) -> InvoiceId {
        let rows = self.books.ledger.invoices(None, &Page::default()).await.unwrap().items;
        let count = u32::try_from(rows.len()).unwrap();
        if count == 0 {
            return "inv_none".parse().unwrap();
        }
        rows[usize::try_from(self.random.below(count)).unwrap()].id.clone()
    }

    async fn use_some(&mut self) {
        self.events += 1;
        let (month, day) = (self.random.month(), 1 + self.random.below(28));
        let mut event = UsageEvent {
            at: at(&format!("{month}-{day:02}T08:00:00Z")),
            ..self.books.event(self.events)
        };
        let tokens = 1 + u64::from(self.random.below(3_000_000));
        event.tokens = [(TokenClass::INPUT_UNCACHED, tokens)].into();
        self.books.accept(&[event]).await;
    }

    async fn step(&mut self) -> Result<(), LedgerError> {
        let choice = self.random.below(21);
        let (id, month) = (self.some_invoice().await, self.random.month());
        let amount = Decimal::new(i64::from(self.random.below(2_000)), 2);
        let line = usize::try_from(self.random.below(3)).unwrap();
        let (ledger, finance) = (self.books.ledger.clone(), self.finance.clone());
        match choice {
            0..=2 => {
                self.use_some().await;
                Ok(())
            }
            3 | 4 => {
                let acme = &self.books.key.key.customer;
                let draft = ledger.draft_invoice(acme, month, &finance).await?;
                if line > 0 {
                    ledger.approve_invoice(&draft.id.unwrap(), &finance).await?;
                }
                Ok(())
            }
            5 => ledger.approve_invoice(&id, &finance).await.map(drop),
            6 | 7 => ledger.finalize_invoice(&id, &finance).await.map(drop),
            8 => ledger.pay_invoice(&id, None, &finance).await.map(drop),
            14 | 15 => {
                let payment = NewPayment { amount: Some(amount), ..NewPayment::default() };
                ledger.pay_invoice_in_part(&id, &payment, &finance).await.map(drop)
            }
            16 => {
                let amount = (line > 0).then_some(amount);
                let payment = NewPayment { amount, ..NewPayment::default() };
                ledger.refund_invoice(&id, &payment, &finance).await.map(drop)
            }
            // Issuing takes three steps: without a way through, money would seldom move.
            18..=20 => {
                let draft = ledger.draft_invoice(&self.books.key.key.customer, month, &finance);
                let id = draft.await?.id.unwrap();
                ledger.approve_invoice(&id, &finance).await?;
                ledger.finalize_invoice(&id, &finance).await.map(drop)
            }
            17 => {
                let new = permille_ledger::NewGrant {
                    amount: amount + Decimal::ONE,
                    currency: None,
                    paid: Decimal::ZERO,
                    priority: 0,
                    from: Some(at("2026-01-01T00:00:00Z")),
                    expires_at: None,
                    models: Vec::new(),
                    reason: "a walk".to_owned(),
                };
                let acme = &self.books.key.key.customer;
                ledger.add_grant(acme, &new, &finance).await.map(drop)
            }
            9 => ledger.void_invoice(&id, "a walk", &finance).await.map(drop),
            10 => {
                let scope = match line {
                    0 => CreditScope::Amount(amount),
                    number => CreditScope::Line { number, amount: Some(amount) },
                };
                let new = NewCredit { scope, currency: None, reason: "a walk".to_owned() };
                ledger.credit_invoice(&id, &new, &finance).await.map(drop)
            }
            11 => {
                let who = if line == 0 { &self.operator } else { &finance };
                ledger.sign_close(month, Some("a walk"), who).await.map(drop)
            }
            _ => ledger.reopen_period(month, "a walk", &finance).await.map(drop),
        }
    }

    /// Everything used is on an invoice that stands or is still to be billed, and nowhere twice.
    async fn assert_whole(&self) {
        let books = &self.books;
        for (numbers, series) in [
            ("select number from invoice where number is not null order by number", "INV"),
            ("select number from credit_note order by number", "CN"),
        ] {
            let numbers = books.lines(numbers).await;
            let wanted: Vec<_> =
                (1..=numbers.len()).map(|number| format!("{series}-2026-{number:06}")).collect();
            assert_eq!(numbers, wanted);
        }
        let over = "select count(*) from (
                 select
                     taken.period,
                     sum(taken.quantity) as billed,
                     (select coalesce(sum(quantity), 0) from usage_hour
                      where strftime('%Y-%m', hour / 1000000, 'unixepoch') = taken.period) as used
                 from invoiced_usage as taken
                 join invoice on invoice.id = taken.invoice
                 where invoice.state <> 'void'
                 group by taken.period
             ) as months where billed > used";
        assert_eq!(books.value(over).await, 0);
        for month in MONTHS {
            books.ledger.preview_invoice(&books.key.key.customer, month).await.unwrap();
        }
    }
}

#[tokio::test]
async fn any_walk_of_steps_keeps_books_numbers_and_usage_whole() {
    let mut issued = 0;
    for seed in 1..=WALKS {
        let mut walk = Walk::begin(seed).await;
        for step in 0..STEPS {
            if let Err(error) = walk.step().await {
                let expected = matches!(
                    error,
                    LedgerError::Refused { .. }
                        | LedgerError::Invalid { .. }
                        | LedgerError::NotFound { .. }
                );
                assert!(expected, "seed {seed}, step {step}: {error:?}");
            }
            let wrong = walk.books.ledger.check_books().await.unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "seed {seed}, step {step}");
        }
        walk.assert_whole().await;
        issued += walk.books.value("select count(*) from invoice where number is not null").await;
    }
    assert!(issued > i64::from(WALKS), "{issued} invoices were issued, too few to mean anything");
}
