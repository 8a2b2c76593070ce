//! A real Redis as a process of its own, on a socket in a folder of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ::redis::{Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tempfile::TempDir;

use super::{eventually, prometheus::root};

/// A running server that keeps nothing. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    folder: TempDir,
}

/// A program of Redis: where `tests/run` unpacks it, else wherever the system has it.
fn program(name: &str) -> Command {
    let unpacked = root().join("tests/.redis/usr");
    let program = unpacked.join("bin").join(name);
    if !program.exists() {
        return Command::new(name);
    }
    let mut command = Command::new(program);
    let libraries = std::fs::read_dir(unpacked.join("lib")).unwrap();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.unwrap().path()).collect();
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    command
}

fn start(folder: &Path) -> Child {
    program("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}: `bash tests/run` unpacks it"))
}

impl Redis {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let child = start(folder.path());
        let redis = Self { child, folder };
        redis.answers().await;
        redis
    }

    async fn answers(&self) {
        let socket = self.socket();
        eventually("redis answers", async || {
            let ping = program("redis-cli").arg("-s").arg(&socket).arg("ping").output().unwrap();
            (ping.stdout == b"PONG\n").then_some(())
        })
        .await;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The socket of it.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Asks it something, over a connection of its own.
    ///
    /// # Panics
    /// When it does not answer, or with something else.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// A connection of its own.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).unwrap();
        // Who asks has a deadline of its own.
        let config = ::redis::AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Does to a customer's books what a minute does, while nothing is open: the leases of what is
    /// held end, and counters are due to be loaded again. The next step sees to both.
    pub async fn a_minute_passes(&self, customer: &str) {
        let mut connection = self.connection().await;
        let key = |part: &str| format!("permille:{{{customer}}}:{part}");
        let all = async |connection: &mut MultiplexedConnection, part: &str| {
            let asked = cmd("HGETALL").arg(key(part)).clone();
            asked.query_async::<BTreeMap<String, String>>(connection).await.unwrap()
        };
        let mut steps = ::redis::pipe();
        let reservations = all(&mut connection, "reservations").await;
        // A settled one is only remembered.
        for id in reservations.iter().filter(|(_, record)| *record != "S").map(|(id, _)| id) {
            steps.cmd("ZADD").arg(key("due")).arg("XX").arg(0).arg(id).ignore();
        }
        let counters = all(&mut connection, "counters").await;
        for field in counters.keys().filter(|field| field.ends_with("|f")) {
            steps.cmd("HSET").arg(key("counters")).arg(field).arg(0).ignore();
        }
        steps.exec_async(&mut connection).await.unwrap();
    }

    /// Sends a signal by name, such as `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    /// `kill -9`; everything that it held is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty.
    pub async fn start_again(&mut self) {
        self.child = start(self.folder.path());
        self.answers().await;
    }
}

/// What is used and held of each of a customer's counters of money, at one instant.
pub async fn money(
    connection: &mut MultiplexedConnection,
    customer: &str,
) -> BTreeMap<String, (u64, u64)> {
    let asked = cmd("HGETALL").arg(format!("permille:{{{customer}}}:counters")).clone();
    let fields: BTreeMap<String, String> = asked.query_async(connection).await.unwrap();
    let number =
        |counter: &str, field: &str| fields.get(&format!("{counter}{field}"))?.parse().ok();
    let counters = fields.keys().filter_map(|field| field.strip_suffix("|u"));
    let counters = counters.filter(|counter| counter.starts_with("m/"));
    counters
        .filter_map(|name| Some((name.to_owned(), (number(name, "|u")?, number(name, "|h")?))))
        .collect()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
