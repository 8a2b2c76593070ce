//! The simulated provider as a process of its own: how `serve` starts it and how it ends.
//!
//! It is a separate process because a meter must not verify itself: nothing is shared but HTTP.
//! It reads its standard input and ends with it, so that it dies with its parent on `kill -9` too.

use std::{io, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

use super::ServeError;

/// How long the child may take to listen: it loads a tokenizer and its books first.
const START_SECONDS_MAX: u64 = 30;

/// The one line that the child writes to its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// Where it listens.
    pub(crate) listening: SocketAddr,
}

/// A running simulated provider. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct SimulatedProvider {
    child: Child,
    /// Open as long as we live. Not in `child`, whose `wait` would close it.
    alive: Option<ChildStdin>,
    address: SocketAddr,
}

impl SimulatedProvider {
    /// Starts it with its books in `books` and waits until it listens.
    ///
    /// # Errors
    /// [`ServeError`] when it cannot start or gives no address.
    pub(crate) async fn start(books: &Path) -> Result<Self, ServeError> {
        let part = "the simulated provider";
        let failed = |cause: io::Error| ServeError::start(part, cause);
        if let Some(folder) = books.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["simulator", "--listen", "127.0.0.1:0", "--books"])
            .arg(books)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C in the terminal is for the parent, which ends the child when it is done.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let Some(stdout) = child.stdout.take() else { return Err(ServeError::Ended { part }) };
        let mut lines = BufReader::new(stdout).lines();
        let limit = Duration::from_secs(START_SECONDS_MAX);
        let line = tokio::time::timeout(limit, lines.next_line())
            .await
            .map_err(|_| ServeError::SimulatorSilent { seconds: START_SECONDS_MAX })?
            .map_err(failed)?
            .ok_or(ServeError::Ended { part })?;
        let announced: Announcement =
            serde_json::from_str(&line).map_err(|cause| ServeError::start(part, cause))?;
        let alive = child.stdin.take();
        Ok(Self { child, alive, address: announced.listening })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended by itself, which it never should.
    pub(crate) async fn ended(&mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "the simulated provider cannot be watched");
            std::future::pending::<()>().await;
        }
    }

    /// Ends it, letting it write its books.
    pub(crate) async fn stop(mut self) {
        drop(self.alive.take());
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "the simulated provider did not end");
        }
    }
}

/// Waits until standard input ends.
pub(crate) async fn input_ended() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    // A thread of its own: a blocked read must not hold up the end of the runtime.
    std::thread::spawn(move || {
        let copied = io::copy(&mut io::stdin().lock(), &mut io::sink());
        if let Err(error) = copied {
            tracing::warn!(%error, "standard input cannot be read");
        }
        // Nobody waits any more when a signal came first.
        ended.send(()).unwrap_or_default();
    });
    wait.await.unwrap_or_default();
}
