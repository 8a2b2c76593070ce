//! A real Redis as a process of its own, on a socket in a folder of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use permille_limits::SharedBooks;
use tempfile::TempDir;

use crate::support::eventually;

/// Long enough for a busy machine; the bound itself is tested with a shorter one.
const WAIT: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills it.
pub(crate) struct Redis {
    child: Child,
    folder: TempDir,
}

/// Where `tests/run` unpacks it, else wherever the system has it.
fn program() -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/.redis/usr");
    let program = unpacked.join("bin/redis-server");
    if !program.exists() {
        return Command::new("redis-server");
    }
    let mut command = Command::new(program);
    let libraries = std::fs::read_dir(unpacked.join("lib")).unwrap();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.unwrap().path()).collect();
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    command
}

fn start(folder: &Path) -> Child {
    program()
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
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let child = start(folder.path());
        let redis = Self { child, folder };
        redis.answers().await;
        redis
    }

    async fn answers(&self) {
        let books = self.books();
        eventually("redis answers", async || books.ping().await.is_ok()).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// The books in it, over a connection of their own.
    pub(crate) fn books(&self) -> SharedBooks {
        SharedBooks::open(&self.url().into(), WAIT).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, without anything that it held.
    pub(crate) async fn start_empty(&mut self) {
        self.child = start(self.folder.path());
        self.answers().await;
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// When each gateway last answered the roll.
    pub(crate) async fn roll(&self) -> BTreeMap<String, u64> {
        let mut connection = self.connection().await;
        let asked = redis::cmd("HGETALL").arg("permille:{gateways}:here").clone();
        asked.query_async(&mut connection).await.unwrap()
    }

    /// Makes a counter due to be loaded again.
    pub(crate) async fn age(&self, customer: &str, counter: &str) {
        let mut connection = self.connection().await;
        let (key, field) = (format!("permille:{{{customer}}}:counters"), format!("{counter}|f"));
        redis::cmd("HSET").arg(key).arg(field).arg(0).exec_async(&mut connection).await.unwrap();
    }

    /// Forgets which settlements of a customer are struck out, as docs/limits.md says to do where
    /// an older ledger is restored.
    pub(crate) async fn forget_log(&self, customer: &str) {
        let key = format!("permille:{{{customer}}}:log");
        let mut connection = self.connection().await;
        redis::cmd("UNLINK").arg(key).exec_async(&mut connection).await.unwrap();
    }

    /// Stops it from answering, without closing a connection.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
