//! What credit notes take back is taken off what margins say was billed.

use permille_ledger::{
    CreditNote, CreditScope, CustomerChanges, FxChange, Invoice, InvoiceTexts, MarginBy,
    MarginFilter, NewCredit, NewGrant, Role, TaxRate, TaxTerms,
};
use permille_types::{Currency, UsageEvent};
use rust_decimal::Decimal;

use crate::{
    margins::{COSTS, dollar, margins, rate, set, text, used},
    support::{Books, at, import},
};

/// What every margin is told by.
const ALL: [MarginBy; 4] = [MarginBy::Customer, MarginBy::Model, MarginBy::Session, MarginBy::Plan];

fn on(books: &Books, number: u32, model: &str, session: &str, day: &str) -> UsageEvent {
    let instant = at(&format!("{day}T12:00:00Z"));
    UsageEvent { at: instant, ..used(books, number, model, session) }
}

async fn credit(books: &Books, invoice: &Invoice, scope: CreditScope) -> CreditNote {
    let new = NewCredit { scope, currency: None, reason: "a test".to_owned() };
    let finance = books.as_role(Role::Finance).await;
    let id = invoice.id.as_ref().unwrap();
    books.ledger.credit_invoice(id, &new, &finance).await.unwrap()
}

fn line(number: usize, amount: &str) -> CreditScope {
    CreditScope::Line { number, amount: Some(amount.parse().unwrap()) }
}

/// The same sum, told by each of [`ALL`].
async fn billed(books: &Books) -> [String; 4] {
    let mut told = ALL.map(|_| String::new());
    for (told, by) in told.iter_mut().zip(ALL) {
        let found = margins(books, by).await;
        let groups: Decimal = found.groups.iter().map(|group| group.sums.billed).sum();
        assert_eq!(groups, found.total.billed, "{by:?}");
        *told = text(groups);
    }
    told
}

fn each(amount: &str) -> [String; 4] {
    ALL.map(|_| amount.to_owned())
}

/// Three requests of 1,000 and 500 tokens to each of two models in October, issued with VAT:
/// ERNIE-Bot 0.04 and 0.02, gpt-test 0.06 and 0.12.
async fn issued() -> (Books, Invoice) {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    set(&books, &[dollar("2026-10-20", "7")], FxChange::default()).await.unwrap();
    let finance = books.as_role(Role::Finance).await;
    let vat = TaxRate { name: "VAT".to_owned(), percent: "20".parse().unwrap() };
    let tax = Some(TaxTerms::Standard { rates: vec![vat] });
    let changes = CustomerChanges { tax, ..CustomerChanges::default() };
    let acme = books.key.key.customer.clone();
    books.ledger.change_customer(&acme, changes, &finance).await.unwrap();
    let sessions = [(1, "a"), (2, "b"), (3, "c")];
    let events: Vec<_> = sessions
        .into_iter()
        .flat_map(|(number, session)| {
            [("ERNIE-Bot", number), ("gpt-test", number + 10)]
                .map(|(model, number)| on(&books, number, model, session, "2026-10-20"))
        })
        .collect();
    books.accept(&events).await;
    let invoice = books.issue("2026-10").await;
    let amounts: Vec<_> = invoice.lines.iter().map(|line| line.amount.to_string()).collect();
    assert_eq!(amounts, ["0.04", "0.02", "0.06", "0.12"]);
    (books, invoice)
}

#[tokio::test]
async fn of_an_invoice_that_is_credited_in_full_what_providers_took_is_left() {
    let (books, invoice) = issued().await;
    assert_eq!(billed(&books).await, each("0.24"));

    let note = credit(&books, &invoice, CreditScope::Rest).await;

    assert_eq!((note.net.to_string(), note.gross.to_string()), ("0.24".into(), "0.29".into()));
    let revenue = books.ledger.balances().await.unwrap();
    let revenue = revenue.iter().find(|balance| balance.account == "revenue:billed");
    assert_eq!(text(revenue.unwrap().amount()), "0");
    for by in ALL {
        let found = margins(&books, by).await;
        let sums = &found.total;
        // ERNIE-Bot 0.009 each; gpt-test 0.006 dollars at 7.
        assert_eq!((text(sums.billed), text(sums.provider_cost)), ("0".into(), "0.153".into()));
        assert_eq!((text(sums.margin), sums.share_permille), ("-0.153".to_owned(), None));
        for group in &found.groups {
            let margin = group.sums.margin;
            assert_eq!((group.sums.billed, -group.sums.provider_cost), (Decimal::ZERO, margin));
        }
    }
}

