//! Usage that gateways hand over through a stream in Redis ([`permille_types::USAGE_STREAM`]).
//!
//! Each process of billing is a consumer of one group. It takes one batch at a time, commits it as
//! if it had come over HTTP, and only then answers its gateway and takes the entry away, in one
//! step. An entry that a process held when it died is taken over by another one once it has been
//! idle for a while, or by the same one at its next start. What comes twice is booked once.

mod metrics;
mod script;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use permille_types::{
    Batch, ControlError, ENTRY_ATTEMPT, ENTRY_BATCH, Intake as _, NodeId, StreamOutcome,
};
use redis::{
    Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::billing::Billing;
use metrics::EntryOutcome;
pub(crate) use metrics::UsageStreamMetrics;
use script::Entry;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the answer to one command; above [`BLOCK`].
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long one read waits for an entry: a stop takes no longer than this.
const BLOCK: Duration = Duration::from_millis(500);
/// First pause after a failure; doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a store or a Redis that is back is noticed within it.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long an entry that cannot be committed keeps others from being taken: a store that is away
/// fails for all of them alike, but what is wrong with one batch is wrong each time.
const HELD_MAX: Duration = Duration::from_secs(5);
/// Between two looks at how long the stream is.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// What a process of billing reads of the stream, and as who.
#[derive(Debug, Clone)]
pub struct UsageStreamSettings {
    /// Where Redis listens.
    pub url: SecretString,
    /// Its name among the consumers: it must be the same after a restart and no one else's.
    pub consumer: NodeId,
    /// How long an entry may be in the hands of a process before another one takes it.
    pub reclaim: Duration,
}

/// Why the stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageStreamError {
    /// The URL is not one.
    #[error("open redis for the usage stream: the url is not usable")]
    Url,
    /// The client cannot be built.
    #[error("open redis for the usage stream")]
    Client(#[source] RedisError),
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("redis does not take or give anything")]
    Redis(#[source] RedisError),
    #[error("the batch cannot be committed")]
    Ledger(#[source] ControlError),
    #[error("what is no batch cannot be put into quarantine")]
    Quarantine(#[source] permille_ledger::LedgerError),
}

/// A process of billing as a consumer of the stream. Its commands block: the connection is its own.
pub struct UsageStreamReader {
    billing: Billing,
    connection: ConnectionManager,
    consumer: NodeId,
    reclaim: Duration,
}

/// Where a reader is.
struct Place {
    /// Whether the group is there.
    joined: bool,
    /// From when on to look for entries that are in our hands from before; absent while there are
    /// none.
    own_at: Option<Instant>,
    /// What is in our hands and was not committed, and since when: nothing else is taken for
    /// [`HELD_MAX`].
    held: Option<(Entry, Instant)>,
    reclaim_at: Instant,
    measure_at: Instant,
}

impl UsageStreamReader {
    /// A reader that books into `billing`. Connects with its first step.
    ///
    /// # Errors
    /// [`UsageStreamError`] when the URL cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn open(
        billing: &Billing,
        settings: UsageStreamSettings,
    ) -> Result<Self, UsageStreamError> {
        let UsageStreamSettings { url, consumer, reclaim } = settings;
        let client = Client::open(url.expose_secret()).map_err(|_| UsageStreamError::Url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX))
            // The reader's own loop tries again, less and less often.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(UsageStreamError::Client)?;
        Ok(Self { billing: billing.clone(), connection, consumer, reclaim })
    }

    /// Takes batches in until `stop`. A step is never broken off: what Redis has given us, we
    /// commit.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop.fuse());
        let now = Instant::now();
        let own_at = Some(now);
        let mut place =
            Place { joined: false, own_at, held: None, reclaim_at: now, measure_at: now };
        let mut retry = RETRY_MIN;
        let mut told = false;
        loop {
            let pause = match self.step(&mut place).await {
                Ok(()) => {
                    retry = RETRY_MIN;
                    told = false;
                    Duration::ZERO
                }
                Err(error) => {
                    // A Redis that was emptied knows no group.
                    place.joined = false;
                    // Once an outage, not once a step.
                    if !std::mem::replace(&mut told, true) {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(error, "no usage is taken from the stream: tried again");
                    }
                    let pause = retry;
                    retry = retry.saturating_mul(2).min(RETRY_MAX);
                    pause
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn step(&mut self, place: &mut Place) -> Result<(), Obstacle> {
        let stepped = self.take(place).await;
        let away = matches!(stepped, Err(Obstacle::Redis(_)));
        self.billing.metrics.stream.away(away);
        stepped
    }

    /// Takes one entry in, or waits for one for a moment.
    async fn take(&mut self, place: &mut Place) -> Result<(), Obstacle> {
        if place.measure_at <= Instant::now() {
            let measured = script::measure(&mut self.connection).await;
            self.billing.metrics.stream.measured(measured.map_err(Obstacle::Redis)?);
            place.measure_at = Instant::now() + MEASURE_EVERY;
        }
        if place.held.is_none() {
            let next = self.next(place).await.map_err(|error| {
                // What it gave us and we did not get is in our hands.
                place.own_at = Some(Instant::now());
                Obstacle::Redis(error)
            })?;
            place.held = next.map(|entry| (entry, Instant::now()));
        }
        let Some((entry, since)) = &place.held else { return Ok(()) };
        let settled = self.settle(entry).await;
        if settled.is_ok() {
            place.held = None;
        } else if since.elapsed() >= HELD_MAX && !matches!(settled, Err(Obstacle::Redis(_))) {
            // Without Redis there are no others to take: what is committed is answered first.
            tracing::error!(entry = entry.id, "let go of usage that cannot be committed now");
            place.held = None;
            // Others first. It stays in our hands, and whoever is there tries it again.
            let later = Instant::now() + self.reclaim;
            (place.own_at, place.reclaim_at) = (Some(later), later);
        }
        settled
    }

    /// What was ours before, else what another one has had for too long, else what is new.
    async fn next(&mut self, place: &mut Place) -> Result<Option<Entry>, RedisError> {
        let connection = &mut self.connection;
        if !place.joined {
            script::join(connection).await?;
            place.joined = true;
        }
        if place.own_at.is_some_and(|at| at <= Instant::now()) {
            let own = script::own(connection, &self.consumer).await?;
            if own.is_some() {
                return Ok(own);
            }
            place.own_at = None;
        }
        if place.reclaim_at <= Instant::now() {
            let claimed = script::claim(connection, &self.consumer, self.reclaim).await?;
            if let Some(entry) = claimed {
                self.billing.metrics.stream.took(EntryOutcome::Reclaimed);
                tracing::warn!(entry = entry.id, "took over usage that another process held");
                return Ok(Some(entry));
            }
            place.reclaim_at = Instant::now() + self.reclaim / 4;
        }
        script::read(connection, &self.consumer, BLOCK).await
    }

    /// Commits an entry, answers its gateway and takes it out of the stream.
    async fn settle(&mut self, entry: &Entry) -> Result<(), Obstacle> {
        let read = entry.fields.get(ENTRY_BATCH).cloned().map(Batch::from_wire);
        let attempt = entry.fields.get(ENTRY_ATTEMPT).and_then(|name| str::from_utf8(name).ok());
        let (Some(attempt), Some(read)) = (attempt, read) else {
            return self.set_aside(entry).await;
        };
        let outcome = match read {
            // Its gateway keeps what we cannot read, and says so.
            Err(cause) => StreamOutcome::Refused { reason: cause.to_string() },
            Ok(batch) => match self.billing.accept(batch).await {
                Ok(ack) => StreamOutcome::Committed {
                    sequence: ack.sequence,
                    quarantined: ack.quarantined,
                },
                Err(ControlError::Refused { reason, .. }) => StreamOutcome::Refused { reason },
                Err(cause @ ControlError::Unavailable { .. }) => {
                    return Err(Obstacle::Ledger(cause));
                }
            },
        };
        let took = match &outcome {
            StreamOutcome::Committed { .. } => EntryOutcome::Committed,
            StreamOutcome::Refused { reason } => {
                tracing::error!(attempt, reason, "refused a batch of the usage stream");
                EntryOutcome::Refused
            }
        };
        let answered = script::done(&mut self.connection, &entry.id, attempt, outcome).await;
        answered.map_err(Obstacle::Redis)?;
        // Once a batch: an answer that does not arrive is given again.
        self.billing.metrics.stream.took(took);
        Ok(())
    }

    /// Quarantines what is no batch and for which nobody waits.
    async fn set_aside(&mut self, entry: &Entry) -> Result<(), Obstacle> {
        // In one order, so that the same entry is the same payload.
        let fields: BTreeMap<_, _> = entry.fields.iter().map(text).collect();
        let payload = format!("{}: {fields:?}", entry.id);
        let set_aside = self.billing.set_aside(payload.as_bytes()).await;
        set_aside.map_err(Obstacle::Quarantine)?;
        self.billing.metrics.stream.took(EntryOutcome::Unreadable);
        tracing::error!(entry = entry.id, "an entry of the usage stream is no batch");
        script::remove(&mut self.connection, &entry.id).await.map_err(Obstacle::Redis)
    }
}

fn text<'a>((name, value): (&'a String, &'a Bytes)) -> (&'a str, String) {
    (name, String::from_utf8_lossy(value).into_owned())
}
