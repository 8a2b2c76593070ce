//! What a simulator is started with. Not the faults: those come with each request (see
//! [`crate::control`]).

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// How fast replies are generated when a request does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the request to the first generated piece.
    pub first_token: Duration,
    /// Between two generated pieces. Zero means as fast as the client reads.
    pub per_chunk: Duration,
}

impl Pace {
    /// No waiting at all: for tests and load runs.
    pub const INSTANT: Self = Self { first_token: Duration::ZERO, per_chunk: Duration::ZERO };
}

/// What a simulator is started with.
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file of its books (JSON lines, appended to); absent: totals in memory only.
    pub books: Option<PathBuf>,
    /// The default pace of replies.
    pub pace: Pace,
    /// Replies are a function of this seed, the model and the messages.
    pub seed: u64,
    /// Credentials that are accepted; empty: any that is not blank.
    pub accepted_keys: Vec<String>,
    /// Shortest prompt prefix that the prompt cache serves, in tokens. The real OpenAI and
    /// Anthropic minimum is 1,024; 256 lets short demonstrations show it.
    pub cache_minimum_tokens: u64,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            books: None,
            pace: Pace::INSTANT,
            seed: 0,
            accepted_keys: Vec::new(),
            cache_minimum_tokens: 256,
        }
    }
}
