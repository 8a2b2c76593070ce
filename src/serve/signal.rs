//! What a server is told: SIGINT or SIGTERM asks for a graceful stop, a second one forces it;
//! SIGHUP has it read its configuration again.

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

/// The signal that has a server read its configuration again, instead of ending it.
#[derive(Debug)]
pub(super) struct Hangups(Signal);

impl Hangups {
    /// As [`Signals::take`].
    ///
    /// # Errors
    /// [`ServeError::Start`] when the system refuses.
    pub(super) fn take() -> Result<Self, ServeError> {
        Ok(Self(take(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

fn take(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(|cause| ServeError::start("signal handling", cause))
}
