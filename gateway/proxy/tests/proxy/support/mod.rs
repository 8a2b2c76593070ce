//! A gateway in front of the simulated provider, all real but billing: sockets, journal, books.
//! Billing is a list in memory, because here it is looked at and not tested.
#![allow(unreachable_pub, reason = "the modules beside it are of the same program")]
#![allow(missing_docs, reason = "read by the tests beside it only")]

pub mod case;
pub mod collector;
pub mod convention;
pub mod recorded;
pub mod scripted;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use permille_journal::{Journal, JournalConfig, RealFs, SyncMode};
use permille_proxy::{
    Foundation, Gateway,
    config::{
        GatewayConfig, GatewaySection, LimitsConfig, MeteringSection, PricingSection,
        RoutingSection, UpstreamConfig, UpstreamSection,
    },
};
use permille_simulator::{BookEntry, SimulatorConfig, read_books};
use permille_types::{
    Ack, Batch, ControlError, ControlPlane, Currency, CustomerId, Endpoint, Family, Intake,
    KeyHash, KeyPolicy, Level, Limit, NodeSequence, SessionId, Snapshot, SpendQuery, Spent,
    StoredResponse, SystemClock, UsageEvent,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The one key that is known, and one that was revoked.
pub const KEY: &str = "sk-pm_testkey";
pub const REVOKED_KEY: &str = "sk-pm_revokedkey";
/// A key that may make one request a minute.
pub const LIMITED_KEY: &str = "sk-pm_limitedkey";
/// A key of another customer.
pub const OTHER_KEY: &str = "sk-pm_otherkey";
/// Of the first key's customer and project, with what the first may use.
pub const SIBLING_KEY: &str = "sk-pm_siblingkey";
/// The same in another project.
pub const COUSIN_KEY: &str = "sk-pm_cousinkey";
/// The one gateway.
const NODE: &str = "node-1";
/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Billing as a list.
#[derive(Default)]
pub struct Billing {
    rows: Mutex<Vec<UsageEvent>>,
    last_turns: Mutex<Vec<(SessionId, u32)>>,
    /// What the first key and its relatives may use.
    limits: Mutex<Vec<Limit>>,
    /// The last event that was accepted.
    accepted: Mutex<u64>,
    /// What whoever has a snapshot is told at once; nothing ever, where there is none.
    newer: Mutex<Option<Snapshot>>,
    /// How often it was asked for a snapshot.
    pub asked: std::sync::atomic::AtomicU32,
    /// Whether it does not tell the last turn of a session.
    pub silent: std::sync::atomic::AtomicBool,
}

impl Intake for Billing {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        let mut rows = self.rows.lock();
        let mut sequence = 0;
        for event in batch.events {
            sequence = event.sequence;
            rows.push(UsageEvent::from_payload(&event.payload).unwrap());
        }
        *self.accepted.lock() = sequence;
        Box::pin(std::future::ready(Ok(Ack { sequence, quarantined: 0 })))
    }
}

