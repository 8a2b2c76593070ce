//! A real Redis as a process of its own, on a socket in a folder of its own.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a condition may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut every = tokio::time::interval(Duration::from_millis(5));
    while !condition().await {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        every.tick().await;
    }
}

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
        eventually("redis answers", async || self.command("PING").as_deref() == Some("+PONG"))
            .await;
    }

    /// The first line that the server answers to a command without spaces in its words.
    pub(crate) fn command(&self, words: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.path().join("redis.sock")).ok()?;
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

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it has saved.
    pub(crate) fn dump(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("dump.rdb")).unwrap()
    }

    /// Starts it again, without anything that it held.
    pub(crate) async fn start_empty(&mut self) {
        self.child = start(self.folder.path());
        self.answers().await;
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