#[tokio::test]
async fn what_a_note_credits_of_a_line_is_shared_among_the_requests_of_that_line() {
    let (books, invoice) = issued().await;

    credit(&books, &invoice, line(1, "0.01")).await;
    let first = margins(&books, MarginBy::Session).await;
    credit(&books, &invoice, line(1, "0.02")).await;
    let by_model = margins(&books, MarginBy::Model).await;

    // 0.06 of gpt-test each; 0.04 less 0.01 has equal shares, 0.02 an odd one less for the last.
    let rows = first
        .groups
        .iter()
        .map(|of| format!("{} {}", of.session.as_ref().unwrap(), text(of.sums.billed)));
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    assert_eq!(rows, ["a 0.076666667", "b 0.076666667", "c 0.076666666"]);
    let rows: Vec<_> = by_model
        .groups
        .iter()
        .map(|of| (of.model.as_ref().unwrap().as_str(), text(of.sums.billed)))
        .collect();
    assert_eq!(rows, [("ERNIE-Bot", "0.03".to_owned()), ("gpt-test", "0.18".to_owned())]);
    assert_eq!(billed(&books).await, each("0.21"), "0.24 less 0.01 less 0.02");
    credit(&books, &invoice, CreditScope::Amount("0.07".parse().unwrap())).await;
    assert_eq!(billed(&books).await, each("0.14"), "a note without a line has shares of all");
}

#[tokio::test]
async fn a_credit_is_converted_and_counted_on_the_day_of_the_usage_that_it_credits() {
    let (books, invoice) = issued().await;
    let days = [
        rate(Currency::CNY, Currency::USD, "2026-10-20", "0.125"),
        rate(Currency::CNY, Currency::USD, "2026-11-20", "0.13"),
    ];
    set(&books, &days, FxChange::default()).await.unwrap();
    let total = async |since: &str| {
        let since = Some(at(since));
        let asked = MarginFilter { since, ..MarginFilter::new(Currency::USD) };
        books.ledger.margins(&asked).await.unwrap().total
    };
    let october = "2026-10-01T00:00:00Z";
    let before = total(october).await;

    let note = credit(&books, &invoice, CreditScope::Amount("0.08".parse().unwrap())).await;
    let after = total(october).await;
    let november = total("2026-11-01T00:00:00Z").await;

    assert_eq!(note.issued_at.date_naive().to_string(), "2026-11-20");
    assert_eq!((text(before.billed), text(after.billed)), ("0.03".into(), "0.02".into()));
    assert_eq!(before.provider_cost, after.provider_cost);
    assert_eq!(november.billed, Decimal::ZERO, "it is not of the month in which it was made");
}

#[tokio::test]
async fn what_is_credited_stays_taken_off_while_late_usage_waits() {
    let (books, invoice) = issued().await;
    books.accept(&[on(&books, 30, "ERNIE-Bot", "late", "2026-10-21")]).await;
    let before = billed(&books).await;

    credit(&books, &invoice, line(1, "0.01")).await;

    // ERNIE-Bot is at its own prices again, four requests of 0.018; gpt-test was billed 0.18.
    assert_eq!(before, each("0.252"));
    assert_eq!(billed(&books).await, each("0.242"));
}

