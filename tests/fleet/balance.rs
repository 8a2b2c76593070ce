//! One budget behind three gateways: it is spent, and not beyond it, whoever asks, however many
//! ask at once, and whatever becomes of a gateway meanwhile.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    left_behind::begin,
    support::{
        DEADLINE, Web, eventually,
        redis::{a_minute_passes, connection, money},
    },
    topology::Fleet,
};

/// How long the books may take to come to rest: what they hold is told before `eventually` gives
/// up.
const LOOKED_FOR: Duration = Duration::from_secs(DEADLINE.as_secs() - 1);

pub const GATEWAYS: usize = 3;
/// Tokens of each reply, which are also its limit: most of what is reserved is used, so that the
/// rest of a balance is found in a few rounds.
const OUTPUT: u64 = 200;
/// What a refusal that may pass tells clients to wait for.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A thousand clients on a busy machine are no outage, which is another subject.
pub const LIMITS: &str = "away = \"refuse\"\nwait_ms = 10000\n";

fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "max_tokens": OUTPUT, "stream": stream,
           "messages": [{"role": "user", "content": format!("simulate:tokens={OUTPUT} A river?")}]})
}

/// What a request reserves, in 10⁻⁹ of a dollar: each byte of its body at 0.15 dollars and its
/// output at 0.60 dollars for a million tokens.
pub fn worst(stream: bool) -> u64 {
    chat(stream).to_string().len() as u64 * 150 + OUTPUT * 600
}

/// What rows cost together, in 10⁻⁹ of a dollar.
pub fn spent<'a>(rows: impl IntoIterator<Item = &'a Value>) -> u64 {
    let cost = |row: &Value| row["cost"].as_str().unwrap().parse::<Decimal>().unwrap();
    let nano = |row| u64::try_from((cost(row) * Decimal::from(1_000_000_000)).round()).unwrap();
    rows.into_iter().map(nano).sum()
}

pub fn total(nano: u64) -> String {
    format!("{} USD/total", Decimal::new(i64::try_from(nano).unwrap(), 9).normalize())
}

/// Clients of one key, who ask every gateway in turn.
#[derive(Clone)]
pub struct Clients {
    bearer: Arc<str>,
    web: Web,
    pub gateways: Arc<[SocketAddr]>,
    /// Our ids of requests whose replies began.
    served: Arc<Mutex<Vec<String>>>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Served,
    /// It may be served later.
    Later,
    /// What is spent leaves no room.
    Spent,
    /// Its gateway is not there any more.
    Nobody,
}

impl Clients {
    /// A customer with a budget, and a key with its own budgets, which every gateway knows.
    pub async fn of(fleet: &Fleet, customer: &str, budget: u64, of_key: &[&str]) -> Self {
        let office = &fleet.office;
        office.json(&["customer", "add", customer, "--id", customer, "--currency", "USD"]);
        office.json(&["customer", "limit", customer, "--budget", &total(budget)]);
        let create = ["key", "create", "--customer", customer];
        let key = office.json(&[&create[..], of_key].concat());
        let mut clients = Self {
            bearer: format!("Bearer {}", key["secret"].as_str().unwrap()).into(),
            web: Web::new(),
            gateways: Arc::default(),
            served: Arc::default(),
        };
        clients.find(fleet);
        // The key came last: who knows it knows the limits.
        for gateway in &*clients.gateways {
            eventually("the key is known", async || {
                let headers = [("authorization", &*clients.bearer)];
                let models = clients.web.get_with(*gateway, "/v1/models", &headers).await;
                (models.status == 200).then_some(())
            })
            .await;
        }
        clients
    }

    /// Looks where the gateways listen: each start has a port of its own.
    pub fn find(&mut self, fleet: &Fleet) {
        self.gateways = (0..GATEWAYS).map(|number| fleet.gateway(number).gateway()).collect();
    }

