//! A ledger on a real file or in a real database, with a clock that a test sets and events that it
//! makes up.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use permille_ledger::{
    Accepted, Actor, CreatedKey, Instruction, Invoice, Key, Ledger, LedgerConfig, NewCustomer,
    NewKey, Pepper, PriceOrigin, Role, StoreAddress,
};
use permille_rating::price_book::parse_price_book;
use permille_types::{
    Attempt, Batch, Clock, Currency, Ended, Endpoint, Family, KeyId, RequestId, Sequenced, Source,
    TokenClass, TokenCounts, UsageEvent,
};
use tempfile::TempDir;

use crate::database::Database;

pub(crate) const PRICES: &str = r#"
[[price]]
model = "ERNIE-Bot"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "official list of 2024-01-19"
input = "0.012"
output = "0.012"

[[price]]
model = "gpt-test"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.0025"
cache_read = "0.00125"
output = "0.01"
"#;

pub(crate) struct SetClock(Mutex<DateTime<Utc>>);

impl SetClock {
    pub(crate) fn set(&self, text: &str) {
        *self.0.lock().unwrap() = at(text);
    }
}

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) database: Database,
    pub(crate) key: CreatedKey,
    pub(crate) folder: TempDir,
}

impl Books {
    /// A ledger with [`PRICES`] and a customer `acme` in CNY and UTC with one key.
    pub(crate) async fn open() -> Self {
        Self::with("acme", Currency::CNY, "UTC").await
    }

    pub(crate) async fn with(customer: &str, currency: Currency, time_zone: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&folder).await;
        let clock = Arc::new(SetClock(Mutex::new(at("2026-11-20T10:00:00Z"))));
        let ledger = open(&database.address, &clock).await;
        import(&ledger, PRICES).await;
        add_customer(&ledger, customer, currency, time_zone).await;
        let key = add_key(&ledger, customer).await;
        Self { ledger, clock, database, key, folder }
    }

    /// Another ledger on the same store, beside the first one or after it.
    pub(crate) async fn reopened(&self) -> Ledger {
        open(&self.database.address, &self.clock).await
    }

    /// What opens a ledger on any store with this clock.
    pub(crate) fn config(&self, store: &StoreAddress) -> LedgerConfig {
        config(store, &self.clock)
    }

    /// An event of this customer: 1,000 tokens in, 500 out, at the default model.
    pub(crate) fn event(&self, number: u32) -> UsageEvent {
        let key = &self.key.key;
        event(number, &key.customer.to_string(), key.id.as_str())
    }

    pub(crate) async fn accept(&self, events: &[UsageEvent]) -> Accepted {
        self.ledger.accept(&batch("n1", 1, events)).await.unwrap()
    }

    /// Whoever has a new token of `role`, without an idempotency key.
    pub(crate) async fn as_role(&self, role: Role) -> Instruction {
        self.as_role_of(&self.ledger, role).await
    }

    /// The same of another ledger.
    pub(crate) async fn as_role_of(&self, ledger: &Ledger, role: Role) -> Instruction {
        let created = ledger.create_token(role, None).await.unwrap();
        Instruction::new(Actor::of(&created.token), None).unwrap()
    }

    /// Revokes a key in the name of a new token of role admin.
    pub(crate) async fn revoke(&self, key: &KeyId) -> Key {
        let admin = self.as_role(Role::Admin).await;
        self.ledger.revoke_key(key, &admin).await.unwrap()
    }

    /// Drafts a month of this customer.
    pub(crate) async fn draft(&self, period: &str) -> Invoice {
        let finance = self.as_role(Role::Finance).await;
        self.ledger.draft_invoice(&self.key.key.customer, period, &finance).await.unwrap()
    }

    /// Issues the invoice of a month; the clock must be past its end.
    pub(crate) async fn issue(&self, period: &str) -> Invoice {
        let draft = self.draft(period).await;
        let (id, finance) = (draft.id.unwrap(), self.as_role(Role::Finance).await);
        self.ledger.approve_invoice(&id, &finance).await.unwrap();
        self.ledger.finalize_invoice(&id, &finance).await.unwrap()
    }

    /// The single value of a query against the store itself.
    pub(crate) async fn value(&self, sql: &'static str) -> i64 {
        self.database.value(sql).await
    }

    /// Runs a statement against the store itself, as a damaged or foreign program would.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        self.database.tamper(sql).await;
    }

    /// The lines of a query against the store itself.
    pub(crate) async fn lines(&self, sql: &'static str) -> Vec<String> {
        self.database.lines(sql).await
    }

    /// Everything in the store that money depends on, in an order of its own.
    pub(crate) async fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for sql in [
            "select json_array('usage', hex(request_id), at, tokens, cost, price_version, band,
                 attempts) from usage join usage_kind on usage_kind.id = usage.kind order by 1",
            "select json_array('usage', hex(request_id), at, hex(payload_sha256)) from usage_key
                 order by 1",
            "select json_array('hour', customer, hour, project, model, meter, price_version, band,
                 simulated, quantity, estimated) from usage_hour order by 1",
            "select json_array('requests', customer, hour, project, requests, unpriced, estimated,
                 simulated) from request_hour order by 1",
            "select json_array('session', customer, id, turns, requests, unpriced, tokens, cost,
                 counts, amounts, first_at, last_at) from session order by 1",
            "select json_array('drawdown', account, currency, exact, posted_nano) from drawdown
                 order by 1",
            "select json_array('invoice', customer, period, state, number, total, document)
                 from invoice order by 1",
            "select json_array('billed', line, customer, period, project, model, meter,
                 price_version, band, quantity) from invoiced_usage order by 1",
            "select json_array('credit', number, invoice_number, customer, gross, document)
                 from credit_note order by 1",
            "select json_array('close', period, state, round) from period_close order by 1",
            "select json_array('signed', period, round, role, token, accepted)
                 from period_signature order by 1",
            "select json_array('series', series, last) from document_series order by 1",
            "select json_array('audit', noun, subject, ordinal, at, action, from_state, to_state,
                 token, detail) from audit order by 1",
            "select json_array('account', account, sum(amount_nano)) from posting_entry
                 group by account order by 1",
        ] {
            lines.extend(self.lines(sql).await);
        }
        lines
    }
}

