//! The way back to Redis, without a herd and without anybody counting on less than was spent.
//!
//! A gateway that reaches Redis again first tells what it settled meanwhile and makes its open
//! reservations again. It goes on as in the outage until all of them have said that they did the
//! same, within a bound: until then a counter in Redis may lack what others served or hold.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Fleet, LEASE, RENEW_EVERY, State, Told, probes};
use crate::{
    limits::{LoadError, Settlement, Spendings},
    shared::{Roll, SharedError},
};

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
        // Nobody has counted in one that begins: others may serve shares of their own.
        self.identity.answered(&roll.epoch, roll.has_begun && self.standing.serves());
        Ok(roll)
    }

    /// Answers the roll in time; a Redis that lost its data is none to count on.
    pub(super) async fn answer_the_roll(&self) {
        match self.roll(true).await {
            Ok(_) if self.identity.has_lost() => self.went_away(&SharedError::Forgot),
            Ok(roll) if !self.standing.serves() => {
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
        if self.standing.state() == State::Away {
            probes::until(fastrand::Rng::new(), || self.has_caught_up(spendings)).await;
            self.standing.begin_return();
        }
        let told = match self.wait_for_others().await {
            Ok(told) => told,
            Err(error) => return self.went_away(&error),
        };
        if !self.standing.end_return() {
            return;
        }
        let (to_tell, expected) = (self.waiting(), self.gateways.load(Ordering::Acquire));
        tracing::info!(to_tell, told, expected, "limits: redis is back");
    }

    /// One probe: whether Redis is there and told.
    async fn has_caught_up(&self, spendings: &dyn Spendings) -> bool {
        if self.books.ping().await.is_err() {
            return false;
        }
        let caught_up = self.catch_up(spendings).await;
        if let Err(error) = &caught_up {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "limits: redis is not back yet");
        }
        caught_up.is_ok()
    }

    /// Tells Redis all that it does not know of what this gateway has settled.
    async fn catch_up(&self, spendings: &dyn Spendings) -> Result<(), NotBack> {
        let roll = self.roll(false).await?;
        if self.identity.has_lost() {
            let unbooked = spendings.unbooked_settlements().await.map_err(NotBack::Untold)?;
            for Settlement { customer, id, sequence, posts } in unbooked {
                let posts = posts.into();
                self.tell(Told::Settled { customer, id, sequence, posts });
            }
            self.identity.told_again(&roll.epoch);
        }
        self.tell_waiting().await?;
        Ok(())
    }

    /// Makes what is open again, and waits, within a bound, until as many gateways as there are
    /// have told everything. How many have.
    async fn wait_for_others(&self) -> Result<usize, SharedError> {
        let wait_ms_max = millis(if self.standing.serves() { LEASE } else { WAIT_MAX });
        // What has been opened since this gateway returns is told; this is what was before.
        self.renew().await?;
        self.tell_waiting().await?;
        let since = self.roll(true).await?.now;
        let (mut renewed, mut rolled) = (Instant::now(), Instant::now());
        loop {
            self.tell_waiting().await?;
            if rolled.elapsed() >= CALL_EVERY {
                let roll = self.roll(true).await?;
                rolled = Instant::now();
                if self.identity.has_lost() {
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
