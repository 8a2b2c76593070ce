//! What an open request holds of its limits, and how that grows while its reply does.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use permille_limits::{Extended, Kind, Line, Post, Reservation};
use permille_types::SpendAccount;
use tokio_util::task::TaskTracker;

use super::worst::Worst;

/// Bytes of text that are taken for one token while a reply comes: a little less than English has,
/// a little more than Chinese. What it comes to is counted when it settles.
const TOKEN_BYTES: u64 = 3;
/// Least and most tokens of one extension: each costs a step.
const STEP_MIN: u64 = 256;
const STEP_MAX: u64 = 4_096;

/// See the module's text.
pub(crate) struct Reserved {
    reservation: Reservation,
    /// The limits of money.
    money: Vec<Line>,
    nano_per_thousand: u64,
    is_bounded: bool,
    growth: Arc<Growth>,
}

/// What is known of extensions; they go on beside the reply.
#[derive(Debug)]
struct Growth {
    /// Tokens of output that are reserved.
    output: AtomicU64,
    /// Money that is reserved.
    nano: AtomicU64,
    /// Whether an extension is under way.
    under_way: AtomicBool,
    /// Whether one was refused.
    refused: AtomicBool,
    /// Which budget had no room for it.
    full: OnceLock<Arc<SpendAccount>>,
}

impl Reserved {
    pub(super) fn new(reservation: Reservation, lines: &[Line], worst: Worst) -> Self {
        let money = lines.iter().filter(|line| line.kind == Kind::Money).cloned().collect();
        let growth = Growth {
            output: worst.output.into(),
            nano: worst.nano.into(),
            under_way: false.into(),
            refused: false.into(),
            full: OnceLock::new(),
        };
        Self {
            reservation,
            money,
            nano_per_thousand: worst.nano_per_thousand,
            is_bounded: worst.is_bounded,
            growth: Arc::new(growth),
        }
    }

    /// Money that is reserved.
    pub(super) fn nano(&self) -> u64 {
        self.growth.nano.load(Ordering::Relaxed)
    }

    /// Reserves more where a reply with so much text has outgrown what is reserved. Nobody waits.
    pub(crate) fn grow(&self, text_bytes: u64, tasks: &TaskTracker) {
        let growth = &self.growth;
        let output = growth.output.load(Ordering::Relaxed);
        let outgrown = !self.is_bounded && text_bytes / TOKEN_BYTES > output;
        if self.money.is_empty() || !outgrown || growth.refused.load(Ordering::Relaxed) {
            return;
        }
        if growth.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let step = output.clamp(STEP_MIN, STEP_MAX).max(text_bytes / TOKEN_BYTES - output);
        let nano = u128::from(self.nano_per_thousand) * u128::from(step) / 1_000 + 1;
        let nano = u64::try_from(nano).unwrap_or(u64::MAX / 2);
        let lines = self.money.iter().map(|line| Line { take: nano, ..line.clone() });
        let lines: Vec<Line> = lines.collect();
        let accounts: Vec<_> = lines.iter().map(|line| line.account.clone()).collect();
        let extending = self.reservation.extend(lines);
        let growth = Arc::clone(growth);
        drop(tasks.spawn(async move {
            match extending.await {
                Extended::Granted => {
                    growth.output.fetch_add(step, Ordering::Relaxed);
                    growth.nano.fetch_add(nano, Ordering::Relaxed);
                }
                // What goes on beyond is an overage, and carried, where the policy is to finish.
                Extended::Blocked(blocked) => {
                    if let Some(Some(account)) = accounts.get(blocked.line) {
                        drop(growth.full.set(Arc::clone(account)));
                    }
                    growth.refused.store(true, Ordering::Release);
                }
                Extended::Gone => growth.refused.store(true, Ordering::Release),
            }
            growth.under_way.store(false, Ordering::Release);
        }));
    }

    /// The budget that had no room for the rest of the reply.
    pub(crate) fn full(&self) -> Option<&SpendAccount> {
        self.growth.full.get().map(|account| &**account)
    }

    /// Puts what the request used in the place of what it held.
    pub(super) fn settle(self, sequence: u64, posts: Vec<Post>) {
        self.reservation.settle(sequence, posts);
    }
}
