//! The child processes of a run: started under a guard, awaited, ended.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{error::BenchError, server::Announcement};

/// How long a child may take until it serves. `permille billing` makes its database first.
const READY_SECONDS_MAX: u64 = 20;
/// How long it may take to end by itself.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two looks at a child that is not ready yet.
const LOOK: Duration = Duration::from_millis(20);
/// Most that an error quotes of what a child said, in characters.
const SAID_MAX: usize = 2_000;

/// Every child that runs beside the bench.
#[derive(Debug)]
pub(crate) struct Fleet {
    logs: PathBuf,
    members: Vec<Member>,
}

/// One child.
#[derive(Debug)]
pub(crate) struct Member {
    name: &'static str,
    child: Child,
    pid: u32,
    /// Its standard output.
    printed: PathBuf,
    /// Its standard error.
    log: PathBuf,
}

/// A command that ends with the bench, without the settings of the person who runs it.
///
/// # Errors
/// When the bench does not find itself.
pub(crate) fn guarded(program: &Path) -> Result<Command, BenchError> {
    let mut command = Command::new(this_program()?);
    command.args(["guard", "--parent", &std::process::id().to_string(), "--"]).arg(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERMILLE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// The bench itself: mock provider, bare proxy and load client are its subcommands, so that they
/// are always of the same build.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn this_program() -> Result<PathBuf, BenchError> {
    std::env::current_exe().map_err(BenchError::during("find the bench's own program"))
}

impl Fleet {
    /// No children yet; what they say goes to files in `logs`.
    pub(crate) fn new(logs: &Path) -> Self {
        Self { logs: logs.to_owned(), members: Vec::new() }
    }

    /// Starts a child.
    ///
    /// # Errors
    /// [`BenchError::System`] when it cannot start.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        mut command: Command,
    ) -> Result<&mut Member, BenchError> {
        let place = |ending: &str| self.logs.join(format!("{}.{ending}", name.replace(' ', "-")));
        let (printed, log) = (place("out"), place("log"));
        let child = command
            .stdout(create(&printed)?)
            .stderr(create(&log)?)
            .spawn()
            .map_err(BenchError::during(format!("start {name}")))?;
        // A child that was never awaited has a process id.
        let pid = child.id().unwrap_or_default();
        Ok(self.members.push_mut(Member { name, child, pid, printed, log }))
    }

    /// Ends every child, the last one first, and waits until they are gone. Each may end well
    /// first: a build that notes which code it runs writes that down then.
    pub(crate) async fn end(mut self) {
        while let Some(mut member) = self.members.pop() {
            member.terminate();
            if tokio::time::timeout(END_TIME_MAX, member.child.wait()).await.is_ok() {
                continue;
            }
            match member.child.kill().await {
                Ok(()) => eprintln!("{}: killed after {END_TIME_MAX:?}", member.name),
                Err(cause) => eprintln!("end {}: {cause}", member.name),
            }
        }
    }
}

impl Member {
    /// SIGTERM; a child that has ended already needs none.
    fn terminate(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(Err(cause)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            eprintln!("end {}: {cause}", self.name);
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the line that says where it listens.
    ///
    /// # Errors
    /// [`BenchError`] when it ends or says nothing in time.
    pub(crate) async fn announced(&mut self) -> Result<Announcement, BenchError> {
        let printed = self.printed.clone();
        let look = async || {
            let text = std::fs::read_to_string(&printed).ok()?;
            serde_json::from_str(text.lines().next()?).ok()
        };
        self.until(look).await
    }

    /// Looks again and again until `look` finds something.
    ///
    /// # Errors
    /// [`BenchError`] when the child ends or nothing is found in time.
    pub(crate) async fn until<T>(
        &mut self,
        look: impl AsyncFn() -> Option<T>,
    ) -> Result<T, BenchError> {
        let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
        while Instant::now() < deadline {
            let ended = self.child.try_wait();
            let ended = ended.map_err(BenchError::during(format!("look at {}", self.name)))?;
            if let Some(status) = ended {
                let (name, status) = (self.name, status.to_string());
                return Err(BenchError::Ended { name, status, said: self.said() });
            }
            if let Some(found) = look().await {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(self.not_ready())
    }

    fn not_ready(&self) -> BenchError {
        BenchError::NotReady { name: self.name, seconds: READY_SECONDS_MAX, said: self.said() }
    }

    fn said(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

fn create(path: &Path) -> Result<File, BenchError> {
    File::create(path).map_err(BenchError::during(format!("create `{}`", path.display())))
}

/// The end of a text: the reason for a failure stands there.
pub(crate) fn tail(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SAID_MAX);
    if text.is_empty() { "nothing".to_owned() } else { text.chars().skip(skipped).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_the_end_of_a_long_log() {
        let long = format!("{}the reason\n", "x".repeat(SAID_MAX * 2));

        assert!(tail(&long).ends_with("the reason"));
        assert_eq!(tail(&long).chars().count(), SAID_MAX);
        assert_eq!(tail(" \n"), "nothing");
    }
}
