//! Servers as processes of their own: started, awaited, killed.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use super::{Folder, Reply, Web, command::PROGRAM, eventually};

/// A running `permille serve`, `gateway` or `billing`. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    record: Value,
    stdout: PathBuf,
    stderr: PathBuf,
    /// A client for its listeners.
    pub web: Web,
}

impl Server {
    /// Starts `permille SUBCOMMAND` on `folder` and waits until `/readyz` says so.
    ///
    /// # Panics
    /// With everything the server said, when it ends or is not ready in time.
    pub async fn start(folder: &Folder, subcommand: &str, args: &[&str]) -> Self {
        let args = [&[subcommand], args].concat();
        Self::spawn(folder, folder.command(&args)).await
    }

    /// As [`Server::start`], for a command that a test has prepared, say with variables.
    pub async fn spawn(folder: &Folder, mut command: Command) -> Self {
        let stdout = folder.path().join("server.stdout");
        let stderr = folder.path().join("server.stderr");
        let child = command.stdout(append(&stdout)).stderr(append(&stderr)).spawn().unwrap();
        let mut server = Self { child, record: Value::Null, stdout, stderr, web: Web::new() };
        let file = folder.data().join("server.json");
        eventually("the server is ready", async || server.look(&file).await).await;
        server
    }

    async fn look(&mut self, file: &Path) -> Option<()> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the server ended with {status}: {}", self.errors());
        }
        let record: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        // The record of a server that was killed may still lie there.
        if record["pid"] != self.child.id() {
            return None;
        }
        self.record = record;
        let ready = self.web.get(self.metrics(), "/readyz").await;
        (ready.status == 200).then_some(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the data plane listens.
    pub fn gateway(&self) -> SocketAddr {
        self.address("gateway")
    }

    /// Where the API listens.
    pub fn console(&self) -> SocketAddr {
        self.address("console")
    }

    /// Where metrics and health are.
    pub fn metrics(&self) -> SocketAddr {
        self.address("metrics")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let text = self.record[listener].as_str();
        text.unwrap_or_else(|| panic!("no {listener} listener in {}", self.record)).parse().unwrap()
    }

    /// What it printed so far, over all starts on this folder.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    /// What it logged so far, over all starts on this folder.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// The key of customer `default` that the first start printed.
    pub async fn first_key(&self) -> String {
        eventually("the first start prints a key and a call", async || {
            let printed = self.printed();
            let begin = printed.find("sk-pm_").filter(|_| printed.contains("curl"))?;
            let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            Some(printed[begin..].chars().take_while(|c| is_key(*c)).collect())
        })
        .await
    }

    /// Posts a chat completion and reads the whole answer.
    pub async fn chat(&self, key: &str, body: Value) -> Reply {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        self.web.post(self.gateway(), "/v1/chat/completions", &headers, &body).await
    }

    /// The value of one metric, summed over its labels; `None` when there is none.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.web.get(self.metrics(), "/metrics").await.text();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended().await;
    }

    /// Asks for a graceful stop (SIGTERM) and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Sends a signal by name, such as `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    /// Lets no file of it grow beyond so many bytes, or as it likes. A process that is to survive
    /// that ignores the signal which comes with it: see [`Folder::command_that_outgrows`].
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.child.id().to_string();
        let file_size = format!("--fsize={limit}:unlimited");
        let set = Command::new("prlimit").args(["--pid", &pid, &file_size]).status().unwrap();
        assert!(set.success(), "prlimit --pid {pid} {file_size}");
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the server ends", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- the server's standard error:\n{}", self.errors());
        }
    }
}

/// A running `permille simulator` with its own books. Dropping it ends it.
#[derive(Debug)]
pub struct Simulator {
    child: Child,
    address: SocketAddr,
    books: PathBuf,
}

impl Simulator {
    /// Starts one that writes its books to `books`.
    pub async fn start(books: &Path) -> Self {
        Self::with(books, &[]).await
    }

    /// As [`Simulator::start`], with more arguments.
    pub async fn with(books: &Path, args: &[&str]) -> Self {
        let announcement = books.with_extension("announcement");
        let mut child = Command::new(PROGRAM)
            .args(["simulator", "--listen", "127.0.0.1:0", "--books"])
            .arg(books)
            .args(args)
            // It ends with its standard input, so with this process too.
            .stdin(Stdio::piped())
            .stdout(File::create(&announcement).unwrap())
            .spawn()
            .unwrap();
        let address = eventually("the simulator listens", async || {
            assert!(child.try_wait().unwrap().is_none(), "the simulator ended");
            let line = std::fs::read_to_string(&announcement).ok()?;
            let announced: Value = serde_json::from_str(line.lines().next()?).ok()?;
            Some(announced["listening"].as_str()?.parse().unwrap())
        })
        .await;
        Self { child, address, books: books.to_owned() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `[[upstream]]` entries that make it the provider of both families, for
    /// [`Folder::config`]. Its credential lies in a file beside its books.
    pub fn upstreams(&self) -> String {
        let credential = self.books.with_extension("credential");
        std::fs::write(&credential, "sk-simulated").unwrap();
        let entry = |name: &str, family: &str, path: &str, models: &str| {
            format!(
                "[[upstream]]\nname = \"{name}\"\nfamily = \"{family}\"\n\
                 base_url = \"http://{}{path}\"\napi_key_file = \"{}\"\nmodels = [{models}]\n",
                self.address,
                credential.display(),
            )
        };
        entry("simulated-openai", "openai", "/v1", "\"*\"")
            + &entry("simulated-anthropic", "anthropic", "", "\"*\"")
    }

    /// Its own books: one row for each request it served, oldest first.
    pub fn books(&self) -> Vec<Value> {
        self.books_since(0)
    }

    /// Those from byte `since` of its books on.
    pub fn books_since(&self, since: u64) -> Vec<Value> {
        let Ok(mut books) = File::open(&self.books) else { return Vec::new() };
        books.seek(SeekFrom::Start(since)).unwrap();
        let lines = BufReader::new(books).lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    /// How many bytes its books have.
    pub fn books_bytes(&self) -> u64 {
        std::fs::metadata(&self.books).map_or(0, |books| books.len())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Kills a child that may have ended already, and takes its exit status from the system.
fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}
