//! The end of a month, measured: rating its events, booking some of them, issuing its invoices.
//!
//! `cargo run --release -p permille-ledger --example month_end -- [EVENTS [INVOICES [STORE]]]`:
//! 10,000,000 events rated in memory, then 1,000 invoices of 100 requests each, by default in a
//! file of `SQLite` that goes again; STORE may be a new `postgres://USER@HOST/DATABASE`. Prints the
//! seconds of processor and clock, and the most memory so far.

#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures ends where it cannot go on, and prints what it found"
)]

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use permille_ledger::{
    Actor, Instruction, Ledger, LedgerConfig, NewCustomer, NewKey, Pepper, PostgresAddress,
    PriceOrigin, Role, StoreAddress,
};
use permille_rating::{
    Meter,
    price_book::{PriceBook, default_prices},
    rate::rate,
};
use permille_types::{
    Attempt, Batch, Clock, Currency, CustomerId, Ended, Endpoint, Family, KeyId, Price,
    PriceVersion, RequestId, Sequenced, Source, TokenClass, TokenCounts, UnitCounts, UsageEvent,
};
use rust_decimal::Decimal;

const PERIOD: &str = "2026-10";
const REQUESTS_PER_INVOICE: usize = 100;
const BATCH: usize = 512;

/// The morning after the month.
struct MonthEnd;

impl Clock for MonthEnd {
    fn now(&self) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 1, 9, 0, 0).unwrap()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let events = arguments.next().map_or(10_000_000, |text| text.parse().unwrap());
    let invoices = arguments.next().map_or(1_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = arguments.next().map_or_else(
        || StoreAddress::Sqlite(folder.path().join("month_end.db")),
        |address| StoreAddress::Postgres(PostgresAddress::new(&address, None).unwrap()),
    );
    let prices = default_prices().unwrap();
    rating(&prices, events);
    invoicing(store, &prices, invoices).await;
}

/// Rates `events` and sums them as an invoice would.
fn rating(prices: &[Price], events: usize) {
    let book = PriceBook::new(prices.to_vec()).unwrap();
    let models = models(prices);
    let mut event = event(&models, "customer-0", "key_0", 0);
    let mut sums: BTreeMap<(usize, PriceVersion, Meter), (u64, Decimal)> = BTreeMap::new();
    let watch = Watch::start();
    for number in 0..events {
        let model = number % models.len();
        event.model_served = Some(models[model].parse().unwrap());
        event.model_requested = models[model].parse().unwrap();
        event.at = at(number);
        event.tokens.insert(TokenClass::INPUT_UNCACHED, 500 + (number % 1_000) as u64);
        let rated = rate(&event, &book, Currency::USD).unwrap();
        let version = rated.price_version.unwrap();
        for line in rated.lines {
            let sum = sums.entry((number % 1_000, version.clone(), line.meter)).or_default();
            sum.0 += line.quantity;
            sum.1 += line.cost;
        }
    }
    watch.report(&format!("{events} events rated into {} sums", sums.len()), events);
    black_box(sums);
}

/// Books requests of as many customers, then drafts, approves and issues an invoice of each.
async fn invoicing(store: StoreAddress, prices: &[Price], invoices: usize) {
    println!("{store}");
    let config = LedgerConfig { store, pepper: Pepper::new([7; 32]), clock: Arc::new(MonthEnd) };
    let ledger = Ledger::open(config).await.unwrap();
    ledger.import_prices(prices, PriceOrigin::BuiltIn).await.unwrap();
    let models = models(prices);
    let mut customers: Vec<(CustomerId, KeyId)> = Vec::new();
    for number in 0..invoices {
        let id = format!("customer-{number}");
        let new = NewCustomer {
            id: Some(id.clone()),
            name: id,
            currency: Currency::USD,
            time_zone: chrono_tz::UTC,
        };
        let customer = ledger.create_customer(new).await.unwrap().id;
        let project = "default".parse().unwrap();
        let new = NewKey { customer: customer.clone(), project, name: None, rpm: None };
        let key = ledger.create_key(new).await.unwrap().key.id;
        customers.push((customer, key));
    }

    let events = invoices * REQUESTS_PER_INVOICE;
    let made = |number: usize| {
        let (customer, key) = &customers[number % invoices];
        let event = event(&models, &customer.to_string(), key.as_str(), number);
        let payload = Bytes::from(event.to_json().unwrap());
        Sequenced { sequence: number as u64 + 1, payload }
    };
    let watch = Watch::start();
    for first in (0..events).step_by(BATCH) {
        let some = first..events.min(first + BATCH);
        let batch = Batch { node: "gateway-1".parse().unwrap(), events: some.map(made).collect() };
        let accepted = ledger.accept(&batch).await.unwrap();
        assert_eq!(accepted.booked, batch.events.len() as u64);
    }
    watch.report(&format!("{events} events booked, batches of {BATCH}"), events);

    let token = ledger.create_token(Role::Finance, None).await.unwrap().token;
    let finance = Instruction::new(Actor::of(&token), None).unwrap();
    let mut ids = Vec::new();
    let watch = Watch::start();
    for (customer, _) in &customers {
        let draft = ledger.draft_invoice(customer, PERIOD, &finance).await.unwrap();
        ids.push(draft.id.unwrap());
    }
    watch.report(&format!("{invoices} invoices drafted"), invoices);
    let watch = Watch::start();
    for id in &ids {
        ledger.approve_invoice(id, &finance).await.unwrap();
    }
    watch.report(&format!("{invoices} invoices approved"), invoices);
    let watch = Watch::start();
    let (mut lines, mut total) = (0, Decimal::ZERO);
    for id in &ids {
        let issued = ledger.finalize_invoice(id, &finance).await.unwrap();
        lines += issued.lines.len();
        total += issued.total;
    }
    watch.report(&format!("{invoices} invoices of {lines} lines, {total} USD, final"), invoices);
}

