//! Books in process whose clock stands at noon: one customer with one key, and its requests.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use permille_ledger::{
    CreatedKey, Ledger, LedgerConfig, NewCustomer, NewKey, Pepper, PriceOrigin, StoreAddress,
};
use permille_rating::price_book::parse_price_book;
use permille_types::{
    Clock, Currency, Ended, Endpoint, Family, RequestId, Source, TokenClass, TokenCounts,
    USAGE_EVENT_VERSION, UnitCounts, UsageEvent,
};
use tempfile::TempDir;

const PRICES: &str = r#"
[[price]]
model = "gpt-test"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0025"
output = "0.01"
"#;

/// Stands still: recovery writes it into what it settles.
#[derive(Debug)]
pub(crate) struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_521_600, 0).unwrap()
    }
}

/// The ledger of a folder.
pub(crate) async fn open(folder: &TempDir) -> Ledger {
    let config = LedgerConfig {
        store: StoreAddress::Sqlite(folder.path().join("permille.db")),
        pepper: Pepper::new([7; 32]),
        clock: Arc::new(Noon),
    };
    Ledger::open(config).await.unwrap()
}

/// A new one with prices and a customer who has a key.
pub(crate) async fn books(folder: &TempDir) -> (Ledger, CreatedKey) {
    let ledger = open(folder).await;
    let prices = parse_price_book(PRICES, "a test").unwrap();
    ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap();
    let customer = NewCustomer {
        id: Some("acme".to_owned()),
        name: "Acme".to_owned(),
        currency: Currency::USD,
        time_zone: "UTC".parse().unwrap(),
    };
    ledger.create_customer(customer).await.unwrap();
    let (customer, project) = ("acme".parse().unwrap(), "default".parse().unwrap());
    let key = NewKey { customer, project, name: None, rpm: None };
    let key = ledger.create_key(key).await.unwrap();
    (ledger, key)
}

/// A request of a key at that time, with so many tokens in and out.
pub(crate) fn request(
    CreatedKey { key, .. }: &CreatedKey,
    at: DateTime<Utc>,
    (input, output): (u64, u64),
) -> UsageEvent {
    UsageEvent {
        version: USAGE_EVENT_VERSION,
        request_id: RequestId::new(at),
        at,
        customer: key.customer.clone(),
        project: key.project.clone(),
        key: key.id.clone(),
        session: "s".parse().unwrap(),
        session_explicit: true,
        turn: 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: "gpt-test".parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: None,
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        tokens: TokenCounts::from([
            (TokenClass::INPUT_UNCACHED, input),
            (TokenClass::OUTPUT_TEXT, output),
        ]),
        input_total: Some(input),
        output_total: Some(output),
        estimate_error_permille: None,
        units: UnitCounts::new(),
        attempts: Vec::new(),
        latency_ms: 7,
        first_token_ms: None,
        flags: Vec::new(),
    }
}
