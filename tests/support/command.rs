//! A folder for one test, and `permille` commands that work on it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Server, Simulator};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_permille");

/// Every listener on a free port.
const LISTENERS: &str = "\
[gateway]
listen = \"127.0.0.1:0\"
[console]
listen = \"127.0.0.1:0\"
[metrics]
listen = \"127.0.0.1:0\"
";

/// A temporary folder with a configuration and a data folder.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    /// What its commands and servers run: [`PROGRAM`], unless a test says otherwise.
    pub program: PathBuf,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said beside it.
    pub stderr: String,
}

impl Folder {
    /// A folder whose configuration only names free ports.
    pub fn new() -> Self {
        Self::run_by(Path::new(PROGRAM))
    }

    /// The same, whose commands and servers another program runs.
    pub fn run_by(program: &Path) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap(), program: program.to_owned() };
        folder.config("");
        folder
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder, which a first command or server creates.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("permille.toml")
    }

    /// Writes a configuration: free ports, then `more`, which must not name the listeners'
    /// sections again.
    pub fn config(&self, more: &str) {
        self.config_exactly(&format!("{LISTENERS}{more}"));
    }

    /// Writes a configuration of exactly this text.
    pub fn config_exactly(&self, text: &str) {
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// Starts `permille serve` and waits until it is ready.
    pub async fn serve(&self) -> Server {
        Server::start(self, "serve", &[]).await
    }

    /// Starts a simulated provider whose books lie in this folder.
    pub async fn simulator(&self) -> Simulator {
        Simulator::start(&self.path().join("books.jsonl")).await
    }

    /// A `permille` command on this folder, not yet run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--config")
            .arg(self.config_file())
            .arg("--data")
            .arg(self.data())
            .current_dir(self.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            // Settings of the person who runs the tests are no part of them.
            if name.to_string_lossy().starts_with("PERMILLE_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// The same, of a process that gets an error where its files may not grow, and no signal.
    pub fn command_that_outgrows(&self, args: &[&str]) -> Command {
        let plain = self.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(plain.get_program());
        command.args(plain.get_args()).stdin(Stdio::null()).current_dir(self.path());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs a command to its end, whatever that is.
    pub fn run(&self, args: &[&str]) -> Finished {
        Finished::of(&mut self.command(args))
    }

    /// Runs a command that must succeed and gives its text.
    pub fn text(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout
    }

    /// Runs a command with `--json` that must succeed and gives its one document.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.text(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// Runs a command with `--json` that must succeed and gives its lines.
    pub fn lines(&self, args: &[&str]) -> Vec<Value> {
        let text = self.text(&[args, &["--json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Settled usage: `permille usage list` with these filters.
    pub fn usage(&self, filters: &[&str]) -> Vec<Value> {
        self.lines(&[&["usage", "list"], filters].concat())
    }

    /// Adds a customer and gives it a key; the answer is the key's secret.
    pub fn key(&self, customer: &str, currency: &str) -> String {
        self.json(&["customer", "add", customer, "--id", customer, "--currency", currency]);
        let key = self.json(&["key", "create", "--customer", customer]);
        key["secret"].as_str().unwrap().to_owned()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Finished {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Itself, if it exited with 0.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// What it said on standard error, if it exited with `code` and printed nothing.
    pub fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        self.stderr
    }
}
