//! Made-up customers whose sessions go through the code that counts them: the same that `permille
//! serve` exports, on one registry.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use fastrand::Rng;
use http::StatusCode;
use permille_ledger::{
    Accepted, Billed, BilledCost, BilledRequest, BilledTokens, EndedSession, InferredOutcome,
};
use permille_rating::{
    Meter,
    facts::{Amounts, Counts},
    price_book::{PriceBook, default_prices},
    rate::rate,
};
use permille_types::{
    Ack, Attempt, Currency, CustomerId, Ended, Endpoint, Family, Source, TokenClass, TurnKind,
    UsageEvent,
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use rust_decimal::Decimal;
use rustix::time::{ClockId, clock_gettime};

/// Upstreams that an installation has configured.
const UPSTREAMS: usize = 20;
/// Cost centres of a customer, at most.
const PROJECTS: usize = 4;
/// Turns of a session, at most.
const TURNS_MAX: u32 = 60;
/// Requests that billing takes in with one batch.
const BATCH: usize = 500;

/// What one scrape gives.
pub(crate) struct Scrape {
    pub(crate) series: usize,
    pub(crate) bytes: usize,
    /// Time of the processor: other work on the machine changes it little.
    pub(crate) took: Duration,
    pub(crate) text: String,
}

/// A rated request without its customer.
type Template = (UsageEvent, BilledRequest);

/// What is asked for and how it ends: the same is rated once.
type Shape = (usize, u32, Ended, bool);

/// A day so far.
pub(crate) struct Day {
    random: Rng,
    registry: Registry,
    gateway: permille_proxy::Metrics,
    billing: permille_service::Metrics,
    book: PriceBook,
    /// Model and currency.
    models: Vec<(String, Currency)>,
    customers: usize,
    templates: HashMap<Shape, Template>,
    waiting: Vec<(CustomerId, String, BilledRequest)>,
    requests: u64,
}

impl Day {
    pub(crate) fn new(customers: usize) -> Self {
        let prices = default_prices().unwrap();
        let named = |model: &str| !model.contains(['*', '?', '[', '{']);
        let models = prices.iter().filter(|price| named(&price.model));
        let mut models: Vec<_> =
            models.map(|price| (price.model.clone(), price.currency)).collect();
        models.sort_by(|a, b| (&a.0, a.1.code()).cmp(&(&b.0, b.1.code())));
        models.dedup();
        let registry = Registry::new();
        Self {
            random: Rng::with_seed(7),
            gateway: permille_proxy::Metrics::register(&registry).unwrap(),
            billing: permille_service::Metrics::register(&registry).unwrap(),
            registry,
            book: PriceBook::new(prices).unwrap(),
            models,
            customers,
            templates: HashMap::new(),
            waiting: Vec::new(),
            requests: 0,
        }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// A session from its first request to its end. Few customers have most sessions, few models
    /// most requests, and long sessions are few.
    pub(crate) fn session(&mut self) {
        let few = |random: &mut Rng, all: usize| {
            let place = random.f64() * random.f64() * random.f64();
            // Below 2^52 and not negative: exact enough for a place in a list.
            #[allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a place")]
            #[allow(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
            let place = (place * all as f64) as usize;
            place.min(all.saturating_sub(1))
        };
        let customer = few(&mut self.random, self.customers);
        let project = format!("project-{}", self.random.usize(..PROJECTS));
        let model = few(&mut self.random, self.models.len());
        let customer: CustomerId = format!("customer-{customer}").parse().unwrap();
        let (mut turn, mut counts, mut cost) = (1, Counts::default(), Decimal::ZERO);
        let mut text_cost = None;
        let currency = loop {
            let ended = match self.random.u8(..100) {
                0 => Ended::ClientGone,
                1 => Ended::UpstreamError,
                _ => Ended::Complete,
            };
            let regenerated = self.random.u8(..20) == 0;
            let shape = (model, turn, ended, regenerated);
            if !self.templates.contains_key(&shape) {
                let template = self.template(shape);
                self.templates.insert(shape, template);
            }
            let (event, billed) = self.templates.get(&shape).unwrap();
            self.gateway.answered(event.family, StatusCode::OK);
            self.gateway.called(event);
            self.gateway.settled(event);
            counts.add(&billed.counts);
            cost += billed.cost;
            if ended == Ended::Complete {
                text_cost = Some(billed.cost - billed.amounts.resent_cost);
            }
            let currency = billed.currency;
            let request = BilledRequest { customer: customer.clone(), ..billed.clone() };
            self.waiting.push((customer.clone(), project.clone(), request));
            self.requests += 1;
            if turn >= TURNS_MAX || self.random.u8(..5) == 0 {
                break currency;
            }
            turn += u32::from(!regenerated);
        };
        if self.waiting.len() >= BATCH {
            self.take_in();
        }
        self.billing.ended(&EndedSession {
            customer,
            id: "s".parse().unwrap(),
            currency,
            turns: turn,
            cost,
            unmetered: false,
            counts,
            outcome: None,
            inferred_outcome: InferredOutcome::Ended,
            text_cost,
        });
    }

    /// One scrape, as Prometheus gets it.
    pub(crate) fn scrape(&mut self) -> Scrape {
        self.take_in();
        let started = processor_time();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        let took = processor_time().saturating_sub(started);
        let text = String::from_utf8(text).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        Scrape { series, bytes: text.len(), took, text }
    }

    /// What billing counts of the requests that wait.
    fn take_in(&mut self) {
        let (mut costs, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        let mut requests = Vec::new();
        for (customer, project, request) in self.waiting.drain(..) {
            *costs.entry((customer.clone(), request.currency.code())).or_insert(Decimal::ZERO) +=
                request.cost;
            for line in &request.lines {
                let Meter::Tokens(class) = &line.meter else { continue };
                let key = (customer.clone(), project.clone(), request.model.clone(), class.clone());
                *tokens.entry(key).or_insert(0) += line.quantity;
            }
            requests.push(request);
        }
        let costs = costs.into_iter().map(|((customer, currency), cost)| BilledCost {
            customer,
            currency: if currency == "CNY" { Currency::CNY } else { Currency::USD },
            cost,
        });
        let tokens = tokens.into_iter().map(|((customer, project, model, class), tokens)| {
            BilledTokens { customer, project: project.parse().unwrap(), model, class, tokens }
        });
        let booked = u64::try_from(requests.len()).unwrap();
        let billed = Billed { costs: costs.collect(), tokens: tokens.collect(), requests };
        self.billing.accepted(&Accepted {
            ack: Ack { sequence: 0, quarantined: 0 },
            booked,
            duplicates: 0,
            conflicts: 0,
            quarantined: 0,
            unpriced: 0,
            mismatched: 0,
            billed,
        });
    }

    fn template(&self, (model, turn, ended, regenerated): Shape) -> Template {
        let (model, currency) = self.models.get(model).unwrap();
        let kind = match (turn, regenerated) {
            (_, true) => TurnKind::Regenerate,
            (1, _) => TurnKind::New,
            (turn, _) if turn % 3 == 0 => TurnKind::ToolLoop,
            _ => TurnKind::Continue,
        };
        // Each turn sends the 500 tokens of instructions and 400 of every turn before again.
        let resent = u64::from(turn - 1) * 400 + if turn == 1 { 0 } else { 500 };
        let cached = resent / 2;
        let input = 600 + u64::from(turn - 1) * 400;
        let family =
            [Family::OpenAi, Family::Anthropic, Family::Gemini, Family::Dashscope, Family::Ollama];
        let number = model.bytes().map(usize::from).sum::<usize>();
        let upstream = format!("upstream-{}", number % UPSTREAMS).parse().unwrap();
        let mut event = UsageEvent {
            version: permille_types::USAGE_EVENT_VERSION,
            request_id: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
            // After every price of the book began.
            at: "2027-06-01T12:00:00Z".parse().unwrap(),
            customer: "template".parse().unwrap(),
            project: "default".parse().unwrap(),
            key: "key_template".parse().unwrap(),
            session: "s".parse().unwrap(),
            session_explicit: false,
            turn,
            turn_kind: Some(kind),
            resent_tokens: Some(resent),
            family: *family.get(number % family.len()).unwrap(),
            endpoint: Endpoint::ChatCompletions,
            model_requested: model.parse().unwrap(),
            model_served: None,
            service_tier: None,
            region: None,
            upstream: Some(upstream),
            status: Some(200),
            streamed: true,
            ended,
            source: if ended == Ended::Complete { Source::Reported } else { Source::Partial },
            input_total: Some(input),
            output_total: Some(300),
            estimate_error_permille: None,
            units: permille_types::UnitCounts::new(),
            attempts: Vec::new(),
            tokens: [
                (TokenClass::INPUT_UNCACHED, input - cached),
                (TokenClass::CACHE_READ, cached),
                (TokenClass::OUTPUT_TEXT, 250),
                (TokenClass::REASONING, 50),
            ]
            .into(),
            latency_ms: 2_000,
            first_token_ms: Some(400),
            flags: Vec::new(),
        };
        let mut rated = rate(&event, &self.book, *currency).unwrap();
        for class in rated.unpriced.drain(..) {
            if let Meter::Tokens(class) = class {
                event.tokens.remove(&class);
            }
        }
        let rated = rate(&event, &self.book, *currency).unwrap();
        event.attempts = vec![Attempt {
            upstream: event.upstream.clone().unwrap(),
            model: None,
            status: Some(200),
            provider_id: None,
            provider_request_id: None,
            ended,
            tokens: event.tokens.clone(),
        }];
        let cost = rated.cost.map_or(Decimal::ZERO, |cost| cost.amount());
        let billed = BilledRequest {
            customer: event.customer.clone(),
            model: event.model_requested.clone(),
            turn,
            ended,
            currency: *currency,
            cost,
            counts: Counts::of(&event),
            amounts: if cost.is_zero() { Amounts::default() } else { rated.hidden },
            lines: rated.lines,
            provider_cost: Some(cost / Decimal::TWO),
        };
        (event, billed)
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
