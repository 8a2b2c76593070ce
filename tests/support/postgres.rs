//! A real `PostgreSQL` server as processes of its own, in a folder of its own, on a Unix socket.
//!
//! It orders text as English does, unlike what a developer's own server may do. Nothing of it
//! reaches a disk for certain: it ends with its tests.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Its user, who may do everything and is asked for no password.
const USER: &str = "permille";
/// Whoever is asked for a password. A test that needs one makes it.
pub(crate) const GUARDED: &str = "guarded";
/// A database that is there and empty.
pub(crate) const DATABASE: &str = "postgres";

/// The lock that writing transactions take one after the other.
const WRITER: u32 = 1_885_696_621;

/// Starts a server in folder $1, an empty one or a standby of what `$4` leads to, says so, and
/// stops it when the process that started this one ends, however it ends: then its side of the
/// pipe closes.
const SCRIPT: &str = r#"
    set -e
    trap '' INT TERM
    if [ -n "$4" ]; then
        pg_basebackup --pgdata="$1/data" --dbname="$4" --write-recovery-conf --checkpoint=fast \
            --no-sync >"$1/log" 2>&1
    else
        initdb --pgdata="$1/data" --username="$2" --auth=trust --encoding=UTF8 --locale=C \
            --locale-provider=icu --icu-locale=en-US --no-sync >"$1/log" 2>&1
        printf 'local all %s scram-sha-256\nlocal all,replication all trust\n' "$3" \
            >"$1/data/pg_hba.conf"
    fi
    pg_ctl start --wait --pgdata="$1/data" --log="$1/log" --options="-k $1 -c listen_addresses= \
        -c fsync=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB" \
        >>"$1/log" 2>&1
    echo ready
    cat >/dev/null
    # A test may have killed it.
    pg_ctl stop --mode=immediate --pgdata="$1/data" >/dev/null 2>&1 || true
    rm -r "$1"
"#;

/// A running server. It stops when this is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    folder: PathBuf,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Panics
    /// With what it said, when it does not start. `bash tests/run` installs it.
    pub(crate) fn start() -> Self {
        Self::begin("")
    }

    /// Starts a standby of the server that `line` leads to, which takes what that one writes and
    /// may be read.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub(crate) fn standby_of(line: SocketAddr) -> Self {
        Self::begin(&format!("host={} port={} user={USER}", line.ip(), line.port()))
    }

    fn begin(primary: &str) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        if let Some(owner) = owner() {
            chown(&folder, Some(owner), None).unwrap();
        }
        let mut child = as_owner("sh")
            .args(["-c", SCRIPT, "sh", folder.to_str().unwrap(), USER, GUARDED, primary])
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert_eq!(said, "ready\n", "no PostgreSQL: `bash tests/run` installs it\n{}", log());
        Self { child, folder }
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Ends it as a crash of the machine's process would, and starts it again: every connection
    /// is lost, every commit is there.
    ///
    /// # Panics
    /// With what it said, when it does not start again.
    pub(crate) fn crash_and_start_again(&self) {
        self.control(&["restart", "--wait", "--mode=immediate"]);
    }

    /// `kill -9`: what it has not sent by then, nobody gets. It does not start again.
    ///
    /// # Panics
    /// When it does not run.
    pub(crate) fn kill(&self) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let sent = Command::new("kill").args(["-s", "KILL", file.lines().next().unwrap()]).status();
        assert!(sent.unwrap().success(), "kill {file}");
    }

    /// A standby takes writes from now on.
    ///
    /// # Panics
    /// With what it said, when it was none.
    pub(crate) fn promote(&self) {
        self.control(&["promote", "--wait"]);
    }

    fn control(&self, args: &[&str]) {
        let done = as_owner("pg_ctl")
            .args(args)
            .args(["--silent", "--pgdata"])
            .arg(self.data())
            .arg("--log")
            .arg(self.folder.join("log"))
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(done.success(), "{done}\n{log}");
    }

    /// Runs statements in a database; what they gave, a row on a line.
    ///
    /// # Panics
    /// When one of them fails.
    pub(crate) fn run(&self, database: &str, statements: &[&str]) -> String {
        let mut command = self.psql(database);
        for statement in statements {
            command.args(["-c", statement]);
        }
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database]);
        command.arg("-h").arg(&self.folder).env("PATH", path());
        command
    }

    /// Lets nobody write as long as what this gives is there: who wants to, waits.
    ///
    /// # Panics
    /// When the lock cannot be had.
    pub(crate) fn hold_writes(&self) -> Held {
        let mut psql = self.psql(DATABASE);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lock = format!("select pg_advisory_lock({WRITER}) is not null;\n");
        psql.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(psql.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(!said.is_empty(), "no lock");
        Held(psql)
    }

    /// The URL of a database for a user who may do everything.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_of(USER, database)
    }

    /// The URL of a database for a user who may do everything, by way of a line that leads to
    /// [`Postgres::socket`].
    pub(crate) fn url_by(line: SocketAddr, database: &str) -> String {
        format!("postgres://{USER}@{line}/{database}")
    }

    /// The socket of it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// The URL of a database for a user.
    pub(crate) fn url_of(&self, user: &str, database: &str) -> String {
        let socket = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{user}@{socket}/{database}")
    }
}

/// See [`Postgres::hold_writes`].
#[derive(Debug)]
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// PostgreSQL refuses to run as root: then, who runs it.
fn owner() -> Option<u32> {
    (std::fs::metadata("/proc/self").unwrap().uid() == 0).then(|| identity("nobody"))
}

/// A program that runs as whom the server runs.
fn as_owner(program: &str) -> Command {
    let Some(owner) = owner() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={owner}"), "--clear-groups", program]);
    command
}

fn identity(user: &str) -> u32 {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let account = accounts.lines().find(|line| line.split(':').next() == Some(user)).unwrap();
    account.split(':').nth(2).unwrap().parse().unwrap()
}

/// Where programs lie, the newest server's among them: Debian keeps each version's apart.
pub(crate) fn path() -> String {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|folder| Path::new(folder).join("initdb").exists())
        .collect();
    folders.sort();
    let found = folders.pop().unwrap_or_default();
    format!("{}:{}", found.display(), std::env::var("PATH").unwrap_or_default())
}
