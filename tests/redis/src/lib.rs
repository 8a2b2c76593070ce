//! A real Redis for tests, as a process of its own, on a socket in a folder of its own.

#![allow(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for a condition, with a deadline.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut every = tokio::time::interval(LOOK_EVERY);
    while !condition().await {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        every.tick().await;
    }
}

/// A running server that keeps nothing. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    folder: TempDir,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let child = start(folder.path(), &["--port", "0"]);
        let redis = Self { child, folder };
        redis.answers("PING", "+PONG").await;
        redis
    }

    /// Starts one as the only node of a cluster, which refuses a command, a script or a
    /// transaction whose keys lie in several slots.
    pub async fn start_cluster_node() -> Self {
        let folder = TempDir::new().unwrap();
        // A node of a cluster must listen on a port and on one for other nodes.
        let [port, bus] = free_ports().map(|port| port.to_string());
        let cluster = ["--cluster-enabled", "yes", "--bind", "127.0.0.1"];
        let ports = ["--port", &port, "--cluster-port", &bus];
        let child = start(folder.path(), &[cluster.as_slice(), &ports].concat());
        let redis = Self { child, folder };
        redis.answers("CLUSTER ADDSLOTSRANGE 0 16383", "+OK").await;
        redis.answers("SET ready yes", "+OK").await;
        redis.answers("DEL ready", ":1").await;
        redis
    }

    async fn answers(&self, command: &str, expected: &str) {
        let as_expected = async || self.command(command).as_deref() == Some(expected);
        eventually(&format!("redis answers {expected} to {command}"), as_expected).await;
    }

    /// The first line that the server answers to a command without spaces in its words.
    #[must_use]
    pub fn command(&self, words: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("{words}\r\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).ok()?;
            answer.extend_from_slice(&byte);
        }
        Some(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The socket of it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// What it has saved.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("dump.rdb")).unwrap()
    }

    /// `kill -9`; everything that it held is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty.
    pub async fn start_again(&mut self) {
        self.child = start(self.folder.path(), &["--port", "0"]);
        self.answers("PING", "+PONG").await;
    }

    /// Stops it from answering, without closing a connection.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it answer again.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success(), "kill -s {name} {pid}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where `tests/run` unpacks it, else wherever the system has it.
fn program() -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.redis/usr");
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

fn start(folder: &Path, arguments: &[&str]) -> Child {
    program()
        .args(arguments)
        .args(["--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}: `bash tests/run` unpacks it"))
}

fn free_ports() -> [u16; 2] {
    let listeners = [0; 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
