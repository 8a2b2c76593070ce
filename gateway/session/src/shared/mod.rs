//! Conversations that several gateways share, in Redis: one script, one round trip per request.
//!
//! Redis is never the truth and never in the way: what it does not tell in time, this gateway's own
//! memory does.

mod script;

use std::{
    collections::VecDeque,
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use permille_types::{CustomerId, RequestId, SessionId, TokenCount};
use redis::{
    Client, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use smallvec::SmallVec;
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{context::TokioContext, sync::CancellationToken};

use crate::{
    digest::{Digest, Key},
    node::{Place, Resent, Turn},
    sessions::{Origin, Placed},
    trail::{Answer, Search},
};
use script::{Frame, Unexpected};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// First and longest pause between two probes; each is a random part of it, so that the gateways of
/// a fleet do not come back in one instant.
const PROBE_MIN: Duration = Duration::from_millis(100);
const PROBE_MAX: Duration = Duration::from_secs(5);
/// How long a probe waits: whoever probes is in nobody's way.
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// Notes that wait for Redis: 20 seconds at 1,000 requests a second, in some 10 MiB at most. The
/// oldest make room: nobody goes on from a turn that is long past.
const WAITING_MAX: usize = 20_000;
/// Notes that are told at once, over one connection.
const AT_ONCE_MAX: usize = 64;
/// How long the last notes may take when the gateway stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Why conversations cannot be shared, or were not.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The URL is not one.
    #[error("open redis for conversations: the url is not usable")]
    Url,
    /// The server refused, or the connection broke.
    #[error("redis: {operation}")]
    Redis {
        /// What was asked.
        operation: &'static str,
        /// What it said.
        #[source]
        cause: RedisError,
    },
    /// No answer came in time.
    #[error("redis: {operation}: no answer within {wait_ms} ms")]
    Late {
        /// What was asked.
        operation: &'static str,
        /// The bound.
        wait_ms: u128,
    },
    /// The answer is not one of the script's.
    #[error("redis: {operation}: an answer that the script does not give")]
    Unexpected {
        /// What was asked.
        operation: &'static str,
    },
}

/// What is shared, and how.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// Where Redis listens.
    pub url: SecretString,
    /// How long one request may wait for it.
    pub wait: Duration,
    /// Turns that are remembered, at some 2,000 bytes each; the oldest make room.
    pub turns_max: u64,
}

/// Whose turns are counted, where its client names a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter(Digest);

impl Counter {
    /// That of a customer's conversation.
    #[must_use]
    pub fn of(key: &Key, customer: &CustomerId, session: &SessionId) -> Self {
        let scope = [customer.as_str(), session.as_str(), "turns"];
        Self(key.within(&scope).link([]))
    }
}

/// A request's place as all gateways together know it.
#[derive(Debug)]
pub struct Shared {
    /// Whether any request was found that it goes on from.
    pub(crate) is_found: bool,
    session: SessionId,
    turn: Turn,
    known: usize,
    tokens: Option<TokenCount>,
    again: Option<Resent>,
    number_again: Option<u32>,
    since: Instant,
}

impl Shared {
    /// Whether Redis cannot remember a request of `at`: it has lost its data since.
    pub(crate) fn lost(&self, at: Instant) -> bool {
        at < self.since
    }

    pub(crate) fn origin(self, search: &Search<'_>) -> Origin {
        let Self { session, turn, known, tokens, again, number_again, .. } = self;
        let resent = again.unwrap_or(Resent { bytes: search.bytes_of(known), tokens });
        Origin { session, turn, known, resent, again: number_again }
    }
}

/// What Redis is told off the path of a request.
#[derive(Debug)]
pub(crate) enum Note {
    /// What became of a request.
    Turn { id: RequestId, told: Box<Told> },
    /// A turn was given without Redis.
    Raise { counter: Counter, turn: u32 },
    /// The turn of a request was not made.
    Back { id: RequestId, counter: Counter, turn: u32 },
}

/// A request as its client was told of it, and what is known of its reply.
#[derive(Debug)]
pub(crate) struct Told {
    place: Place,
    found_by: SmallVec<[Digest; 2]>,
    opening: Option<Digest>,
    more: Vec<Digest>,
    tokens: Option<TokenCount>,
    failed: Option<Resent>,
    /// Its number in a named conversation.
    named: Option<u32>,
}

