//! What all connections of one simulator share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

use crate::{
    books::Books,
    cache::PromptCache,
    config::SimulatorConfig,
    error::SimulatorError,
    prompt::{CountMemo, Digest},
    recent::Recent,
};

/// The shared state of one simulator.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) config: SimulatorConfig,
    pub(crate) books: Books,
    pub(crate) cache: PromptCache,
    pub(crate) memo: CountMemo,
    pub(crate) counters: Counters,
    /// How often requests with the same input failed because they asked for it.
    failures: Mutex<Recent<Digest, u64>>,
    /// The server is shutting down: replies that end now were not left by their client.
    pub(crate) stopping: AtomicBool,
}

/// Inputs whose failures are remembered; retries come soon after each other.
const FAILURES_MAX: usize = 4_096;

/// Live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_open: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) streams_open: AtomicU64,
}

/// Counters of a running simulator, as `GET /simulator/stats` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Connections accepted since the start.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests since the start, those to `/simulator/…` not among them.
    pub requests: u64,
    /// Streamed replies that are not over.
    pub streams_open: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        Stats {
            connections: self.connections.load(Ordering::Relaxed),
            connections_open: self.connections_open.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            streams_open: self.streams_open.load(Ordering::Relaxed),
        }
    }
}

impl Provider {
    pub(crate) fn open(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        Ok(Self {
            books: Books::open(config.books.as_deref())?,
            cache: PromptCache::new(config.cache_minimum_tokens),
            memo: CountMemo::new(),
            counters: Counters::default(),
            failures: Mutex::new(Recent::new(FAILURES_MAX)),
            stopping: AtomicBool::new(false),
            config,
        })
    }

    /// The current time. A provider of its own process has a clock of its own.
    #[expect(clippy::disallowed_methods, reason = "stands for another company's clock")]
    #[expect(clippy::unused_self, reason = "the clock belongs to the provider")]
    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    /// A new id that begins with `prefix`; never repeats, also not after a restart.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let time = Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos());
        format!("{prefix}{}", Uuid::new_v7(time).simple())
    }

    /// How often a request with this input was failed before; counts this time too.
    pub(crate) fn failed_before(&self, input: Digest) -> u64 {
        let mut failures = self.failures.lock();
        let before = failures.get(input).unwrap_or(0);
        failures.insert(input, before.saturating_add(1));
        before
    }

    /// Whether `credential` may use this provider.
    pub(crate) fn accepts(&self, credential: &str) -> bool {
        let keys = &self.config.accepted_keys;
        !credential.is_empty() && (keys.is_empty() || keys.iter().any(|key| key == credential))
    }
}

/// Counts something as open for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenCount {
    provider: Arc<Provider>,
    which: fn(&Counters) -> &AtomicU64,
}

impl OpenCount {
    pub(crate) fn new(provider: Arc<Provider>, which: fn(&Counters) -> &AtomicU64) -> Self {
        which(&provider.counters).fetch_add(1, Ordering::Relaxed);
        Self { provider, which }
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        (self.which)(&self.provider.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