async fn open(store: &StoreAddress, clock: &Arc<SetClock>) -> Ledger {
    Ledger::open(config(store, clock)).await.unwrap()
}

fn config(store: &StoreAddress, clock: &Arc<SetClock>) -> LedgerConfig {
    LedgerConfig {
        store: store.clone(),
        pepper: Pepper::new([7; 32]),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    }
}

pub(crate) async fn import(ledger: &Ledger, toml: &str) -> permille_ledger::PriceImport {
    let prices = parse_price_book(toml, "a test").unwrap();
    ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap()
}

pub(crate) async fn add_customer(ledger: &Ledger, id: &str, currency: Currency, time_zone: &str) {
    let new = NewCustomer {
        id: Some(id.to_owned()),
        name: id.to_uppercase(),
        currency,
        time_zone: time_zone.parse().unwrap(),
    };
    ledger.create_customer(new).await.unwrap();
}

pub(crate) async fn add_key(ledger: &Ledger, customer: &str) -> CreatedKey {
    let new = NewKey {
        customer: customer.parse().unwrap(),
        project: "default".parse().unwrap(),
        name: None,
        rpm: None,
    };
    ledger.create_key(new).await.unwrap()
}

/// Event `number` of a customer, in a session of its own kind: the same number is the same event.
pub(crate) fn event(number: u32, customer: &str, key: &str) -> UsageEvent {
    let tokens =
        TokenCounts::from([(TokenClass::INPUT_UNCACHED, 1_000), (TokenClass::OUTPUT_TEXT, 500)]);
    UsageEvent {
        version: 1,
        request_id: request_id(number),
        at: at("2026-11-20T09:30:00Z"),
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
        upstream: Some("main".parse().unwrap()),
        status: Some(200),
        streamed: true,
        ended: Ended::Complete,
        source: Source::Reported,
        input_total: Some(1_000),
        output_total: Some(500),
        estimate_error_permille: None,
        units: permille_types::UnitCounts::new(),
        attempts: vec![Attempt {
            upstream: "main".parse().unwrap(),
            model: None,
            status: Some(200),
            provider_id: Some("chatcmpl-AbCdEfGhIjKlMnOpQrStUv".to_owned()),
            provider_request_id: Some("req_0123456789abcdef0123456789abcdef".to_owned()),
            ended: Ended::Complete,
            tokens: tokens.clone(),
        }],
        tokens,
        latency_ms: 1_234,
        first_token_ms: Some(321),
        flags: Vec::new(),
    }
}

pub(crate) fn request_id(number: u32) -> RequestId {
    format!("019a0000-0000-7000-8000-{number:012x}").parse().unwrap()
}

pub(crate) fn batch(node: &str, first: u64, events: &[UsageEvent]) -> Batch {
    let payloads: Vec<Vec<u8>> = events.iter().map(UsageEvent::to_payload).collect();
    raw_batch(node, first, &payloads)
}

pub(crate) fn raw_batch(node: &str, first: u64, payloads: &[Vec<u8>]) -> Batch {
    let events = payloads.iter().zip(first..).map(|(payload, sequence)| Sequenced {
        sequence,
        payload: Bytes::copy_from_slice(payload),
    });
    Batch { node: node.parse().unwrap(), events: events.collect() }
}
