//! Usage on its way to billing through a stream in Redis.
//!
//! One batch of this gateway is in the stream at a time, and the next one follows when billing has
//! committed it: so the batches of a journal are committed in its order, however many processes of
//! billing read the stream, and what is committed of it is always its beginning. Redis may lose
//! anything: what is not answered is added again from the journal, and billing books it once.

mod script;

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use permille_types::{
    Ack, Batch, ControlError, Intake, NodeId, StreamOutcome, StreamReply, WIRE_VERSION, answer_key,
};
use prometheus::IntCounter;
use redis::{
    Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use script::{Added, Look};

/// What is being done, in errors.
const OPERATION: &str = "hand usage over through redis";
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the answer to one command; above [`BLOCK`].
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long one command waits for billing's answer: after it one looks whether Redis has lost
/// anything.
const BLOCK: Duration = Duration::from_secs(1);
/// How long billing may take until the log says that it has not answered. The batch stays where it
/// is, and is waited for again.
const COMMIT_MAX: Duration = Duration::from_secs(20);
/// An entry that nobody has answered for so long is put at the end of the stream anew: no process
/// of billing has it any more, say because somebody has removed a consumer with what it held.
const STUCK_AFTER: Duration = Duration::from_mins(10);

/// Why usage cannot be handed over through Redis.
#[derive(Debug, thiserror::Error)]
pub enum UsageStreamError {
    /// The URL is not one.
    #[error("open redis for the usage stream: the url is not usable")]
    Url,
    /// The client cannot be built.
    #[error("open redis for the usage stream")]
    Client(#[source] RedisError),
    /// Nothing can be counted.
    #[error("count what the usage stream loses")]
    Counter(#[source] prometheus::Error),
}

/// Why a batch is not handed over, and will be tried again.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error("redis does not take or give anything")]
    Redis(#[source] RedisError),
    #[error("the usage stream holds {entries} batches, `usage_stream.batches_max` is {most}")]
    Full { entries: u64, most: u32 },
    #[error("billing has not committed it within {} s", COMMIT_MAX.as_secs())]
    Uncommitted,
    #[error("an answer that this build does not read")]
    Unreadable,
}

fn unavailable(cause: NotYet) -> ControlError {
    ControlError::Unavailable { operation: OPERATION, cause: Box::new(cause) }
}

/// A batch in the stream.
#[derive(Debug, Clone)]
struct Sent {
    node: NodeId,
    first: u64,
    last: u64,
    attempt: String,
    entry: String,
    since: Instant,
    /// Whether its answer is still to come.
    open: bool,
}

impl Sent {
    /// Whether it is the beginning of `batch`.
    fn begins(&self, batch: &Batch) -> bool {
        let ends = batch.events.first().zip(batch.events.last());
        self.node == batch.node
            && ends.is_some_and(|(first, last)| {
                self.first == first.sequence && self.last <= last.sequence
            })
    }
}

/// Billing behind a stream in Redis. Its commands may block: the connection is its own.
pub struct UsageStreamIntake {
    connection: ConnectionManager,
    batches_max: u32,
    /// The last batch that was added.
    sent: Mutex<Option<Sent>>,
    lost: IntCounter,
}

impl fmt::Debug for UsageStreamIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageStreamIntake")
            .field("batches_max", &self.batches_max)
            .finish_non_exhaustive()
    }
}

impl UsageStreamIntake {
    /// For a command: what [`Gateway::through_stream`](crate::Gateway::through_stream) makes for a
    /// gateway, without a gateway.
    ///
    /// # Errors
    /// [`UsageStreamError`] when the URL cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn alone(url: &SecretString, batches_max: u32) -> Result<Self, UsageStreamError> {
        let lost =
            IntCounter::new("lost", "What Redis lost.").map_err(UsageStreamError::Counter)?;
        Self::open(url, batches_max, lost)
    }

    /// The stream at `url`, to which nothing is added while it holds `batches_max` entries; `lost`
    /// counts those that Redis has lost. Connects with the first batch.
    pub(crate) fn open(
        url: &SecretString,
        batches_max: u32,
        lost: IntCounter,
    ) -> Result<Self, UsageStreamError> {
        let client = Client::open(url.expose_secret()).map_err(|_| UsageStreamError::Url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX))
            // Whoever ships tries again, less and less often.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(UsageStreamError::Client)?;
        Ok(Self { connection, batches_max, sent: Mutex::new(None), lost })
    }

    async fn hand_over(&self, batch: &Batch) -> Result<Ack, ControlError> {
        let mut sent = self.sent.lock().await;
        let began = Instant::now();
        loop {
            let waiting = sent.as_ref().filter(|sent| {
                sent.open && sent.begins(batch) && sent.since.elapsed() < STUCK_AFTER
            });
            let waiting = if let Some(waiting) = waiting {
                waiting.clone()
            } else {
                let added = self.add(batch, sent.as_ref()).await.map_err(unavailable)?;
                sent.insert(added).clone()
            };
            match self.answer(&waiting).await.map_err(unavailable)? {
                Look::Answered(reply) => {
                    *sent = Some(Sent { open: false, ..waiting.clone() });
                    return outcome(&reply, &waiting);
                }
                Look::Lost => {
                    self.lost.inc();
                    tracing::warn!(
                        first = waiting.first,
                        last = waiting.last,
                        "redis has lost usage on its way to billing: it is added again"
                    );
                    *sent = Some(Sent { open: false, ..waiting });
                }
                Look::Waits if began.elapsed() >= COMMIT_MAX => {
                    return Err(unavailable(NotYet::Uncommitted));
                }
                Look::Waits => {}
            }
        }
    }

    /// Adds a batch, in the place of what was added before.
    async fn add(&self, batch: &Batch, before: Option<&Sent>) -> Result<Sent, NotYet> {
        let ends = batch.events.first().zip(batch.events.last());
        let (first, last) = ends.map_or((0, 0), |(first, last)| (first.sequence, last.sequence));
        // Once for ever: of this node, and by chance.
        let attempt = format!("{}:{:032x}", batch.node, fastrand::u128(..));
        let before = before.map(|before| (before.attempt.as_str(), before.entry.as_str()));
        let body = batch.to_wire();
        let mut connection = self.connection.clone();
        let added = script::add(&mut connection, self.batches_max, before, &attempt, &body).await;
        match added.map_err(NotYet::Redis)? {
            Added::Entry(entry) => {
                let node = batch.node.clone();
                Ok(Sent { node, first, last, attempt, entry, since: Instant::now(), open: true })
            }
            Added::Full(entries) => Err(NotYet::Full { entries, most: self.batches_max }),
        }
    }

    /// Waits for the answer to an attempt, for a moment.
    async fn answer(&self, sent: &Sent) -> Result<Look, NotYet> {
        let mut connection = self.connection.clone();
        let answer = answer_key(&sent.attempt);
        script::wait(&mut connection, &answer, BLOCK).await.map_err(NotYet::Redis)?;
        let looked = script::look(&mut connection, &answer, &sent.attempt, &sent.entry).await;
        looked.map_err(NotYet::Redis)
    }
}

fn outcome(reply: &[u8], sent: &Sent) -> Result<Ack, ControlError> {
    let reply: StreamReply =
        serde_json::from_slice(reply).map_err(|_| unavailable(NotYet::Unreadable))?;
    if reply.version != WIRE_VERSION {
        return Err(unavailable(NotYet::Unreadable));
    }
    match reply.outcome {
        StreamOutcome::Committed { sequence, quarantined } => {
            Ok(Ack { sequence: sequence.min(sent.last), quarantined })
        }
        StreamOutcome::Refused { reason } => {
            Err(ControlError::Refused { operation: OPERATION, reason })
        }
    }
}

impl Intake for UsageStreamIntake {
    fn accept(&self, batch: Batch) -> BoxFuture<'_, Result<Ack, ControlError>> {
        Box::pin(async move { self.hand_over(&batch).await })
    }
}