#[tokio::test]
async fn a_credit_of_an_interim_invoice_counts_before_the_months_own_is_out() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    let finance = books.as_role(Role::Finance).await;
    books.accept(&[used(&books, 1, "ERNIE-Bot", "a"), used(&books, 2, "ERNIE-Bot", "b")]).await;
    let (acme, texts) = (books.key.key.customer.clone(), InvoiceTexts::default());
    let draft = books.ledger.draft_interim(&acme, "2026-11", texts, &finance).await.unwrap();
    let id = draft.id.clone().unwrap();
    books.ledger.approve_invoice(&id, &finance).await.unwrap();
    let interim = books.ledger.finalize_invoice(&id, &finance).await.unwrap();

    credit(&books, &interim, line(1, "0.01")).await;
    let running = billed(&books).await;
    books.clock.set("2026-12-01T00:00:00Z");
    books.accept(&[on(&books, 3, "ERNIE-Bot", "a", "2026-11-30")]).await;
    books.issue("2026-11").await;

    assert_eq!(running, each("0.026"), "two requests of 0.018, not billed by a month's own");
    // 0.024 + 0.012 as 0.02 and 0.01, then 0.012 + 0.006 as 0.01 and 0.01.
    assert_eq!(billed(&books).await, each("0.04"));
}

#[tokio::test]
async fn what_prepaid_credit_pays_was_billed_and_what_goes_back_to_it_is_credited() {
    let books = Books::open().await;
    import(&books.ledger, COSTS).await;
    books.accept(&[on(&books, 1, "ERNIE-Bot", "a", "2026-10-20")]).await;
    let finance = books.as_role(Role::Finance).await;
    let acme = books.key.key.customer.clone();
    let gift = NewGrant {
        amount: Decimal::ONE,
        currency: None,
        paid: Decimal::ZERO,
        priority: 0,
        from: Some(at("2026-10-01T00:00:00Z")),
        expires_at: None,
        models: Vec::new(),
        reason: "a gift".to_owned(),
    };
    books.ledger.add_grant(&acme, &gift, &finance).await.unwrap();
    let invoice = books.issue("2026-10").await;
    let drawn = billed(&books).await;

    let note = credit(&books, &invoice, CreditScope::Rest).await;

    assert_eq!((invoice.total.to_string(), drawn), ("0.00".to_owned(), each("0.02")));
    assert_eq!(note.in_money(), Decimal::ZERO);
    assert_eq!(billed(&books).await, each("0"));
}

const MONTHLY: &str = r#"
[[plan]]
name = "monthly"
kind = "subscription"
currency = "CNY"
fee = "31"

[plan.allowance]
amount = "1000"
"#;

#[tokio::test]
async fn a_fee_that_is_credited_is_taken_off_the_fees_of_its_plan() {
    for (from, fee, rest, half) in [
        ("2026-10-01T00:00:00Z", "31.00", "26.8", "18.76"),
        // A plan of 21 days of 31.
        ("2026-10-11T00:00:00Z", "21.00", "16.8", "9.36"),
    ] {
        let books = Books::open().await;
        import(&books.ledger, COSTS).await;
        let finance = books.as_role(Role::Finance).await;
        books.ledger.add_plans(MONTHLY, &finance).await.unwrap();
        let acme = books.key.key.customer.clone();
        books.ledger.assign_plan(&acme, "monthly", Some(at(from)), &finance).await.unwrap();
        books.accept(&[on(&books, 1, "ERNIE-Bot", "a", "2026-10-20")]).await;
        let invoice = books.issue("2026-10").await;
        let place = invoice.lines.iter().position(|line| line.meter.as_str() == "fee").unwrap();
        assert_eq!(invoice.lines[place].amount.to_string(), fee);
        let fees = async |until: &str| {
            let (by, until) = (MarginBy::Plan, Some(at(until)));
            let asked = MarginFilter { by, until, ..MarginFilter::new(Currency::CNY) };
            let found = books.ledger.margins(&asked).await.unwrap();
            (text(found.total.fees), text(found.groups[0].sums.fees))
        };
        let month = "2026-11-01T00:00:00Z";

        credit(&books, &invoice, line(place + 1, "4.20")).await;

        assert_eq!(fees(month).await, (rest.to_owned(), rest.to_owned()));
        // Of the part that a report is over, by its seconds.
        let most = fees("2026-10-22T16:48:00Z").await;
        assert_eq!(most, (half.to_owned(), half.to_owned()));
        credit(&books, &invoice, CreditScope::Rest).await;
        assert_eq!(fees(month).await.0, "0");
        let customer = margins(&books, MarginBy::Customer).await.total;
        assert_eq!((text(customer.billed), text(customer.fees)), ("0".into(), "0".into()));
    }
}
