//! What is reserved for a reply while it goes on: the reply asks for more, and a task beside it
//! hears what became of that. `tests/loom` runs this file in every order that the two can take.

use std::{sync::Arc, time::Duration};

use permille_limits::Extended;
use permille_types::SpendAccount;
use tokio::time::Instant;

use crate::threads::Mutex;

/// Least and most tokens of one extension: each costs a step.
const STEP_MIN: u64 = 256;
const STEP_MAX: u64 = 4_096;
/// After so long more is asked for again where nobody could say whether there is: an outage ends,
/// and each reply in it costs a step a second at most.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Growth {
    reserved: Mutex<Reserved>,
}

#[derive(Debug)]
struct Reserved {
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
    pub(crate) fn new(output: u64, nano: u64) -> Self {
        Self { reserved: Mutex::new(Reserved { output, nano, next: Next::Free }) }
    }

    /// Money that is reserved.
    pub(crate) fn nano(&self) -> u64 {
        self.reserved.lock().nano
    }

    /// The budget that had no room for the rest of the reply.
    pub(crate) fn full(&self) -> Option<Arc<SpendAccount>> {
        match &self.reserved.lock().next {
            Next::Full(account) => account.clone(),
            Next::Free | Next::UnderWay | Next::NotBefore(_) => None,
        }
    }

    /// Begins to reserve more where a reply of so many tokens has outgrown what is reserved: how
    /// many more tokens that is.
    pub(crate) fn begin(&self, tokens: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        let mut reserved = self.reserved.lock();
        let outgrown_by = tokens.checked_sub(reserved.output).filter(|more| *more > 0)?;
        let may = match reserved.next {
            Next::Free => true,
            Next::NotBefore(at) => now() >= at,
            Next::UnderWay | Next::Full(_) => false,
        };
        may.then(|| {
            reserved.next = Next::UnderWay;
            reserved.output.clamp(STEP_MIN, STEP_MAX).max(outgrown_by)
        })
    }

    /// Takes note of what became of `more` tokens that cost `nano`, each of the lines being of one
    /// of `accounts`.
    pub(crate) fn answered(
        &self,
        extended: Extended,
        (more, nano): (u64, u64),
        accounts: &[Option<Arc<SpendAccount>>],
        now: Instant,
    ) {
        let mut reserved = self.reserved.lock();
        reserved.next = match extended {
            Extended::Granted => {
                reserved.output = reserved.output.saturating_add(more);
                reserved.nano = reserved.nano.saturating_add(nano);
                Next::Free
            }
            // What goes on beyond is an overage, and carried, where the policy is to finish.
            Extended::Blocked(blocked) => Next::Full(accounts.get(blocked.line).cloned().flatten()),
            Extended::Gone => Next::NotBefore(now + ASK_AGAIN),
        };
    }
}
