//! Loads of counters: one at a time for each customer, and none right after one that failed.

use std::{collections::HashMap, time::Duration};

use permille_types::CustomerId;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use crate::{limits::LoadError, step::Loaded};

/// Loads at once: requests of one customer wait for each other, so that a fresh counter is asked
/// for once.
const PLACES: usize = 64;
/// After a load that failed, requests of its customer are refused for so long without another: as
/// long as their answers tell them to wait.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Answers of the ledger in a row that are older than what shared books have struck out. One is
/// only late; it has lost something when nobody has a newer one.
const OUTDATED_MAX: u32 = 3;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Loads {
    /// By a part of the customer's name.
    places: [Mutex<Past>; PLACES],
}

/// How the last loads of some customers went.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// When it failed, where that was a moment ago.
    failed: HashMap<CustomerId, Instant>,
    /// How many answers in a row were outdated.
    outdated: HashMap<CustomerId, u32>,
}

impl Default for Loads {
    fn default() -> Self {
        Self { places: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Loads {
    /// Waits until nobody loads counters of `customer`. Nobody does while this is held.
    pub(crate) async fn of(&self, customer: &CustomerId) -> MutexGuard<'_, Past> {
        let name = customer.as_str().bytes();
        let sum = name.fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let [first, others @ ..] = &self.places;
        let other = (sum % PLACES).checked_sub(1).and_then(|place| others.get(place));
        other.unwrap_or(first).lock().await
    }
}

impl Past {
    /// Whether a load of `customer` failed so lately that another is not tried.
    pub(crate) fn has_just_failed(&self, customer: &CustomerId, now: Instant) -> bool {
        let failed = self.failed.get(customer);
        failed.is_some_and(|at| now.saturating_duration_since(*at) < AGAIN_AFTER)
    }

    /// Takes note of what became of a load.
    ///
    /// # Errors
    /// Why it failed; nothing where that was told before.
    pub(crate) fn note(
        &mut self,
        customer: &CustomerId,
        loaded: Result<Loaded, LoadError>,
        now: Instant,
    ) -> Result<(), Option<LoadError>> {
        let failed = match loaded {
            Ok(Loaded::Now) => {
                if self.outdated.remove(customer).is_some_and(|times| times >= OUTDATED_MAX) {
                    tracing::info!(%customer, "limits: what was spent is known again");
                }
                return Ok(());
            }
            Ok(Loaded::Outdated) => {
                let times = self.outdated.entry(customer.clone()).or_default();
                *times = times.saturating_add(1);
                if *times < OUTDATED_MAX {
                    // Others have loaded meanwhile: the next step says so, or is answered anew.
                    return Ok(());
                }
                if *times == OUTDATED_MAX {
                    tracing::warn!(
                        %customer,
                        "limits: redis has struck out what the ledger had and does not have any \
                         more: budgets that are not counted yet are refused; see docs/limits.md, \
                         when the ledger is restored"
                    );
                }
                None
            }
            Ok(Loaded::Behind) => Some("billing lacks too much of it".into()),
            Err(error) => Some(error),
        };
        self.failed.retain(|_, at| now.saturating_duration_since(*at) < AGAIN_AFTER);
        self.failed.insert(customer.clone(), now);
        Err(failed)
    }
}
