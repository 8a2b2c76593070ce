//! A ledger behind the back of the program, with usage of a month that has ended.

use std::sync::Arc;

use bytes::Bytes;
use permille_ledger::{Ledger, LedgerConfig, NewCustomer, NewKey, Pepper, StoreAddress};
use permille_types::{
    Batch, Currency, CustomerId, Ended, Endpoint, Family, KeyId, RequestId, Sequenced, Source,
    SystemClock, TokenClass, UsageEvent,
};

use super::Folder;

/// The ledger in the file of a data folder.
pub async fn open(folder: &Folder) -> Ledger {
    open_at(folder, folder.data().join("permille.db").into()).await
}

/// The ledger in a store, under the pepper of a data folder.
pub async fn open_at(folder: &Folder, store: StoreAddress) -> Ledger {
    let pepper = Pepper::load_or_create(&folder.data().join("pepper")).unwrap();
    Ledger::open(LedgerConfig { store, pepper, clock: Arc::new(SystemClock) }).await.unwrap()
}

/// A request of October: thousands of tokens of ERNIE-Bot, 0.012 CNY each.
pub fn october(number: usize, customer: &str, key: &str) -> UsageEvent {
    let tokens = 1_000 * u64::try_from(number).unwrap();
    UsageEvent {
        version: 1,
        request_id: RequestId::new("2026-10-10T10:00:00Z".parse().unwrap()),
        at: "2026-10-10T10:00:00Z".parse().unwrap(),
        customer: customer.parse().unwrap(),
        project: "default".parse().unwrap(),
        key: key.parse().unwrap(),
        session: "chat-1".parse().unwrap(),
        session_explicit: true,
        turn: 1,
        turn_kind: None,
        resent_tokens: None,
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        model_requested: "ERNIE-Bot".parse().unwrap(),
        model_served: None,
        service_tier: None,
        region: None,
        upstream: None,
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        tokens: [(TokenClass::INPUT_UNCACHED, tokens)].into(),
        input_total: Some(tokens),
        output_total: None,
        estimate_error_permille: None,
        units: permille_types::UnitCounts::new(),
        attempts: Vec::new(),
        latency_ms: 1,
        first_token_ms: None,
        flags: Vec::new(),
    }
}

/// Customers `c1`, `c2` and on who have each used that many thousand tokens in October.
pub async fn customers(ledger: &Ledger, count: usize) {
    let mut events = Vec::new();
    for number in 1..=count {
        let (customer, key) = customer(ledger, number).await;
        events.push(october(number, customer.as_str(), key.as_str()));
    }
    accept(ledger, &events).await;
}

/// Customer `c1`, `c2` or another one, and the id of a key of it.
pub async fn customer(ledger: &Ledger, number: usize) -> (CustomerId, KeyId) {
    let new = NewCustomer {
        id: Some(format!("c{number}")),
        name: format!("Customer {number}"),
        currency: Currency::CNY,
        time_zone: chrono_tz::UTC,
    };
    let customer = ledger.create_customer(new).await.unwrap().id;
    let project = "default".parse().unwrap();
    let new = NewKey { customer: customer.clone(), project, name: None, rpm: None };
    (customer, ledger.create_key(new).await.unwrap().key.id)
}

/// Books usage, all of which has a price.
pub async fn accept(ledger: &Ledger, used: &[UsageEvent]) {
    let event = |(sequence, event): (u64, &UsageEvent)| Sequenced {
        sequence,
        payload: Bytes::from(event.to_payload()),
    };
    let events: Vec<Sequenced> = (1..).zip(used).map(event).collect();
    let accepted = ledger.accept(&Batch { node: "n1".parse().unwrap(), events }).await.unwrap();
    assert_eq!((accepted.booked, accepted.unpriced), (u64::try_from(used.len()).unwrap(), 0));
}
