//! Carries settled records to billing: at least once, in order, acknowledged after commit.

use std::{future::Future, sync::Arc, time::Duration};

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
    let mut shipper = Shipper { journal, intake, events_max: BATCH_EVENTS_MAX, retry: RETRY_MIN };
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

struct Shipper {
    journal: Journal,
    intake: Arc<dyn Intake>,
    /// Halved while billing refuses, so that the one event it means is found.
    events_max: usize,
    retry: Duration,
}

impl Shipper {
    /// Hands over one batch; how long to pause then. Cancelled halfway, it repeats itself.
    async fn step(&mut self) -> Result<Duration, JournalError> {
        let batch = self.journal.next_batch(self.events_max, BATCH_BYTES_MAX).await?;
        let first = batch.events.first().map_or(0, |event| event.sequence);
        let last = batch.events.last().map_or(0, |event| event.sequence);
        let events = batch.events.len();
        match self.intake.accept(batch).await {
            Ok(ack) => self.accepted(ack, (first, last), events),
            Err(error) => Ok(self.not_accepted(&error, first, events)),
        }
    }

    fn accepted(
        &mut self,
        Ack { sequence }: Ack,
        (first, last): (u64, u64),
        events: usize,
    ) -> Result<Duration, JournalError> {
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
