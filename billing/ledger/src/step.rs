//! Work that goes from customer to customer, in steps that a caller repeats: none takes so long
//! that the caller gives up, each tells how far the work is, and what was done stays done.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Customer, LedgerError};

/// Most customers of a step.
pub const STEP_CUSTOMERS_MAX: u32 = 1_000;
/// After so long a step begins no other customer: clients wait for minutes, people for seconds.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);

/// Which step.
#[derive(Debug, Clone)]
pub struct Step {
    cursor: String,
    customers_max: u32,
}

impl Step {
    /// The step behind the one that gave `cursor`, else the first one, of at most `limit`
    /// customers; less where they take long.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a limit of none or above [`STEP_CUSTOMERS_MAX`].
    pub fn new(cursor: Option<String>, limit: Option<u32>) -> Result<Self, LedgerError> {
        let customers_max = limit.unwrap_or(STEP_CUSTOMERS_MAX);
        if !(1..=STEP_CUSTOMERS_MAX).contains(&customers_max) {
            let accepted = format!("1 to {STEP_CUSTOMERS_MAX}");
            return Err(LedgerError::invalid("limit", &customers_max, accepted));
        }
        Ok(Self { cursor: cursor.unwrap_or_default(), customers_max })
    }
}

/// How far work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Progress {
    /// Customers that are done.
    pub done: u64,
    /// Customers in all.
    pub of: u64,
    /// The `cursor` of the next step; absent when all are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The customers of a step, or all of them.
pub(crate) struct Walk {
    /// By id.
    customers: Vec<Customer>,
    place: usize,
    /// Where the step ends at the latest, and when it began; absent where it is all.
    bound: Option<(usize, Instant)>,
    is_begun: bool,
}

impl Walk {
    pub(crate) fn of(mut customers: Vec<Customer>, step: Option<&Step>) -> Self {
        customers.sort_by(|a, b| a.id.cmp(&b.id));
        let Some(step) = step else {
            return Self { customers, place: 0, bound: None, is_begun: false };
        };
        let place = customers.partition_point(|customer| customer.id.as_str() <= &*step.cursor);
        let most = usize::try_from(step.customers_max).unwrap_or(usize::MAX);
        let bound = Some((place.saturating_add(most), Instant::now()));
        Self { customers, place, bound, is_begun: false }
    }

    /// The next customer, unless the step is at its end. It has one at least, while there is one.
    pub(crate) fn next_customer(&mut self) -> Option<&Customer> {
        if let Some((end, begun)) = self.bound {
            let is_late = self.is_begun && begun.elapsed() >= STEP_TIME_MAX;
            if self.place >= end || is_late {
                return None;
            }
        }
        let customer = self.customers.get(self.place)?;
        self.place = self.place.saturating_add(1);
        self.is_begun = true;
        Some(customer)
    }

    /// How far the work is after those that were given.
    pub(crate) fn progress(&self) -> Progress {
        let count = |place| u64::try_from(place).unwrap_or(u64::MAX);
        let last = self.place.checked_sub(1).and_then(|last| self.customers.get(last));
        let is_more = self.place < self.customers.len();
        Progress {
            done: count(self.place),
            of: count(self.customers.len()),
            next_cursor: last.filter(|_| is_more).map(|customer| customer.id.to_string()),
        }
    }
}
