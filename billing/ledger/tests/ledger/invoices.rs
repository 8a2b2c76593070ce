//! Invoices: what stands on them, and that it is what the rows say.

use std::collections::BTreeMap;

use permille_ledger::{Invoice, NewKey, NewProject, Page, UsageFilter};
use permille_types::{Currency, CustomerId, Flag, Source, TokenClass, UsageEvent};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::support::{Books, add_customer, add_key, at, event, import};

fn acme() -> CustomerId {
    "acme".parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

async fn preview(books: &Books, period: &str) -> Invoice {
    books.ledger.preview_invoice(&acme(), period).await.unwrap()
}

/// Event `number` with so many input and output tokens.
fn tokens(books: &Books, number: u32, input: u64, output: u64) -> UsageEvent {
    let mut event = books.event(number);
    event.tokens.insert(TokenClass::INPUT_UNCACHED, input);
    event.tokens.insert(TokenClass::OUTPUT_TEXT, output);
    event
}

/// A month of several projects, models and prices; one request is held, some are estimated.
async fn busy_month(books: &Books) {
    import(
        &books.ledger,
        "[[price]]\nmodel = \"banded\"\ncurrency = \"CNY\"\nfrom = 2026-10-01T00:00:00Z\n\
         until = 2026-11-15T00:00:00Z\nsource = \"a test\"\ninput = \"0.0031\"\noutput = \"0.007\"\n\
         [[price.band]]\nwhen = { input_total_over = 5000 }\ninput = \"0.0062\"\n\
         output = \"0.0140\"\n\
         [[price]]\nmodel = \"banded\"\ncurrency = \"CNY\"\nfrom = 2026-11-15T00:00:00Z\n\
         source = \"a test\"\ninput = \"0.0029\"\noutput = \"0.006\"\nsearches = \"0.03\"\n",
    )
    .await;
    let web = "web".parse().unwrap();
    let new = NewProject { customer: acme(), id: None, name: "Web".to_owned() };
    books.ledger.create_project(new).await.unwrap();
    let new = NewKey { customer: acme(), project: web, name: None, rpm: None };
    let web_key = books.ledger.create_key(new).await.unwrap().key;
    let events: Vec<_> = (1..=40_u32)
        .map(|number| {
            let input = u64::from(number) * 397;
            let mut event = tokens(books, number, input, u64::from(number) * 13);
            event.input_total = Some(input);
            event.at = at("2026-11-01T00:00:00Z") + chrono::Duration::hours((number * 17).into());
            if number % 2 == 0 {
                event.model_requested = "banded".parse().unwrap();
            }
            if number % 3 == 0 {
                event.project = "web".parse().unwrap();
                event.key = web_key.id.clone();
            }
            if number % 5 == 0 {
                event.source = Source::Estimated;
            }
            event
        })
        .collect();
    books.accept(&events).await;
    let mut held = tokens(books, 99, 10, 10);
    held.model_requested = "unheard-of".parse().unwrap();
    books.accept(&[held]).await;
}

#[tokio::test]
async fn a_line_is_quantity_in_thousands_times_price_rounded_once() {
    let books = Books::open().await;
    // 0.012 per thousand: no single request reaches a hundredth of a cent.
    let events: Vec<_> = (1..=1_000).map(|number| tokens(&books, number, 42, 1)).collect();
    books.accept(&events).await;

    let invoice = preview(&books, "2026-11").await;

    let [input, output] = &invoice.lines[..] else { panic!("{invoice:?}") };
    assert_eq!((input.project.as_str(), input.model.as_str()), ("default", "ERNIE-Bot"));
    assert_eq!((input.meter.as_str(), input.quantity), ("input_uncached", 42_000));
    assert_eq!(input.quantity_thousand, Some(decimal("42")));
    assert_eq!(input.price_per_thousand, Some(decimal("0.012")));
    assert_eq!(
        (input.exact.to_string(), input.amount.to_string()),
        ("0.504".into(), "0.50".into())
    );
    assert_eq!((output.meter.as_str(), output.quantity), ("output_text", 1_000));
    assert_eq!(
        (output.exact.to_string(), output.amount.to_string()),
        ("0.012".into(), "0.01".into())
    );
    assert_eq!(invoice.total.to_string(), "0.51");
    assert_eq!(invoice.requests, 1_000);
}

#[tokio::test]
async fn an_invoice_equals_its_recomputation_from_the_rows() {
    let books = Books::open().await;
    busy_month(&books).await;

    let invoice = preview(&books, "2026-11").await;

    let rows = books.ledger.usage(&UsageFilter::default(), &Page::default()).await.unwrap().items;
    let mut quantities: BTreeMap<_, u64> = BTreeMap::new();
    let mut costs = Decimal::ZERO;
    for row in rows.iter().filter(|row| row.cost.is_some()) {
        costs += decimal(row.cost.as_ref().unwrap());
        for (class, count) in &row.tokens {
            let version = row.price_version.clone().unwrap();
            let key = (
                row.project.clone(),
                row.model_requested.clone(),
                class.as_str().to_owned(),
                version,
                row.band.unwrap(),
            );
            *quantities.entry(key).or_default() += count;
        }
    }
    assert_eq!(invoice.lines.len(), quantities.len());
    assert!(invoice.lines.len() > 8, "{}", invoice.lines.len());
    for line in &invoice.lines {
        let key = (
            line.project.clone(),
            line.model.clone(),
            line.meter.as_str().to_owned(),
            line.price_version.clone(),
            line.band,
        );
        assert_eq!(quantities.get(&key), Some(&line.quantity), "{key:?}");
        let listed = books.ledger.price(&line.price_version).await.unwrap().price;
        let rates = match line.band {
            0 => &listed.rates,
            band => &listed.bands[usize::try_from(band).unwrap() - 1].rates,
        };
        let price = rates.per_thousand[&TokenClass::named(line.meter.as_str())].amount();
        let exact = price * Decimal::from(line.quantity) / decimal("1000");
        assert_eq!((line.price_per_thousand, line.exact), (Some(price), exact), "{key:?}");
        let rounded = exact.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        assert_eq!(line.amount, rounded, "{key:?}");
    }
    assert_eq!(invoice.lines.iter().map(|line| line.exact).sum::<Decimal>(), costs);
    assert_eq!(invoice.lines.iter().map(|line| line.amount).sum::<Decimal>(), invoice.total);
    let amounts = [invoice.subtotal, invoice.net, invoice.gross];
    assert_eq!(amounts, [invoice.total; 3]);
}

#[tokio::test]
async fn held_usage_is_counted_on_the_invoice_and_in_none_of_its_lines() {
    let books = Books::open().await;
    busy_month(&books).await;

    let before = preview(&books, "2026-11").await;
    let price = "[[price]]\nmodel = \"unheard-of\"\ncurrency = \"CNY\"\n\
                 from = 2026-10-01T00:00:00Z\nsource = \"a test\"\ninput = \"9\"\noutput = \"1\"\n";
    import(&books.ledger, price).await;
    let after = preview(&books, "2026-11").await;

    assert_eq!((before.requests, before.unpriced_requests), (41, 1));
    assert!(before.lines.iter().all(|line| line.model.as_str() != "unheard-of"));
    assert_eq!((after.requests, after.unpriced_requests), (41, 0));
    assert_eq!(after.lines.len(), before.lines.len() + 2);
    assert_eq!(after.total - before.total, decimal("0.10"));
}

#[tokio::test]
async fn estimated_and_simulated_usage_says_so() {
    let books = Books::open().await;
    let mut events = [tokens(&books, 1, 10, 5), tokens(&books, 2, 100, 7), books.event(3)];
    events[0].source = Source::Estimated;
    events[1].source = Source::Partial;
    books.accept(&events).await;
    let real = preview(&books, "2026-11").await;
    let mut simulated = books.event(4);
    simulated.flags = vec![Flag::Simulated];
    books.accept(&[simulated]).await;

    let mixed = preview(&books, "2026-11").await;

    assert_eq!((real.estimated_requests, real.estimated_quantity), (2, 122));
    assert_eq!((real.simulated_requests, real.simulated), (0, false));
    // What the built-in provider served is no money: beside real usage it is told, and on no line.
    assert_eq!((mixed.simulated_requests, mixed.simulated), (1, false));
    assert_eq!((mixed.requests, mixed.lines), (4, real.lines));
}

#[tokio::test]
async fn the_customers_own_calendar_bounds_the_month() {
    for (zone, first, last) in [
        ("UTC", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59.999999Z"),
        ("Asia/Shanghai", "2026-10-31T16:00:00Z", "2026-11-30T15:59:59.999999Z"),
        ("Asia/Kolkata", "2026-10-31T18:30:00Z", "2026-11-30T18:29:59.999999Z"),
        // The clock goes back on 1 November: the month begins at -4 and ends at -5.
        ("America/New_York", "2026-11-01T04:00:00Z", "2026-12-01T04:59:59.999999Z"),
    ] {
        let books = Books::with("acme", Currency::CNY, zone).await;
        let microsecond = chrono::Duration::microseconds(1);
        let times = [at(first) - microsecond, at(first), at(last), at(last) + microsecond];
        let events = (1_u32..)
            .zip(times)
            .map(|(number, at)| UsageEvent { at, ..tokens(&books, number, 10_u64.pow(number), 0) });
        books.accept(&events.collect::<Vec<_>>()).await;

        let inputs = async |period| preview(&books, period).await.lines[0].quantity;

        assert_eq!(inputs("2026-10").await, 10, "{zone}");
        assert_eq!(inputs("2026-11").await, 1_100, "{zone}");
        assert_eq!(inputs("2026-12").await, 10_000, "{zone}");
        let period = preview(&books, "2026-11").await.period;
        assert_eq!((period.start, period.time_zone.name()), (at(first), zone));
        assert_eq!(period.end, at(last) + microsecond);
    }
}

#[tokio::test]
async fn another_customers_usage_is_never_on_an_invoice() {
    let books = Books::open().await;
    add_customer(&books.ledger, "other", Currency::CNY, "UTC").await;
    let key = add_key(&books.ledger, "other").await.key;
    books.accept(&[books.event(1), event(2, "other", key.id.as_str())]).await;

    let ours = preview(&books, "2026-11").await;

    assert_eq!((ours.requests, ours.lines[0].quantity), (1, 1_000));
    books.draft("2026-11").await;
    let other = key.customer;
    let theirs = books.ledger.invoices(Some(&other), &Page::default()).await.unwrap();
    assert!(theirs.items.is_empty());
}

#[tokio::test]
async fn a_month_without_usage_is_an_invoice_over_nothing() {
    let books = Books::open().await;

    let invoice = preview(&books, "2026-11").await;

    assert_eq!((invoice.lines.len(), invoice.requests), (0, 0));
    assert_eq!(invoice.total.to_string(), "0.00");
}

#[tokio::test]
async fn an_invoice_as_json_carries_amounts_as_text_and_reads_back() {
    let books = Books::open().await;
    books.accept(&[tokens(&books, 1, 41_666, 1_000)]).await;
    let draft = books.draft("2026-11").await;

    let json = serde_json::to_value(&draft).unwrap();

    let line = serde_json::json!({
        "project": "default", "model": "ERNIE-Bot", "class": "input_uncached", "quantity": 41_666,
        "quantity_thousand": "41.666", "price_per_thousand": "0.012", "exact": "0.499992",
        "amount": "0.50", "price_version": draft.lines[0].price_version, "band": 0,
    });
    assert_eq!(json["lines"][0], line);
    assert_eq!((&json["version"], &json["state"]), (&3.into(), &"draft".into()));
    assert_eq!((&json["total"], &json["currency"]), (&"0.51".into(), &"CNY".into()));
    assert_eq!(json["customer"], serde_json::json!({ "id": "acme", "name": "ACME" }));
    assert_eq!(serde_json::from_value::<Invoice>(json).unwrap(), draft);
}

/// A stored draft of before invoices had taxes, texts and numbers.
#[test]
fn an_invoice_of_version_1_still_reads() {
    let invoice: Invoice = serde_json::from_str(include_str!("golden/invoice-v1.json")).unwrap();

    assert_eq!((invoice.version, invoice.total.to_string()), (1, "0.51".to_owned()));
    assert!(invoice.number.is_none() && invoice.tax_terms.is_none());
    assert!(invoice.lines.iter().all(|line| line.corrects.is_none()));
}

/// What a version looks like, to the byte: whoever verifies an invoice relies on it.
#[test]
fn an_invoice_of_version_2_has_the_published_text() {
    let golden = include_str!("golden/invoice-v2.json");
    let invoice: Invoice = serde_json::from_str(golden).unwrap();

    assert_eq!(invoice.version, 2);
    assert_eq!(invoice.lines[1].corrects.as_deref(), Some("2026-10"));
    let text = serde_json::to_string_pretty(&invoice).unwrap();
    assert_eq!(format!("{text}\n"), golden);
}

/// What the newest version looks like: with its issuer, its terms and a seal over all of it.
#[test]
fn an_invoice_of_version_3_has_the_published_text_and_seal() {
    let golden = include_str!("golden/invoice-v3.json");
    let invoice: Invoice = serde_json::from_str(golden).unwrap();

    assert_eq!(invoice.version, permille_ledger::INVOICE_VERSION);
    assert!(invoice.seal.is_some() && invoice.seal == invoice.seal_of_content());
    let text = serde_json::to_string_pretty(&invoice).unwrap();
    assert_eq!(format!("{text}\n"), golden);
}
