//! A part of a server: a task that runs until it is told to stop.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ServeError;

/// A running part.
#[derive(Debug)]
pub(super) struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Part {
    /// Starts what `run` makes of its stop token.
    pub(super) fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        Self { name, stop, task }
    }

    /// Waits until it has ended by itself, which it never should.
    pub(super) async fn failed(&mut self) -> ServeError {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(part = self.name, %error, "a part of the server broke");
        }
        ServeError::Ended { part: self.name }
    }

    /// Tells it to stop and waits until it has.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        if self.task.is_finished() {
            return;
        }
        if let Err(error) = (&mut self.task).await {
            tracing::error!(part = self.name, %error, "a part of the server broke");
        }
    }
}
