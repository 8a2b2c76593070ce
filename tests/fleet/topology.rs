//! One installation as processes of its own: gateways behind a balancer, billing, PostgreSQL,
//! Redis, and a provider with its own books. What compose would start, on free ports.

use std::{net::SocketAddr, path::Path};

use chrono::TimeDelta;
use permille_test_redis::Redis;
use permille_types::{Clock as _, SystemClock, USAGE_STREAM};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    faults::STEP_SECONDS,
    support::{
        Folder, PROGRAM, Server, Simulator,
        clock::SteppedClock,
        disk::SmallDisk,
        eventually,
        postgres::{DATABASE, Postgres},
        redis::ask,
        relay::{End, Relay},
    },
};

/// Whose requests they are.
pub const CUSTOMER: &str = "acme";

/// Where clients may send new requests: what a balancer knows.
pub type Open = watch::Receiver<Vec<SocketAddr>>;

/// A gateway and its folder, which outlives its processes.
pub struct Gateway {
    /// Absent while it is down.
    pub server: Option<Server>,
    pub folder: Folder,
    /// Present where its clock can be stepped.
    pub clock: Option<SteppedClock>,
    /// Present where its journal has a disk of its own; what is on that ends with the process.
    pub disk: Option<SmallDisk>,
    /// Whether it hands its usage over through Redis; else over HTTP, to the first process of
    /// billing.
    streams: bool,
    /// Whether the balancer sends new requests to it.
    listed: bool,
}

/// A process of billing that only reads the usage stream, and its folder.
pub struct SecondBilling {
    /// Absent while it is down.
    pub server: Option<Server>,
    pub folder: Folder,
}

/// A moment between two rounds of traffic.
pub struct Mark {
    since: String,
    /// Bytes of the provider's books.
    books: u64,
}

/// See the module's text. Everything ends with it.
pub struct Fleet {
    pub gateways: Vec<Gateway>,
    /// Between the gateways and billing.
    pub line: Relay,
    /// Between everybody and Redis, where usage goes through it.
    pub redis_line: Relay,
    /// Between billing and PostgreSQL, where that may be cut.
    pub store_line: Relay,
    pub billing: Option<Server>,
    /// Present where the clock of that process can be stepped.
    pub billing_clock: Option<SteppedClock>,
    pub office: Folder,
    /// A second process of billing on the same store, where usage goes through Redis.
    pub second_billing: Option<SecondBilling>,
    pub simulator: Simulator,
    pub redis: Redis,
    pub postgres: Postgres,
    balancer: watch::Sender<Vec<SocketAddr>>,
}

/// How a fleet is made.
#[derive(Clone, Copy)]
struct Making<'a> {
    /// Lines of `[limits]` of the gateways.
    limits: &'a str,
    /// More of their settings.
    settings: &'a str,
    /// For each gateway, whether it hands its usage over through Redis.
    streams: &'a [bool],
    /// Whether clocks can be stepped and the line to PostgreSQL be cut.
    breakable: bool,
    small_disks: bool,
    program: &'a str,
}

const MAKING: Making<'static> = Making {
    limits: "",
    settings: "",
    streams: &[],
    breakable: false,
    small_disks: false,
    program: PROGRAM,
};

/// Limits that so many gateways share, and of which each serves its part while Redis is away.
fn shares(gateways: usize) -> String {
    format!("away = \"share\"\ngateways = {gateways}\n")
}

impl Fleet {
    /// Starts everything, with so many gateways.
    pub async fn start(gateways: usize) -> Self {
        Self::with(gateways, "").await
    }

    /// As [`Fleet::start`], with more settings of the gateways.
    pub async fn with(gateways: usize, settings: &str) -> Self {
        Self::built(settings, &vec![false; gateways]).await
    }

    /// As [`Fleet::with`], with these lines of `[limits]`.
    pub async fn limiting(gateways: usize, limits: &str, settings: &str) -> Self {
        Self::made(Making { limits, settings, streams: &vec![false; gateways], ..MAKING }).await
    }

    /// With a gateway for each of `streams`, which says whether it hands its usage over through
    /// Redis; if any does, two processes of billing read there.
    pub async fn built(settings: &str, streams: &[bool]) -> Self {
        let limits = &shares(streams.len());
        Self::made(Making { limits, settings, streams, ..MAKING }).await
    }

