//! What an open request holds of its limits, and how that grows while its reply does.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use permille_limits::{Extended, Kind, Line, Post, Reservation};
use permille_types::SpendAccount;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::worst::Worst;

/// Bytes of text that are taken for one token while a reply comes: a little less than English has,
/// a little more than Chinese. What it comes to is counted when it settles.
const TOKEN_BYTES: u64 = 3;
/// Least and most tokens of one extension: each costs a step.
const STEP_MIN: u64 = 256;
const STEP_MAX: u64 = 4_096;
/// After so long more is asked for again where nobody could say whether there is: an outage ends,
/// and each reply in it costs a step a second at most.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// See the module's text.
pub(crate) struct Reserved {
    reservation: Reservation,
    /// The limits of money.
    money: Vec<Line>,
    nano_per_thousand: u64,
    is_bounded: bool,
    growth: Arc<Mutex<Growth>>,
}

/// What is known of extensions; they go on beside the reply.
#[derive(Debug)]
struct Growth {
    /// Tokens of output that are reserved.
    output: u64,
    /// Money that is reserved.
    nano: u64,
    next: Next,
}

/// When more is reserved.
#[derive(Debug)]
enum Next {
    /// As soon as the reply outgrows what is reserved.
    Free,
    /// It is being asked for.
    UnderWay,
    /// As soon as it does, and not before: nobody could say whether there is more.
    NotBefore(Instant),
    /// Not any more: this budget has no room for it.
    Full(Option<Arc<SpendAccount>>),
}

impl Growth {
    /// Begins to reserve more where a reply of so many tokens has outgrown what is reserved: how
    /// many more tokens that is.
    fn begin(&mut self, tokens: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        let outgrown_by = tokens.checked_sub(self.output).filter(|more| *more > 0)?;
        let may = match self.next {
            Next::Free => true,
            Next::NotBefore(at) => now() >= at,
            Next::UnderWay | Next::Full(_) => false,
        };
        may.then(|| {
            self.next = Next::UnderWay;
            self.output.clamp(STEP_MIN, STEP_MAX).max(outgrown_by)
        })
    }

    /// Takes note of what became of `more` tokens that cost `nano`, each of the lines being of one
    /// of `accounts`.
    fn answered(
        &mut self,
        extended: Extended,
        (more, nano): (u64, u64),
        accounts: &[Option<Arc<SpendAccount>>],
        now: Instant,
    ) {
        self.next = match extended {
            Extended::Granted => {
                self.output = self.output.saturating_add(more);
                self.nano = self.nano.saturating_add(nano);
                Next::Free
            }
            // What goes on beyond is an overage, and carried, where the policy is to finish.
            Extended::Blocked(blocked) => Next::Full(accounts.get(blocked.line).cloned().flatten()),
            Extended::Gone => Next::NotBefore(now + ASK_AGAIN),
        };
    }
}

impl Reserved {
    pub(super) fn new(reservation: Reservation, lines: &[Line], worst: Worst) -> Self {
        let money = lines.iter().filter(|line| line.kind == Kind::Money).cloned().collect();
        let growth = Growth { output: worst.output, nano: worst.nano, next: Next::Free };
        Self {
            reservation,
            money,
            nano_per_thousand: worst.nano_per_thousand,
            is_bounded: worst.is_bounded,
            growth: Arc::new(Mutex::new(growth)),
        }
    }

    /// Money that is reserved.
    pub(super) fn nano(&self) -> u64 {
        self.growth.lock().nano
    }

    /// Reserves more where a reply with so much text has outgrown what is reserved. Nobody waits.
    pub(crate) fn grow(&self, text_bytes: u64, tasks: &TaskTracker) {
        if self.is_bounded || self.money.is_empty() {
            return;
        }
        let begun = self.growth.lock().begin(text_bytes / TOKEN_BYTES, Instant::now);
        let Some(more) = begun else { return };
        let nano = u128::from(self.nano_per_thousand) * u128::from(more) / 1_000 + 1;
        let nano = u64::try_from(nano).unwrap_or(u64::MAX / 2);
        let lines = self.money.iter().map(|line| Line { take: nano, ..line.clone() });
        let lines: Vec<Line> = lines.collect();
        let accounts: Vec<_> = lines.iter().map(|line| line.account.clone()).collect();
        let extending = self.reservation.extend(lines);
        let growth = Arc::clone(&self.growth);
        drop(tasks.spawn(async move {
            let extended = extending.await;
            growth.lock().answered(extended, (more, nano), &accounts, Instant::now());
        }));
    }

    /// The budget that had no room for the rest of the reply.
    pub(crate) fn full(&self) -> Option<Arc<SpendAccount>> {
        match &self.growth.lock().next {
            Next::Full(account) => account.clone(),
            Next::Free | Next::UnderWay | Next::NotBefore(_) => None,
        }
    }

    /// Puts what the request used in the place of what it held.
    pub(super) fn settle(self, sequence: u64, posts: Vec<Post>) {
        self.reservation.settle(sequence, posts);
    }
}

#[cfg(test)]
mod tests {
    use permille_limits::{Blocked, Use};
    use permille_types::Level;

    use super::*;

    #[test]
    fn a_reply_asks_for_more_again_a_second_after_nobody_could_say_and_never_after_no() {
        let start = Instant::now();
        let at = |ms| move || start + Duration::from_millis(ms);
        let mut growth = Growth { output: 1_024, nano: 600, next: Next::Free };
        let account =
            SpendAccount { level: Level::Key, id: "k".to_owned(), from: None, until: None };
        let accounts = [Some(Arc::new(account))];

        assert_eq!(growth.begin(1_024, at(0)), None, "it has not outgrown it");
        assert_eq!(growth.begin(1_025, at(0)), Some(1_024));
        assert_eq!(growth.begin(1_100, at(0)), None, "one at a time");
        growth.answered(Extended::Gone, (1_024, 60), &accounts, at(100)());
        assert_eq!(growth.begin(9_000, at(1_099)), None);
        // It has gone on meanwhile.
        assert_eq!(growth.begin(9_000, at(1_100)), Some(7_976));
        growth.answered(Extended::Granted, (7_976, 500), &accounts, at(1_200)());
        assert_eq!((growth.output, growth.nano), (9_000, 1_100));
        assert_eq!(growth.begin(9_001, at(1_200)), Some(STEP_MAX));
        let blocked = Blocked { line: 0, is: Use::default(), wait_ms: None };
        growth.answered(Extended::Blocked(blocked), (STEP_MAX, 1), &accounts, at(1_300)());
        assert!(matches!(&growth.next, Next::Full(Some(account)) if account.id == "k"));
        assert_eq!(growth.begin(99_000, at(99_000)), None);
    }
}
