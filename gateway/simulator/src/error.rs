//! What can go wrong with a simulator as a whole. A bad request is not among it: the client is told
//! in the provider's format (see [`crate::refusal`]).

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a simulator could not start, go on, or have its books read.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The listener could not be opened.
    #[error("listen on {address} for the simulated provider")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The books could not be opened or read.
    #[error("open the simulator's books `{}`", path.display())]
    Books {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A line of the books is not an entry.
    #[error("read line {line} of the simulator's books `{}`", path.display())]
    BookLine {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}
