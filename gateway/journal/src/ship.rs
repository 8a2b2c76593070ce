//! Carries settled records to billing: at least once, in order, acknowledged after commit.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use permille_types::{Ack, ControlError, Intake};

use crate::{Journal, JournalError};

/// Most events of a batch: some 5 ms of work for the ledger's one transaction.
const BATCH_EVENTS_MAX: usize = 512;
/// Most payload bytes of a batch.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Pause after a batch that was not full, so that the next one gathers more than one event.
const GATHER: Duration = Duration::from_millis(10);
/// First pause after billing was unavailable; doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest pause: billing back after an outage is noticed within it.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Pause after billing refused a single event: a person must look at it.
const REFUSED_RETRY: Duration = Duration::from_mins(1);
/// How long [`ship_all`] waits for billing that does not answer: above the time in which a
/// restarted one is back.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the last hand-over may take when the gateway stops. What is left is shipped at the
/// next start.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Ships until `shutdown` resolves, then hands over once more what is there, within 5 s.
///
/// Nothing is ever dropped: while billing is unavailable the journal grows within its bound;
/// what billing refuses is kept, alarmed and tried again.
///
/// # Errors
/// [`JournalError`] when the journal has stopped or cannot be read back.
pub async fn ship(
    journal: Journal,
    intake: Arc<dyn Intake>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), JournalError> {
    let mut shipper = Shipper::new(journal, intake);
    tokio::pin!(shutdown);
    loop {
        let step = tokio::select! {
            biased;
            () = &mut shutdown => None,
            step = shipper.step() => Some(step?),
        };
        let Some(pause) = step else { break };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    shipper.flush().await
}

/// Why [`ship_all`] ended before everything was handed over. What is left stays in the journal.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The journal has stopped or cannot be read back.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Billing refuses an event, or has not answered for a minute.
    #[error("{left} events are not handed over and stay in the journal")]
    Left {
        /// How many.
        left: u64,
        /// What billing said last, if it was a refusal or no answer.
        #[source]
        cause: Option<ControlError>,
    },
}

/// Hands over all that the journal holds and then ends, for what another process has left behind.
/// `told` is called after each batch with the number of events that are still to go. Answers how
/// many of them billing has put in quarantine: they are handed over and not booked.
///
/// # Errors
/// [`ShipError::Left`] at an event that billing refuses, and when it has not answered for a
/// minute; [`ShipError::Journal`] when the journal has stopped.
pub async fn ship_all(
    journal: Journal,
    intake: Arc<dyn Intake>,
    mut told: impl FnMut(u64) + Send,
) -> Result<u64, ShipError> {
    journal.sync().await?;
    let mut shipper = Shipper::new(journal.clone(), intake);
    let mut answered = tokio::time::Instant::now();
    while journal.has_batch() {
        let before = journal.stats().acknowledged_sequence;
        let pause = shipper.step().await?;
        let stats = journal.stats();
        told(stats.lag_records);
        if stats.acknowledged_sequence > before {
            answered = tokio::time::Instant::now();
            continue;
        }
        if pause == REFUSED_RETRY || answered.elapsed() >= PATIENCE {
            return Err(ShipError::Left { left: stats.lag_records, cause: shipper.said.take() });
        }
        // A refusal is no overload: the one event that is meant is looked for at once.
        if !matches!(shipper.said, Some(ControlError::Refused { .. })) {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(shipper.quarantined)
}

struct Shipper {
    journal: Journal,
    intake: Arc<dyn Intake>,
    /// Halved while billing refuses, so that the one event it means is found.
    events_max: usize,
    retry: Duration,
    /// Why the last batch was not taken, if it was not.
    said: Option<ControlError>,
    /// Events that billing took and did not book.
    quarantined: u64,
}

impl Shipper {
    fn new(journal: Journal, intake: Arc<dyn Intake>) -> Self {
        Self {
            journal,
            intake,
            events_max: BATCH_EVENTS_MAX,
            retry: RETRY_MIN,
            said: None,
            quarantined: 0,
        }
    }

    /// Hands over one batch; how long to pause then. Cancelled halfway, it repeats itself. Boxed so
    /// that it is compiled with this crate, optimised, and not with the one that awaits it.
    fn step(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Result<Duration, JournalError>> + Send + '_>> {
        Box::pin(self.batch())
    }

    async fn batch(&mut self) -> Result<Duration, JournalError> {
        let batch = self.journal.next_batch(self.events_max, BATCH_BYTES_MAX).await?;
        let first = batch.events.first().map_or(0, |event| event.sequence);
        let last = batch.events.last().map_or(0, |event| event.sequence);
        let events = batch.events.len();
        match self.intake.accept(batch).await {
            Ok(ack) => {
                self.said = None;
                self.accepted(ack, (first, last), events)
            }
            Err(error) => {
                let pause = self.not_accepted(&error, first, events);
                self.said = Some(error);
                Ok(pause)
            }
        }
    }

    fn accepted(
        &mut self,
        Ack { sequence, quarantined }: Ack,
        (first, last): (u64, u64),
        events: usize,
    ) -> Result<Duration, JournalError> {
        self.quarantined = self.quarantined.saturating_add(quarantined);
        match self.journal.acknowledge(sequence.min(last)) {
            Ok(()) if sequence >= first => {
                self.retry = RETRY_MIN;
                let full = events >= self.events_max;
                self.events_max = BATCH_EVENTS_MAX;
                Ok(if full { Duration::ZERO } else { GATHER })
            }
            Ok(()) => {
                tracing::error!(first, acknowledged = sequence, "billing took nothing of a batch");
                Ok(self.back_off())
            }
            Err(error) => Err(error),
        }
    }

    fn not_accepted(&mut self, error: &ControlError, first: u64, events: usize) -> Duration {
        match error {
            ControlError::Unavailable { cause, .. } => {
                tracing::warn!(%error, %cause, "usage not handed over: will try again");
                self.back_off()
            }
            ControlError::Refused { .. } => {
                self.journal.note_refused();
                tracing::error!(%error, first, events, "billing refused usage: it is kept");
                if events > 1 {
                    self.events_max = events / 2;
                    self.back_off()
                } else {
                    REFUSED_RETRY
                }
            }
        }
    }

    fn back_off(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = self.retry.saturating_mul(2).min(RETRY_MAX);
        pause
    }

    /// Hands over what is there, within a bound; gives up at the first refusal.
    async fn flush(&mut self) -> Result<(), JournalError> {
        let everything = async {
            self.journal.sync().await?;
            while self.journal.has_batch() {
                let before = self.journal.stats().acknowledged_sequence;
                self.step().await?;
                if self.journal.stats().acknowledged_sequence == before {
                    break;
                }
            }
            Ok(())
        };
        if let Ok(done) = tokio::time::timeout(FLUSH_MAX, everything).await {
            return done;
        }
        let left = self.journal.stats().lag_records;
        tracing::warn!(left, "stopped with usage not handed over: shipped at next start");
        Ok(())
    }
}
