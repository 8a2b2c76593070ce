//! The way back to Redis, without a herd and without anybody counting on less than was spent.
//!
//! A gateway that reaches Redis again first tells what it settled meanwhile and makes its open
//! reservations again. It goes on as in the outage until all of them have said that they did the
//! same, within a bound: until then a counter in Redis may lack what others served or hold.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Fleet, LEASE, RENEW_EVERY, State, Told};
use crate::{
    limits::{LoadError, Settlement, Spendings},
    shared::{Roll, SharedError},
};

/// First and longest pause between two probes; each is a random part of it, so that the gateways of
/// a fleet do not come back in one instant.
const PROBE_MIN: Duration = Duration::from_millis(200);
const PROBE_MAX: Duration = Duration::from_secs(5);
/// How often the roll is called while others are waited for.
const CALL_EVERY: Duration = Duration::from_millis(200);
/// How long others are waited for where nothing is served meanwhile: twice the longest pause, so
/// that one that was killed in the outage does not stop the others for long. Where shares are
/// served it is a lease: what was held before the outage has ended or is told by then.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Gateways that answered the roll so lately are there: ten answers, for a busy machine is late
/// with some.
const LATELY: Duration = Duration::from_secs(10);
/// A gateway that was silent for so long is none.
const FORGET: Duration = Duration::from_hours(1);

/// Why a gateway is not back yet.
#[derive(Debug, thiserror::Error)]
enum NotBack {
    #[error(transparent)]
    Redis(#[from] SharedError),
    #[error("read what billing does not have")]
    Untold(#[source] LoadError),
}

impl Fleet {
    /// Answers the roll: whether Redis is the one it was.
    async fn roll(&self, told: bool) -> Result<Roll, SharedError> {
        let roll = self.books.roll(&self.node, told, FORGET).await?;
        let mut epoch = self.epoch.lock();
        let is_other = match &*epoch {
            Some(known) => *known != roll.epoch,
            // Nobody has counted in it: others may serve shares of their own.
            None => roll.has_begun && self.spare.is_some(),
        };
        *epoch = Some(roll.epoch.clone());
        if is_other {
            self.lost.store(true, Ordering::Release);
        }
        Ok(roll)
    }

    /// Answers the roll in time; a Redis that lost its data is none to count on.
    pub(super) async fn answer_the_roll(&self) {
        match self.roll(true).await {
            Ok(_) if self.lost.load(Ordering::Acquire) => self.went_away(&SharedError::Forgot),
            Ok(roll) if self.spare.is_none() => {
                let there = roll.told_since(roll.now.saturating_sub(millis(LATELY)));
                self.gateways.store(there, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => self.went_away(&error),
        }
    }

    /// Whether Redis is the one it was, before counters are loaded that it does not have.
    pub(crate) async fn is_whole(&self) -> bool {
        self.answer_the_roll().await;
        !self.is_away()
    }

    /// Probes until Redis counts again. Only this task does, so that an outage costs one
    /// connection. Cancelled, it goes on from where it was.
    pub(super) async fn come_back(&self, spendings: &dyn Spendings) {
        let mut pause = PROBE_MIN;
        while self.state() == State::Away {
            tokio::time::sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
            pause = pause.saturating_mul(2).min(PROBE_MAX);
            if self.books.ping().await.is_err() {
                continue;
            }
            match self.catch_up(spendings).await {
                Ok(()) => self.state.store(State::Returning as u8, Ordering::Release),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "limits: redis is not back yet");
                }
            }
        }
        let told = match self.wait_for_others().await {
            Ok(told) => told,
            Err(error) => return self.went_away(&error),
        };
        self.state.store(State::Shared as u8, Ordering::Release);
        if let Some(spare) = &self.spare {
            // What was served meanwhile is told; the next outage starts from the ledger.
            spare.clear();
        }
        let (to_tell, expected) = (self.waiting(), self.gateways.load(Ordering::Acquire));
        tracing::info!(to_tell, told, expected, "limits: redis is back");
    }

    /// Tells Redis all that it does not know of this gateway.
    async fn catch_up(&self, spendings: &dyn Spendings) -> Result<(), NotBack> {
        self.roll(false).await?;
        if self.lost.load(Ordering::Acquire) {
            let unbooked = spendings.unbooked_settlements().await.map_err(NotBack::Untold)?;
            for Settlement { customer, id, sequence, posts } in unbooked {
                let posts = posts.into();
                self.enqueue(Told::Settled { customer, id, sequence, posts });
            }
            self.lost.store(false, Ordering::Release);
        }
        self.tell_waiting().await?;
        self.renew().await?;
        Ok(())
    }

    /// Waits, within a bound, until as many gateways as there are have told everything. How many
    /// have.
    async fn wait_for_others(&self) -> Result<usize, SharedError> {
        let wait_ms_max = millis(if self.spare.is_some() { LEASE } else { WAIT_MAX });
        let since = self.roll(true).await?.now;
        let (mut renewed, mut rolled) = (Instant::now(), Instant::now());
        loop {
            self.tell_waiting().await?;
            if rolled.elapsed() >= CALL_EVERY {
                let roll = self.roll(true).await?;
                rolled = Instant::now();
                if self.lost.load(Ordering::Acquire) {
                    return Err(SharedError::Forgot);
                }
                let told = roll.told_since(since);
                let all = self.gateways.load(Ordering::Acquire);
                if told >= all || roll.now.saturating_sub(since) >= wait_ms_max {
                    return Ok(told);
                }
            }
            if renewed.elapsed() >= RENEW_EVERY {
                self.renew().await?;
                renewed = Instant::now();
            }
            tokio::select! {
                () = self.more.notified() => {}
                () = tokio::time::sleep(CALL_EVERY) => {}
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
