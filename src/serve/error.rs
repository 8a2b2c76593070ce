//! Why a server could not start or did not end well.

use std::{io, net::SocketAddr};

/// Why a server could not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// A listener's address cannot be taken.
    #[error(
        "`{section}.listen`: cannot listen on {address}, give another address or port 0 for a \
         free one"
    )]
    Listen {
        /// The section that names the address.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// The cause: in use, not ours, not allowed.
        #[source]
        cause: io::Error,
    },
    /// A part of the server cannot start.
    #[error("start {part}")]
    Start {
        /// Which part.
        part: &'static str,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of the server did not end well.
    #[error("stop {part}")]
    Stop {
        /// Which part.
        part: &'static str,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The simulated provider's process gave no address.
    #[error("the simulated provider gave no address within {seconds} s")]
    SimulatorSilent {
        /// The limit.
        seconds: u64,
    },
    /// A part that must run as long as the server has ended.
    #[error("{part} ended while the server was running")]
    Ended {
        /// Which part.
        part: &'static str,
    },
    /// What another node left behind cannot be handed over.
    #[error("hand over the journal")]
    HandOver(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The half that runs alone lacks a setting.
    #[error("{0}")]
    Setting(String),
}

impl ServeError {
    /// A part that cannot start, and why.
    pub(crate) fn start(
        part: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Start { part, cause: cause.into() }
    }
}