    /// As [`Fleet::built`], with clocks that can be stepped and a line to PostgreSQL that can be
    /// cut.
    pub async fn breakable(settings: &str, streams: &[bool]) -> Self {
        let limits = &shares(streams.len());
        Self::made(Making { limits, settings, streams, breakable: true, ..MAKING }).await
    }

    /// As [`Fleet::with`], with a [`SmallDisk`] for each gateway's journal.
    pub async fn with_small_disks(gateways: usize, settings: &str) -> Self {
        let (limits, streams) = (&shares(gateways), &vec![false; gateways]);
        Self::made(Making { limits, settings, streams, small_disks: true, ..MAKING }).await
    }

    /// As [`Fleet::built`], with all of them run by another program.
    pub async fn run_by(program: &Path, streams: &[bool]) -> Self {
        let (limits, program) = (&shares(streams.len()), program.to_str().unwrap());
        Self::made(Making { limits, streams, program, ..MAKING }).await
    }

    async fn made(making: Making<'_>) -> Self {
        let Making { limits, settings, streams, breakable, small_disks, program } = making;
        let program = Path::new(program);
        let postgres = Postgres::start();
        let redis = Redis::start().await;
        let redis_line = Relay::start(End::Unix(redis.socket())).await;
        let store_line = Relay::start(End::Unix(postgres.socket())).await;
        let office = Folder::run_by(program);
        // Through a line only where it may be cut: a relay costs what requests wait for.
        let store = if breakable {
            Postgres::url_by(store_line.address(), DATABASE)
        } else {
            postgres.url(DATABASE)
        };
        let mut books = format!("[store]\nurl = \"{store}\"\n");
        if breakable {
            // A quarter of an hour is longer than tests wait.
            books += "answer_seconds = 10\n";
        }
        let streamed = streams.contains(&true);
        if streamed {
            // Whoever dies is stood in for after a second.
            let stream = "[usage_stream]\nenabled = true\nreclaim_seconds = 1\n";
            let redis = redis_line.address();
            books = format!("{books}[redis]\nurl = \"redis://{redis}\"\n{stream}");
        }
        office.config(&books);
        let billing_clock = breakable.then(|| SteppedClock::new(&office));
        let billing = first_billing(&office, billing_clock.as_ref()).await;
        let line = Relay::start(billing.console()).await;
        let token = office.json(&["token", "create", "--role", "gateway"]);
        let token = token["secret"].as_str().unwrap().to_owned();
        let simulator = office.simulator().await;
        let mut fleet = Self {
            gateways: Vec::new(),
            line,
            redis_line,
            store_line,
            billing: Some(billing),
            billing_clock,
            office,
            second_billing: None,
            simulator,
            redis,
            postgres,
            balancer: watch::Sender::new(Vec::new()),
        };
        if streamed {
            let folder = Folder::run_by(program);
            folder.config(&books);
            std::fs::create_dir(folder.data()).unwrap();
            let pepper = fleet.office.data().join("pepper");
            std::fs::copy(pepper, folder.data().join("pepper")).unwrap();
            fleet.second_billing = Some(SecondBilling { server: None, folder });
            fleet.start_second_billing().await;
        }
        for (number, &streams) in streams.iter().enumerate() {
            let stream = if streams { "[usage_stream]\nenabled = true\n" } else { "" };
            let folder = Folder::run_by(program);
            std::fs::write(folder.path().join("token"), &token).unwrap();
            let redis = if streamed {
                format!("redis://{}", fleet.redis_line.address())
            } else {
                fleet.redis.url()
            };
            folder.config(&(fleet.gateway_config(limits, &redis) + stream + settings));
            let clock = breakable.then(|| SteppedClock::new(&folder));
            let disk = small_disks.then(|| SmallDisk::new(&folder.data().join("journal")));
            let server = None;
            fleet.gateways.push(Gateway { folder, clock, disk, streams, server, listed: true });
            fleet.start_gateway(number).await;
        }
        fleet
    }