impl ControlPlane for Billing {
    fn snapshot(
        &self,
        known: Option<u64>,
    ) -> BoxFuture<'_, Result<Option<Snapshot>, ControlError>> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            if known.is_none() {
                return Ok(Some(snapshot(&self.limits.lock())));
            }
            tokio::task::yield_now().await;
            let newer = self.newer.lock().clone();
            match newer {
                Some(newer) => Ok(Some(newer)),
                None => std::future::pending().await,
            }
        })
    }

    fn last_turn<'a>(
        &'a self,
        _: &'a CustomerId,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<u32, ControlError>> {
        if self.silent.load(std::sync::atomic::Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let known = self.last_turns.lock().iter().find(|(id, _)| id == session).map_or(0, |t| t.1);
        Box::pin(std::future::ready(Ok(known)))
    }

    fn stored_response<'a>(
        &'a self,
        customer: &'a CustomerId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredResponse>, ControlError>> {
        let rows = self.rows.lock();
        let creates = |row: &&UsageEvent| {
            let attempt = row.attempts.last();
            row.endpoint == Endpoint::Responses
                && row.customer == *customer
                && attempt.is_some_and(|attempt| attempt.provider_id.as_deref() == Some(id))
        };
        let found = rows.iter().rfind(creates).map(|created| StoredResponse {
            created: created.clone(),
            settled: rows.iter().any(|row| row.request_id == created.request_id.settlement()),
        });
        Box::pin(std::future::ready(Ok(found)))
    }

    fn spent<'a>(&'a self, query: &'a SpendQuery) -> BoxFuture<'a, Result<Spent, ControlError>> {
        let rows = self.rows.lock();
        let nano = query.accounts.iter().map(|account| {
            let of = rows.iter().filter(|row| match account.level {
                Level::Customer => row.customer.as_str() == account.id,
                Level::Project => row.project.as_str() == account.id,
                Level::Key => row.key.as_str() == account.id,
                Level::Session => row.session.as_str() == account.id,
            });
            of.map(cost_nano).sum()
        });
        let at = NodeSequence { node: NODE.parse().unwrap(), sequence: *self.accepted.lock() };
        let spent = Spent::new(nano.collect(), vec![at]);
        Box::pin(std::future::ready(Ok(spent)))
    }
}

/// What a row costs, in 10⁻⁹ of a dollar.
pub fn cost_nano(row: &UsageEvent) -> i64 {
    let prices = permille_rating::price_book::default_prices().unwrap();
    let book = permille_rating::price_book::PriceBook::new(prices).unwrap();
    let rated = permille_rating::rate::rate(row, &book, Currency::USD).unwrap();
    permille_rating::round::to_nano(rated.cost.unwrap().amount()).unwrap()
}

fn snapshot(limits: &[Limit]) -> Snapshot {
    let pepper = [7_u8; 32];
    let key = |secret: &str, customer: &str, revoked| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&pepper).unwrap();
        mac.update(secret.as_bytes());
        KeyPolicy {
            hash: KeyHash::new(mac.finalize().into_bytes().into()),
            key: secret.replace("sk-pm_", "key_").parse().unwrap(),
            customer: customer.parse().unwrap(),
            project: if secret == COUSIN_KEY { "other" } else { "default" }.parse().unwrap(),
            currency: Currency::USD,
            rpm: (secret == LIMITED_KEY).then_some(1),
            limits: if [KEY, SIBLING_KEY, COUSIN_KEY].contains(&secret) {
                limits.to_vec()
            } else {
                Vec::new()
            },
            prepaid: None,
            time_zone: None,
            revoked,
        }
    };
    Snapshot {
        version: 1,
        pepper: hex::encode(pepper).into(),
        keys: vec![
            key(KEY, "acme", false),
            key(REVOKED_KEY, "acme", true),
            key(OTHER_KEY, "other", false),
            key(LIMITED_KEY, "acme", false),
            key(SIBLING_KEY, "acme", false),
            key(COUSIN_KEY, "acme", false),
        ],
        prices: permille_rating::price_book::default_prices().unwrap(),
    }
}