impl Told {
    /// A request that has its place.
    pub(crate) fn of(placed: &Placed) -> Self {
        Self {
            place: placed.place.clone(),
            found_by: placed.found_by.clone(),
            opening: None,
            more: Vec::new(),
            tokens: None,
            failed: None,
            named: placed.node.named.number(),
        }
    }

    pub(crate) fn failed(self, resent: Resent) -> Self {
        Self { failed: Some(resent), ..self }
    }

    pub(crate) fn replied(
        self,
        placed: &Placed,
        stored_as: Option<&str>,
        tokens: Option<TokenCount>,
        answer: Option<&Answer>,
    ) -> Self {
        let stored_as = stored_as.map(|id| placed.asker.response(id));
        let exchanges = answer.into_iter().flat_map(|answer| &answer.exchanges).copied();
        let more = stored_as.into_iter().chain(exchanges).collect();
        let opening = answer.map(|answer| placed.asker.scoped(answer.opening));
        Self { opening, more, tokens, ..self }
    }
}

/// How the shared conversations fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether Redis is away.
    pub away: bool,
    /// Requests that were placed by this gateway's own memory, because Redis was away.
    pub alone: u64,
    /// Turns that it has not been told.
    pub waiting: usize,
    /// Turns that it will never be told, for want of room.
    pub dropped: u64,
}

/// One gateway's side of the shared conversations.
pub(crate) struct Heads {
    connection: ConnectionManager,
    /// Who asks may run elsewhere; the connection lives here.
    runtime: Handle,
    wait: Duration,
    frame: Frame,
    away: AtomicBool,
    waiting: Mutex<VecDeque<Note>>,
    /// Notes that are under way.
    telling: AtomicUsize,
    more: Notify,
    alone: AtomicU64,
    dropped: AtomicU64,
    /// What Redis calls its data, and since when it does.
    epoch: Mutex<Option<(String, Instant)>>,
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl Heads {
    /// # Errors
    /// [`SharedError::Url`] when the URL cannot be used.
    pub(crate) fn open(sharing: &Sharing, idle: Duration) -> Result<Self, SharedError> {
        let Sharing { url, wait, turns_max } = sharing;
        let client = Client::open(url.expose_secret()).map_err(|_| SharedError::Url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(PROBE_WAIT))
            // Whoever asks goes on without; one probe at a time comes back.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|cause| SharedError::Redis { operation: "open", cause })?;
        Ok(Self {
            connection,
            runtime: Handle::current(),
            wait: *wait,
            frame: Frame { idle, turns_max: *turns_max },
            // Until it is connected.
            away: AtomicBool::new(true),
            waiting: Mutex::default(),
            telling: AtomicUsize::new(0),
            more: Notify::new(),
            alone: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            epoch: Mutex::default(),
        })
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            away: self.is_away(),
            alone: self.alone.load(Ordering::Relaxed),
            waiting: self.waiting.lock().len().saturating_add(self.telling.load(Ordering::Acquire)),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// The place of a request, and the turn of a named conversation; absent while Redis is away.
    /// The turn is absent too where nobody knows the one before.
    pub(crate) async fn place(
        &self,
        id: RequestId,
        search: &Search<'_>,
        fresh: &SessionId,
        counter: Option<&Counter>,
    ) -> Option<(Option<Shared>, Option<u32>)> {
        const OPERATION: &str = "place";
        let call = || script::place(self.frame, id, search, fresh.as_str(), counter);
        let texts = self.asked(OPERATION, call).await?;
        let read = || {
            let script::Answer { placed, turn } = script::answer(&texts)?;
            let shared = placed.map(|placed| self.shared(placed)).transpose()?;
            Ok((shared, turn))
        };
        self.expected(OPERATION, read())
    }

    /// The next turn of a named conversation whose last one is `base`, as far as is known; absent
    /// while Redis is away.
    pub(crate) async fn count(
        &self,
        id: RequestId,
        counter: &Counter,
        base: u32,
        is_sure: bool,
    ) -> Option<u32> {
        const OPERATION: &str = "count";
        let call = || script::count(self.frame, id, counter, base, is_sure);
        let texts = self.asked(OPERATION, call).await?;
        self.expected(OPERATION, script::counted(&texts))
    }

    fn expected<T>(&self, operation: &'static str, read: Result<T, Unexpected>) -> Option<T> {
        read.inspect_err(|Unexpected| self.went_away(&SharedError::Unexpected { operation })).ok()
    }

    fn shared(&self, placed: script::Placed) -> Result<Shared, Unexpected> {
        let script::Placed { epoch, is_found, session, turn, known, tokens, again, number_again } =
            placed;
        let session = session.parse().map_err(|_| Unexpected)?;
        let since = self.since(epoch);
        Ok(Shared { is_found, session, turn, known, tokens, again, number_again, since })
    }

    /// Tells Redis soon; whoever calls does not wait.
    pub(crate) fn tell(&self, note: Note) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                waiting.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            waiting.push_back(note);
        }
        self.more.notify_one();
    }