    fn gateway_config(&self, limits: &str, redis: &str) -> String {
        format!(
            "[billing]\nurl = \"http://{}\"\ntoken_file = \"token\"\n\
             [redis]\nurl = \"{redis}\"\n\
             [limits]\n{limits}{}",
            self.line.address(),
            self.simulator.upstreams(),
        )
    }

    /// A key of [`CUSTOMER`], with a budget and a concurrency that it never meets, so that every
    /// request asks Redis.
    pub fn key(&self) -> String {
        let office = &self.office;
        office.json(&["customer", "add", CUSTOMER, "--id", CUSTOMER, "--currency", "USD"]);
        let key = office.json(&[
            "key",
            "create",
            "--customer",
            CUSTOMER,
            "--budget",
            "1000 USD/month",
            "--concurrency",
            "5000",
        ]);
        key["secret"].as_str().unwrap().to_owned()
    }

    /// What the balancer tells clients.
    pub fn open(&self) -> Open {
        self.balancer.subscribe()
    }

    /// Tells the balancer who is up and listed.
    fn balance(&self) {
        let listed = self.gateways.iter().filter(|gateway| gateway.listed);
        let open = listed.filter_map(|gateway| Some(gateway.server.as_ref()?.gateway())).collect();
        self.balancer.send_replace(open);
    }

    /// No client is sent to it any more, or again.
    pub fn list(&mut self, gateway: usize, listed: bool) {
        self.gateways[gateway].listed = listed;
        self.balance();
    }

    /// Starts a gateway on its folder and waits until it is ready.
    pub async fn start_gateway(&mut self, number: usize) {
        let gateway = &mut self.gateways[number];
        let mut command = gateway.folder.command_that_outgrows(&["gateway"]);
        if let Some(clock) = &gateway.clock {
            clock.rule(&mut command);
        }
        if let Some(disk) = &gateway.disk {
            disk.hold(&mut command);
        }
        gateway.server = Some(Server::spawn(&gateway.folder, command).await);
        self.balance();
    }

    /// SIGTERM; it must end by itself and well.
    pub async fn stop_gateway(&mut self, number: usize) {
        let mut server = self.gateways[number].server.take().unwrap();
        let status = server.stop().await;
        assert!(status.success(), "gateway {number} ended with {status}: {}", server.errors());
        self.balance();
    }

    /// `kill -9`.
    pub async fn kill_gateway(&mut self, number: usize) {
        self.gateways[number].server.take().unwrap().kill().await;
        self.balance();
    }

    /// A running gateway.
    pub fn gateway(&self, number: usize) -> &Server {
        self.gateways[number].server.as_ref().unwrap()
    }

    /// How far the clock of a gateway is ahead of ours, by the id that it gives a request.
    pub async fn seconds_off(&self, number: usize) -> i64 {
        let server = self.gateway(number);
        let reply = server.web.get(server.gateway(), "/v1/models").await;
        let id = reply.headers["permille-request-id"].to_str().unwrap().replace('-', "");
        let milliseconds = i64::from_str_radix(&id[..12], 16).unwrap();
        (milliseconds - SystemClock.now().timestamp_millis()) / 1_000
    }

    /// How far the clock of the first process of billing is ahead of ours, by when it last took
    /// usage that no other process takes; `None` before it took any.
    pub fn billing_seconds_off(&self) -> Option<i64> {
        let gateway = self.gateways.iter().find(|gateway| !gateway.streams).unwrap();
        let node = std::fs::read_to_string(gateway.folder.data().join("node")).unwrap();
        let node = node.trim();
        let asked = format!("select updated_at from intake_checkpoint where node = '{node}'");
        let microseconds: i64 = self.postgres.run(DATABASE, &[&asked]).trim().parse().ok()?;
        Some(microseconds / 1_000_000 - SystemClock.now().timestamp())
    }

    /// Runs a gateway by another program from its next start on.
    pub fn upgrade_gateway(&mut self, number: usize, program: &Path) {
        program.clone_into(&mut self.gateways[number].folder.program);
    }

    /// SIGTERM for billing; it must end by itself and well.
    pub async fn stop_billing(&mut self) {
        let mut server = self.billing.take().unwrap();
        let status = server.stop().await;
        assert!(status.success(), "billing ended with {status}: {}", server.errors());
    }