    pub async fn ask(&self, number: usize, session: &str) -> Answer {
        let headers = [("authorization", &*self.bearer), ("permille-session", session)];
        // One in three is a stream: each gateway has as many.
        let body = chat(number % 9 < 3).to_string().into();
        let gateway = self.gateways[number % GATEWAYS];
        let path = "/v1/chat/completions";
        let sent = self.web.send(http::Method::POST, gateway, path, &headers, body).await;
        let Ok(reply) = sent else { return Answer::Nobody };
        let id = reply.headers.get("permille-request-id").cloned();
        let reply = reply.whole().await;
        match (reply.status, reply.header("x-should-retry")) {
            (200, _) => {
                self.served.lock().unwrap().push(id.unwrap().to_str().unwrap().to_owned());
                Answer::Served
            }
            (402, Some("false")) => Answer::Spent,
            (402 | 503, Some("true")) => Answer::Later,
            (status, _) => panic!("{status}: {}", reply.text()),
        }
    }

    /// Asks as often as refusals say, until it is served or asking again does not help.
    pub async fn ask_on(&self, number: usize, session: &str) {
        let mut again = tokio::time::interval(RETRY_AFTER);
        loop {
            again.tick().await;
            match self.ask(number, session).await {
                Answer::Served | Answer::Spent => return,
                Answer::Later => {}
                Answer::Nobody => panic!("no answer"),
            }
        }
    }

    /// So many clients at once, in so many sessions; each asks once, or on.
    pub fn storm(&self, clients: usize, sessions: usize, asks_on: bool) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for number in 0..clients {
            let (clients, session) = (self.clone(), format!("s{}", number % sessions));
            asking.spawn(async move {
                if asks_on {
                    clients.ask_on(number, &session).await;
                } else {
                    clients.ask(number, &session).await;
                }
            });
        }
        asking
    }

    pub fn served(&self) -> usize {
        self.served.lock().unwrap().len()
    }
}

impl Fleet {
    /// What a customer's replies came to. That a key was asked for its models is a row too.
    fn paid(&self, customer: &str) -> Vec<Value> {
        let mut rows = self.office.usage(&["--customer", customer]);
        rows.retain(|row| spent([row]) > 0);
        rows
    }

    /// Runs `work` and looks again and again at what a customer has used and reserved meanwhile:
    /// no counter whose name begins so may ever stand above its limit.
    async fn watching(&self, whose: &str, limits: &[(&str, u64)], work: impl Future<Output = ()>) {
        let mut connection = connection(&self.redis).await;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let watch = async {
            loop {
                looks.tick().await;
                for (counter, (used, held)) in money(&mut connection, whose).await {
                    let limit = limits.iter().find(|(name, _)| counter.starts_with(name));
                    let (_, limit) = limit.unwrap_or_else(|| panic!("{counter} has no limit"));
                    assert!(used + held <= *limit, "{counter}: {used} and {held} of {limit}");
                }
            }
        };
        let both = async {
            tokio::select! {
                () = watch => {}
                () = work => {}
            }
        };
        tokio::time::timeout(DEADLINE, both).await.expect("every client is answered for good");
    }

    /// Waits until no counter of a customer holds anything and those that are named so have
    /// counted what the ledger has; its rows.
    pub async fn even(&self, whose: &str, counters: &[&str]) -> Vec<Value> {
        let mut connection = connection(&self.redis).await;
        let mut last = None;
        let looked = eventually("counters and ledger agree", async || {
            let (rows, is) = (self.paid(whose), money(&mut connection, whose).await);
            let all = spent(&rows);
            let nothing_held = is.values().all(|(_, held)| *held == 0);
            let named = is.iter().filter(|(name, _)| counters.iter().any(|c| name.starts_with(c)));
            let agree = named.filter(|(_, (used, _))| *used == all).count() == counters.len();
            last = Some((all, is));
            (nothing_held && agree && all > 0).then_some(rows)
        });
        let in_time = tokio::time::timeout(LOOKED_FOR, looked).await;
        in_time.unwrap_or_else(|_| panic!("the ledger's sum and the counters: {last:?}"))
    }
}

pub async fn all(mut asking: JoinSet<()>) {
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
}