    /// Makes the connection, before any request waits for it. Whether Redis is there.
    pub(crate) async fn connect(&self) -> bool {
        let name = fastrand::u128(..).to_be_bytes();
        let hello = self.call("hello", &script::hello(self.frame, &name), PROBE_WAIT).await;
        let Ok(name) = hello.map_err(|_| Unexpected).and_then(|texts| script::named(&texts)) else {
            return false;
        };
        // Before any request is placed: what this gateway knows from before may be lost.
        self.since(name);
        self.away.store(false, Ordering::Release);
        tracing::info!(to_tell = self.waiting.lock().len(), "conversations: redis is there");
        true
    }

    /// Tells and comes back, until `stop`; then tells what is left, within a bound.
    pub(crate) async fn tend(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.is_away() {
                tokio::select! {
                    () = self.come_back() => {}
                    () = stop.cancelled() => break,
                }
            }
            self.tell_waiting().await;
            if self.is_away() {
                continue;
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        if !self.is_away() && tokio::time::timeout(FLUSH_MAX, self.tell_waiting()).await.is_err() {
            let left = self.waiting.lock().len();
            tracing::warn!(left, "conversations: redis was not told everything");
        }
    }

    /// Since when Redis has had the data that it has, as far as this gateway saw.
    fn since(&self, epoch: String) -> Instant {
        let mut known = self.epoch.lock();
        match &*known {
            Some((same, since)) if *same == epoch => *since,
            _ => known.insert((epoch, Instant::now())).1,
        }
    }

    /// Asks on the path of a request, which goes on without an answer after a bounded time.
    async fn asked(
        &self,
        operation: &'static str,
        call: impl FnOnce() -> ScriptInvocation<'static>,
    ) -> Option<Vec<String>> {
        if !self.is_away() {
            match self.call(operation, &call(), self.wait).await {
                Ok(answer) => return Some(answer),
                Err(error) => self.went_away(&error),
            }
        }
        self.alone.fetch_add(1, Ordering::Relaxed);
        None
    }

    async fn call(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
        wait: Duration,
    ) -> Result<Vec<String>, SharedError> {
        let mut connection = self.connection.clone();
        let asked = async { tokio::time::timeout(wait, call.invoke_async(&mut connection)).await };
        match TokioContext::new(asked, self.runtime.clone()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) => Err(SharedError::Redis { operation, cause }),
            Err(_) => Err(SharedError::Late { operation, wait_ms: wait.as_millis() }),
        }
    }

    /// Whoever finds Redis away says so once; from then on nobody waits for it.
    fn went_away(&self, error: &SharedError) {
        if !self.away.swap(true, Ordering::AcqRel) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "conversations: redis is away, each gateway has its own");
            self.more.notify_one();
        }
    }

    /// Probes until Redis answers. Only this task does, so that an outage costs one connection.
    async fn come_back(&self) {
        let mut pause = PROBE_MIN;
        loop {
            tokio::time::sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
            if self.connect().await {
                return;
            }
            pause = pause.saturating_mul(2).min(PROBE_MAX);
        }
    }

    /// Tells what waits, until there is nothing or Redis goes away.
    async fn tell_waiting(&self) {
        loop {
            let batch: Vec<Note> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(AT_ONCE_MAX);
                self.telling.store(count, Ordering::Release);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let told = join_all(batch.iter().map(async |note| {
                self.call("note", &script::note(self.frame, note), PROBE_WAIT).await
            }));
            let told = told.await;
            self.telling.store(0, Ordering::Release);
            let mut failed = VecDeque::new();
            for (note, result) in batch.into_iter().zip(told) {
                if let Err(error) = result {
                    self.went_away(&error);
                    failed.push_back(note);
                }
            }
            if !failed.is_empty() {
                let mut waiting = self.waiting.lock();
                failed.append(&mut waiting);
                *waiting = failed;
                return;
            }
        }
    }
}