    /// `kill -9` for billing.
    pub async fn kill_billing(&mut self) {
        self.billing.take().unwrap().kill().await;
    }

    /// Starts billing again; gateways find it where it was.
    pub async fn start_billing(&mut self) {
        let billing = first_billing(&self.office, self.billing_clock.as_ref()).await;
        self.line.lead_to(billing.console());
        self.billing = Some(billing);
    }

    /// `kill -9` for the second process of billing.
    pub async fn kill_second_billing(&mut self) {
        self.second_billing.as_mut().unwrap().server.take().unwrap().kill().await;
    }

    /// SIGTERM for the second process of billing; it must end by itself and well.
    pub async fn stop_second_billing(&mut self) {
        let mut server = self.second_billing.as_mut().unwrap().server.take().unwrap();
        let status = server.stop().await;
        assert!(status.success(), "billing ended with {status}: {}", server.errors());
    }

    /// Starts the second process of billing again.
    pub async fn start_second_billing(&mut self) {
        let second_billing = self.second_billing.as_mut().unwrap();
        second_billing.server = Some(Server::start(&second_billing.folder, "billing", &[]).await);
    }

    /// The processes of billing that run.
    pub fn readers(&self) -> impl Iterator<Item = &Server> {
        let second_billing =
            self.second_billing.as_ref().and_then(|second_billing| second_billing.server.as_ref());
        self.billing.iter().chain(second_billing)
    }

    /// How many batches the usage stream holds.
    pub async fn streamed(&self) -> usize {
        ask(&self.redis, redis::cmd("XLEN").arg(USAGE_STREAM)).await
    }

    /// Replies that have not ended and events that billing does not have, of all gateways.
    pub async fn waiting(&self) -> f64 {
        let mut left = 0.0;
        for server in self.gateways.iter().filter_map(|gateway| gateway.server.as_ref()) {
            for gauge in ["streams_in_flight", "drains_in_flight", "journal_lag_events"] {
                let name = format!("permille_{gauge}");
                left += eventually(&name, async || server.metric(&name).await).await;
            }
        }
        left
    }

    /// Waits until every gateway has ended its replies and billing has all of their usage: as
    /// long as there is less and less of it.
    pub async fn handed_over(&self) {
        let mut left = f64::INFINITY;
        while left > 0.0 {
            left = eventually("usage is handed over", async || {
                let waiting = self.waiting().await;
                (waiting < left).then_some(waiting)
            })
            .await;
        }
    }

    /// As [`Fleet::handed_over`], then stops the gateways.
    pub async fn drain(&mut self) {
        self.handed_over().await;
        for number in 0..self.gateways.len() {
            if self.gateways[number].server.is_some() {
                self.stop_gateway(number).await;
            }
        }
    }

    /// This moment, between two rounds of traffic.
    pub fn mark(&self) -> Mark {
        let since = SystemClock.now() - TimeDelta::seconds(2 * STEP_SECONDS);
        Mark { since: since.to_rfc3339(), books: self.simulator.books_bytes() }
    }

    /// Rows whose requests came after a moment by any clock, and some of before.
    pub fn rows_since(&self, mark: &Mark) -> Vec<Value> {
        self.office.usage(&["--since", &mark.since])
    }

    /// What the provider has booked since a moment.
    pub fn books_since(&self, mark: &Mark) -> Vec<Value> {
        self.simulator.books_since(mark.books)
    }

    /// Every row.
    pub fn rows(&self) -> Vec<Value> {
        self.office.usage(&[])
    }

    /// What billing could not book as it came.
    pub async fn quarantine(&self) -> Vec<Value> {
        let billing = self.billing.as_ref().unwrap();
        let token = std::fs::read_to_string(self.office.data().join("cli.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", bearer.as_str())];
        let path = "/api/v1/usage/quarantine";
        let reply = billing.web.get_with(billing.console(), path, &headers).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["items"].as_array().unwrap().clone()
    }
}

/// Starts the process of billing that has the API which gateways ask.
async fn first_billing(office: &Folder, clock: Option<&SteppedClock>) -> Server {
    let mut command = office.command(&["billing"]);
    if let Some(clock) = clock {
        clock.rule(&mut command);
    }
    Server::spawn(office, command).await
}
