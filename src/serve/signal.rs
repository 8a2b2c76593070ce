//! What ends a server: SIGINT or SIGTERM asks for a graceful stop, a second one forces it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServeError;

/// The signals that end this process.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over; from here on they no longer end the process by themselves.
    ///
    /// # Errors
    /// [`ServeError::Start`] when the system refuses.
    pub(crate) fn take() -> Result<Self, ServeError> {
        let take = |kind| signal(kind).map_err(|cause| ServeError::start("signal handling", cause));
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