/// What a reply costs, whole or as a stream.
pub async fn cost_of_a_reply(fleet: &Fleet) -> u64 {
    let probe = Clients::of(fleet, "probe", 1_000_000_000, &[]).await;
    for number in [0, 3] {
        assert_eq!(probe.ask(number, "probe").await, Answer::Served);
    }
    let rows = fleet.even("probe", &["m/all/c:"]).await;
    let cost = spent(&rows[..1]);
    assert_eq!((rows.len(), spent(&rows)), (2, 2 * cost), "a stream costs the same: {rows:?}");
    cost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_spend_one_budget_to_its_end_and_not_beyond() {
    let mut fleet = Fleet::limiting(GATEWAYS, LIMITS, "").await;
    let cost = cost_of_a_reply(&fleet).await;

    a_prepaid_balance_for_a_hundred(&fleet, cost).await;
    caps_of_a_key_and_its_sessions_through_a_kill(&mut fleet, cost).await;
}

async fn a_prepaid_balance_for_a_hundred(fleet: &Fleet, cost: u64) {
    let (least, most) = (worst(true), worst(false));
    // Whichever is the hundredth is let in, and then there is no room for any.
    let balance = 99 * cost + most + 10;
    assert!(least <= most && balance < 100 * cost + least, "{cost}, {least}, {most}");
    let clients = Clients::of(fleet, "prepaid", balance, &[]).await;
    let made = fleet.simulator.books().len();

    fleet.watching("prepaid", &[("m/all/c:", balance)], all(clients.storm(1_000, 7, true))).await;

    assert_eq!(clients.served(), 100);
    let rows = fleet.even("prepaid", &["m/all/c:"]).await;
    assert_eq!((rows.len(), spent(&rows)), (100, 100 * cost));
    assert_eq!(fleet.simulator.books().len() - made, 100, "what was refused was not sent");
}

async fn caps_of_a_key_and_its_sessions_through_a_kill(fleet: &mut Fleet, cost: u64) {
    let most = worst(false);
    // Five sessions do not reach the cap of their key, twenty-five do.
    let (balance, cap, of_session) = (400 * cost, 200 * cost, 30 * cost);
    let caps = ["--budget", &total(cap), "--session-budget", &total(of_session)];
    let limits = [("m/all/c:", balance), ("m/all/k:", cap), ("m/all/s:", of_session)];
    let mut clients = Clients::of(fleet, "capped", balance, &caps).await;
    let secret = clients.bearer.trim_start_matches("Bearer ").to_owned();

    // One stream is open for sure, beside those that are.
    let (open, _reply) = begin(fleet, &secret).await;
    let storm = clients.storm(300, 5, false);
    eventually("some are served", async || (clients.served() > 20).then_some(())).await;
    fleet.kill_gateway(0).await;
    fleet.watching("capped", &limits, all(storm)).await;
    fleet.start_gateway(0).await;
    fleet.handed_over().await;
    clients.served.lock().unwrap().push(open);
    let orphans = eventually("what was served and what was broken off is booked", async || {
        let rows = fleet.office.usage(&["--customer", "capped"]);
        let known: HashSet<_> = rows.iter().map(|row| row["request_id"].as_str()).collect();
        let served = clients.served.lock().unwrap();
        let all = served.iter().all(|id| known.contains(&Some(id.as_str())));
        all.then(|| rows.iter().filter(|row| row["ended"] == "orphaned").count())
    })
    .await;
    assert!(orphans > 0, "a stream was open");
    // What the killed one had reserved for requests that it had not begun comes back.
    a_minute_passes(&fleet.redis, "capped").await;
    clients.find(fleet);
    fleet.watching("capped", &limits, all(clients.storm(60, 1, true))).await;
    fleet.watching("capped", &limits, all(clients.storm(250, 25, true))).await;

    let rows = fleet.even("capped", &["m/all/c:", "m/all/k:"]).await;
    let mut sessions: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &rows {
        *sessions.entry(row["session"].as_str().unwrap()).or_default() += spent([row]);
    }
    assert!(sessions.values().all(|spent| *spent <= of_session), "{sessions:?} of {of_session}");
    // Both caps were met: there is no room for one more under either.
    assert!(sessions["s0"] + most > of_session, "{sessions:?} of {of_session}");
    let sum = spent(&rows);
    assert!(sum <= cap && sum + most > cap, "{sum} of {cap}");
}
