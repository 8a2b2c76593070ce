//! Made-up usage: a few customers with most of the conversations, which go on side by side for up
//! to twelve turns, each turn with what was said before from the provider's cache.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use permille_ledger::{Ledger, NewCustomer, NewKey, PriceOrigin};
use permille_rating::price_book::parse_price_book;
use permille_types::{
    Attempt, Batch, Currency, CustomerId, Ended, Endpoint, Family, KeyId, Sequenced, Source,
    TokenClass, TokenCounts, TurnKind, UnitCounts, UsageEvent,
};

/// Who is billed.
const CUSTOMERS: usize = 20;
/// Conversations that go on at once.
const OPEN: usize = 2_000;
/// Turns of a conversation, at most.
const TURNS_MAX: u32 = 12;
/// The day of the first event.
const FIRST: &str = "2026-11-02T00:00:00Z";
const MODELS: [&str; 4] = ["gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5", "qwen-plus-latest"];
const UPSTREAMS: [&str; 2] = ["openai-eu", "openai-us"];

/// What is sent, in order.
pub(crate) struct Traffic {
    random: Rng,
    customers: Vec<(CustomerId, KeyId)>,
    open: Vec<Conversation>,
    left: usize,
    sent: u64,
    at: DateTime<Utc>,
    step: TimeDelta,
}

#[derive(Clone)]
struct Conversation {
    customer: usize,
    model: usize,
    session: String,
    turn: u32,
    said: u64,
}

impl Traffic {
    /// So many events over so many days, of customers and prices that it adds to `ledger`.
    pub(crate) async fn new(ledger: &Ledger, events: usize, days: usize) -> Self {
        let mut random = Rng::with_seed(1);
        let prices = MODELS.map(|model| {
            format!(
                "[[price]]\nmodel = \"{model}\"\ncurrency = \"USD\"\nfrom = 2023-10-01T00:00:00Z\n\
                 source = \"made up\"\ninput = \"0.00015\"\ncache_read = \"0.000075\"\n\
                 output = \"0.0006\"\nreasoning = \"0.0006\"\n"
            )
        });
        let prices = parse_price_book(&prices.concat(), "made up").expect("prices");
        ledger.import_prices(&prices, PriceOrigin::Operator).await.expect("prices");
        let mut customers = Vec::new();
        for number in 0..CUSTOMERS {
            let new = NewCustomer {
                id: Some(format!("customer-{number:02}")),
                name: format!("Customer {number}"),
                currency: Currency::USD,
                time_zone: "UTC".parse().expect("a time zone"),
            };
            let customer = ledger.create_customer(new).await.expect("a customer").id;
            let new = NewKey {
                customer: customer.clone(),
                project: "default".parse().expect("a project"),
                name: None,
                rpm: None,
            };
            customers.push((customer, ledger.create_key(new).await.expect("a key").key.id));
        }
        let open = (0..OPEN).map(|_| Conversation::new(&mut random)).collect();
        let span = TimeDelta::days(i64::try_from(days).expect("days"));
        let step = span / i32::try_from(events.max(1)).expect("events");
        let at = FIRST.parse().expect("an instant");
        Self { random, customers, open, left: events, sent: 0, at, step }
    }

    /// The next `events`, or as many as are left.
    pub(crate) fn batch(&mut self, events: usize) -> Batch {
        let events = (0..events.min(self.left)).map(|_| self.event()).collect();
        Batch { node: "node-1".parse().expect("a node"), events }
    }

    fn event(&mut self) -> Sequenced {
        self.left -= 1;
        self.sent += 1;
        self.at += self.step;
        let place = self.random.usize(..OPEN);
        let conversation = &mut self.open[place];
        conversation.turn += 1;
        let event = conversation.event(self.at, &self.customers, &mut self.random);
        if conversation.turn >= TURNS_MAX || self.random.u8(..4) == 0 {
            self.open[place] = Conversation::new(&mut self.random);
        }
        let payload = Bytes::from(event.to_payload());
        Sequenced { sequence: self.sent, payload }
    }
}

impl Conversation {
    fn new(random: &mut Rng) -> Self {
        // Of two draws the smaller: the first customers have most.
        let customer = random.usize(..CUSTOMERS).min(random.usize(..CUSTOMERS));
        let model = random.usize(..MODELS.len());
        let session = format!("ses_{}", text(random, 22));
        Self { customer, model, session, turn: 0, said: random.u64(50..2_000) }
    }

    fn event(
        &mut self,
        at: DateTime<Utc>,
        customers: &[(CustomerId, KeyId)],
        random: &mut Rng,
    ) -> UsageEvent {
        let (customer, key) = &customers[self.customer];
        let (asked, answered) = (random.u64(10..400), random.u64(20..900));
        let mut tokens = TokenCounts::from([
            (TokenClass::INPUT_UNCACHED, asked),
            (TokenClass::OUTPUT_TEXT, answered),
        ]);
        if self.turn > 1 {
            tokens.insert(TokenClass::CACHE_READ, self.said);
        }
        let input = asked + if self.turn > 1 { self.said } else { 0 };
        self.said += asked + answered;
        let upstream = UPSTREAMS[random.usize(..2)].parse().ok();
        let attempt = Attempt {
            upstream: upstream.clone().expect("an upstream"),
            model: None,
            status: Some(200),
            provider_id: Some(format!("chatcmpl-{}", text(random, 29))),
            provider_request_id: Some(format!("req_{:032x}", random.u128(..))),
            ended: Ended::Complete,
            tokens: tokens.clone(),
        };
        let millis = u64::try_from(at.timestamp_millis()).expect("after 1970");
        let (high, low) = (random.u16(..) & 0xfff, random.u64(..));
        let id = format!(
            "{:08x}-{:04x}-7{high:03x}-{:04x}-{:012x}",
            millis >> 16,
            millis & 0xffff,
            ((low >> 48) & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff,
        );
        UsageEvent {
            version: permille_types::USAGE_EVENT_VERSION,
            request_id: id.parse().expect("an id"),
            at,
            customer: customer.clone(),
            project: "default".parse().expect("a project"),
            key: key.clone(),
            session: self.session.parse().expect("a session"),
            session_explicit: false,
            turn: self.turn,
            turn_kind: Some(if self.turn == 1 { TurnKind::New } else { TurnKind::Continue }),
            resent_tokens: (self.turn > 1).then(|| input - asked),
            family: Family::OpenAi,
            endpoint: Endpoint::ChatCompletions,
            model_requested: MODELS[self.model].parse().expect("a model"),
            model_served: Some(MODELS[self.model].parse().expect("a model")),
            service_tier: Some("default".to_owned()),
            region: None,
            upstream,
            status: Some(200),
            streamed: true,
            ended: Ended::Complete,
            source: Source::Reported,
            input_total: Some(input),
            output_total: Some(answered),
            estimate_error_permille: None,
            units: UnitCounts::new(),
            attempts: vec![attempt],
            tokens,
            latency_ms: random.u64(400..20_000),
            first_token_ms: Some(random.u64(100..2_000)),
            flags: Vec::new(),
        }
    }
}

/// Letters and digits, as ids have them.
fn text(random: &mut Rng, characters: usize) -> String {
    (0..characters).map(|_| random.alphanumeric()).collect()
}