/// What a test may change before the start.
pub struct Setup {
    pub config: GatewayConfig,
    pub simulator: SimulatorConfig,
    pub fs: Arc<dyn permille_journal::JournalFs>,
    pub sync: SyncMode,
    /// Sessions that billing already has.
    pub last_turns: Vec<(&'static str, u32)>,
    /// Rows that billing already has.
    pub rows: Vec<UsageEvent>,
    /// What the first key and its relatives may use.
    pub limits: Vec<Limit>,
    /// What billing tells at once to a gateway that has its first snapshot.
    pub newer: Option<Snapshot>,
}

/// A gateway in front of a provider.
pub struct World {
    pub gateway: SocketAddr,
    pub provider: SocketAddr,
    pub billing: Arc<Billing>,
    pub journal: Journal,
    pub journal_folder: PathBuf,
    pub registry: prometheus::Registry,
    books: PathBuf,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    pub folder: TempDir,
}

pub fn upstream(name: &str, family: Family, base_url: String) -> UpstreamConfig {
    UpstreamConfig {
        section: UpstreamSection {
            name: name.parse().unwrap(),
            family,
            base_url,
            api_key_env: None,
            api_key_file: None,
            credential_in: None,
            provider: None,
            priority: 0,
            weight: 1,
            service_tier: None,
            region: None,
            ca_file: None,
            models: vec!["*".to_owned()],
            paths: Vec::new(),
            api: None,
            http2: false,
            connect_seconds_max: 5,
            idle_seconds_max: 60,
        },
        credential: "provider-secret".into(),
        simulated: true,
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let folder = TempDir::new().unwrap();
        let books = folder.path().join("books.jsonl");
        let simulator =
            SimulatorConfig { books: Some(books.clone()), ..SimulatorConfig::default() };
        let config = GatewayConfig {
            gateway: GatewaySection::default(),
            upstreams: Vec::new(),
            aliases: Vec::new(),
            routing: RoutingSection::default(),
            pricing: PricingSection::default(),
            metering: MeteringSection::default(),
            policies: Vec::new(),
            limits: LimitsConfig::default(),
            hold_max: Duration::from_secs(20),
            conversation_idle_max: Duration::from_hours(24),
            sharing: None,
            otlp: None,
        };
        let fs = Arc::new(RealFs);
        let sync = SyncMode::default();
        let (last_turns, rows, limits, newer) = (vec![], vec![], vec![], None);
        let mut setup = Setup { config, simulator, fs, sync, last_turns, rows, limits, newer };
        change(&mut setup);

        let stop = CancellationToken::new();
        let provider = permille_simulator::Simulator::bind(setup.simulator).unwrap();
        let address = provider.address();
        // It outlives the gateway, which is to end what is open itself.
        tokio::spawn(provider.run(std::future::pending()));
        if setup.config.upstreams.is_empty() {
            setup.config.upstreams = vec![
                upstream("openai-sim", Family::OpenAi, format!("http://{address}/v1")),
                upstream("anthropic-sim", Family::Anthropic, format!("http://{address}")),
            ];
        }
        let billing = Arc::new(Billing::default());
        billing.rows.lock().extend(setup.rows);
        billing.limits.lock().extend(setup.limits);
        *billing.newer.lock() = setup.newer;
        *billing.last_turns.lock() =
            setup.last_turns.iter().map(|(id, turn)| (id.parse().unwrap(), *turn)).collect();
        let journal_folder = folder.path().join("journal");
        let mut journal = JournalConfig::new(&journal_folder, NODE.parse().unwrap());
        journal.sync = setup.sync;
        let journal = Journal::open(setup.fs, &journal, Arc::new(SystemClock)).unwrap().journal;
        let registry = prometheus::Registry::new();
        let gateway = Gateway::new(
            setup.config,
            Foundation {
                journal: journal.clone(),
                control: billing.clone(),
                clock: Arc::new(SystemClock),
                registry: &registry,
                folder: folder.path(),
            },
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let readiness = gateway.readiness();
        let serving = tokio::spawn(gateway.run(listener, stop.clone()));
        tokio::spawn(permille_journal::ship(
            journal.clone(),
            billing.clone(),
            std::future::pending(),
        ));
        eventually("the gateway is ready", || readiness.obstacle().is_none().then_some(())).await;
        Self {
            gateway: local,
            provider: address,
            billing,
            journal,
            journal_folder,
            registry,
            books,
            stop,
            serving,
            folder,
        }
    }

    /// Sends a request with the known key.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Response<Incoming> {
        self.send(
            Request::post(self.url(path)).header("authorization", format!("Bearer {KEY}")),
            body.to_string(),
        )
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }

    pub async fn send(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let request = request
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        client(false).request(request).await.unwrap()
    }

    /// The one row of the request that this answer belongs to.
    pub async fn row_of(&self, headers: &HeaderMap) -> UsageEvent {
        let id = headers["permille-request-id"].to_str().unwrap().parse().unwrap();
        eventually("the row is shipped", || {
            self.billing.rows.lock().iter().find(|row| row.request_id == id).cloned()
        })
        .await
    }

    /// All rows, once there are `count` of them.
    pub async fn rows(&self, count: usize) -> Vec<UsageEvent> {
        eventually("all rows are shipped", || {
            let rows = self.billing.rows.lock();
            assert!(rows.len() <= count, "more rows than requests: {rows:#?}");
            (rows.len() == count).then(|| rows.clone())
        })
        .await
    }

    /// The value of a counter that has one label.
    pub fn counted(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name);
        let metrics = metrics.flat_map(prometheus::proto::MetricFamily::get_metric);
        let of_label =
            metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        of_label.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// The value of a counter without labels.
    pub fn counted_plain(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name);
        let metrics = metrics.flat_map(prometheus::proto::MetricFamily::get_metric);
        metrics.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// The provider's books, once they have `count` entries.
    pub async fn books(&self, count: usize) -> Vec<BookEntry> {
        eventually("the books are written", || {
            let books = read_books(&self.books).unwrap_or_default();
            (books.len() == count).then_some(books)
        })
        .await
    }

    /// Ends the gateway at once: nothing is finished, nothing is told to anybody.
    pub fn kill(&self) {
        self.serving.abort();
    }

    /// Stops the gateway and waits until it has ended.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }
}

pub fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

/// Waits for a condition, with a deadline.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut every = tokio::time::interval(Duration::from_millis(5));
    loop {
        every.tick().await;
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
    }
}