/// Names of models whose list price in USD holds in the month.
fn models(prices: &[Price]) -> Vec<String> {
    let book = PriceBook::new(prices.to_vec()).unwrap();
    let names = prices.iter().filter(|price| price.currency == Currency::USD);
    let mut names: Vec<String> =
        names.map(|price| price.model.clone()).filter(|name| !name.contains('*')).collect();
    names.dedup();
    names.retain(|name| {
        let rated = rate(
            &event(std::slice::from_ref(name), "customer-0", "key_0", 0),
            &book,
            Currency::USD,
        );
        rated.unwrap().cost.is_some()
    });
    assert!(names.len() > 9, "{names:?}");
    names
}

/// An instant of the month.
fn at(number: usize) -> DateTime<Utc> {
    let start = Utc.with_ymd_and_hms(2026, 10, 1, 0, 0, 0).unwrap();
    start + TimeDelta::seconds((number % 2_678_400) as i64)
}

/// A chat of 1,250 tokens, the third turn of a conversation.
fn event(models: &[String], customer: &str, key: &str, number: usize) -> UsageEvent {
    let at = at(number * 7_919);
    let tokens = TokenCounts::from([
        (TokenClass::INPUT_UNCACHED, 900),
        (TokenClass::CACHE_READ, 100),
        (TokenClass::OUTPUT_TEXT, 250),
    ]);
    let upstream: permille_types::UpstreamName = "openai".parse().unwrap();
    let model = &models[number % models.len()];
    UsageEvent {
        version: 1,
        request_id: RequestId::new(at),
        at,
        customer: customer.parse().unwrap(),
        project: "default".parse().unwrap(),
        key: key.parse().unwrap(),
        session: format!("conversation-{}", number / 10).parse().unwrap(),
        session_explicit: true,
        turn: (number % 10) as u32 + 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: model.parse().unwrap(),
        model_served: Some(model.parse().unwrap()),
        service_tier: None,
        region: None,
        upstream: Some(upstream.clone()),
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        input_total: Some(1_000),
        output_total: Some(250),
        estimate_error_permille: None,
        units: UnitCounts::new(),
        attempts: vec![Attempt {
            upstream,
            model: None,
            status: Some(200),
            provider_id: Some(format!("chatcmpl-{number:022}")),
            provider_request_id: Some(format!("req_{number:032}")),
            ended: Ended::Complete,
            tokens: tokens.clone(),
        }],
        tokens,
        latency_ms: 1_234,
        first_token_ms: Some(321),
        flags: Vec::new(),
    }
}

/// What a part of the work took.
struct Watch {
    started: Instant,
    processor: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { started: Instant::now(), processor: processor() }
    }

    fn report(&self, what: &str, of: usize) {
        let (wall, used) = (self.started.elapsed(), processor().saturating_sub(self.processor));
        let each = used / u32::try_from(of).unwrap();
        println!(
            "{what}: {used:.1?} of the processor ({each:.1?} each), {wall:.1?} by the clock, {} MiB",
            peak_mib()
        );
    }
}

/// What this process has taken of the processor.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// The most memory that this process has held.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}
