//! What an open request holds of its limits, and how that grows while its reply does.

use std::sync::Arc;

use permille_limits::{Kind, Line, Post, Reservation};
use permille_types::SpendAccount;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{growth::Growth, worst::Worst};

/// Bytes of text that are taken for one token while a reply comes: a little less than English has,
/// a little more than Chinese. What it comes to is counted when it settles.
const TOKEN_BYTES: u64 = 3;

/// See the module's text.
pub(crate) struct Reserved {
    reservation: Reservation,
    /// The limits of money.
    money: Vec<Line>,
    nano_per_thousand: u64,
    is_bounded: bool,
    growth: Arc<Growth>,
}

impl Reserved {
    pub(super) fn new(reservation: Reservation, lines: &[Line], worst: Worst) -> Self {
        let money = lines.iter().filter(|line| line.kind == Kind::Money).cloned().collect();
        Self {
            reservation,
            money,
            nano_per_thousand: worst.nano_per_thousand,
            is_bounded: worst.is_bounded,
            growth: Arc::new(Growth::new(worst.output, worst.nano)),
        }
    }

    /// Money that is reserved.
    pub(super) fn nano(&self) -> u64 {
        self.growth.nano()
    }

    /// Reserves more where a reply with so much text has outgrown what is reserved. Nobody waits.
    pub(crate) fn grow(&self, text_bytes: u64, tasks: &TaskTracker) {
        if self.is_bounded || self.money.is_empty() {
            return;
        }
        let begun = self.growth.begin(text_bytes / TOKEN_BYTES, Instant::now);
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
            growth.answered(extended, (more, nano), &accounts, Instant::now());
        }));
    }

    /// The budget that had no room for the rest of the reply.
    pub(crate) fn full(&self) -> Option<Arc<SpendAccount>> {
        self.growth.full()
    }

    /// Puts what the request used in the place of what it held.
    pub(super) fn settle(self, sequence: u64, posts: Vec<Post>) {
        self.reservation.settle(sequence, posts);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use permille_limits::{Blocked, Extended, Use};
    use permille_types::Level;

    use super::*;

    #[test]
    fn a_reply_asks_for_more_again_a_second_after_nobody_could_say_and_never_after_no() {
        let start = Instant::now();
        let at = |ms| move || start + Duration::from_millis(ms);
        let growth = Growth::new(1_024, 600);
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
        assert_eq!((growth.begin(9_000, at(1_200)), growth.nano()), (None, 1_100));
        assert_eq!(growth.begin(9_001, at(1_200)), Some(4_096));
        let blocked = Blocked { line: 0, is: Use::default(), wait_ms: None };
        growth.answered(Extended::Blocked(blocked), (4_096, 1), &accounts, at(1_300)());
        assert!(growth.full().is_some_and(|account| account.id == "k"));
        assert_eq!(growth.begin(99_000, at(99_000)), None);
    }
}