/// Reads a body to its end; `None` when it broke off.
pub async fn read_all(body: Incoming) -> Option<Bytes> {
    body.collect().await.ok().map(http_body_util::Collected::to_bytes)
}

/// Reads at least `events` events of a stream (fewer when it ends first) and returns the bytes;
/// the body is left open.
pub async fn read_events(body: &mut Incoming, events: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.windows(2).filter(|pair| pair == b"\n\n").count() < events {
        match body.frame().await {
            Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            _ => break,
        }
    }
    read
}

/// A chat request; `control` is a fault for the simulated provider, such as `tokens=9`.
pub fn chat(control: &str, stream: bool) -> serde_json::Value {
    serde_json::json!({
        "model": "gpt-4o-mini", "stream": stream,
        "messages": [{"role": "user", "content": format!("simulate:{control} How long is the Nile?")}],
    })
}

/// A message request in the shape of Anthropic.
pub fn message(control: &str, stream: bool) -> serde_json::Value {
    serde_json::json!({
        "model": "claude-sonnet-4-5", "max_tokens": 256, "stream": stream,
        "messages": [{"role": "user", "content": format!("simulate:{control} How long is the Nile?")}],
    })
}

/// A gateway in front of these upstreams.
pub async fn world_of(
    upstreams: Vec<UpstreamConfig>,
    change: impl FnOnce(&mut GatewayConfig),
) -> World {
    World::with(|setup| {
        setup.config.upstreams = upstreams;
        change(&mut setup.config);
    })
    .await
}

/// What one request came to.
pub struct Asked {
    pub status: u16,
    pub headers: HeaderMap,
    /// Empty when the reply broke off.
    pub body: String,
    pub row: UsageEvent,
}

/// Sends a chat request, reads the reply and waits for its row.
pub async fn ask(world: &World, body: &serde_json::Value) -> Asked {
    let response = world.post("/v1/chat/completions", body).await;
    let (head, reply) = response.into_parts();
    let body = read_all(reply).await.unwrap_or_default();
    let row = world.row_of(&head.headers).await;
    let body = String::from_utf8(body.into()).unwrap();
    Asked { status: head.status.as_u16(), headers: head.headers, body, row }
}

/// The upstreams that a request called, and how each call ended.
pub fn calls_of(row: &UsageEvent) -> Vec<(&str, Option<u16>, permille_types::Ended)> {
    row.attempts
        .iter()
        .map(|attempt| (attempt.upstream.as_str(), attempt.status, attempt.ended))
        .collect()
}
