//! A bounded quantity that is held for a while and given back on drop.

use std::sync::Arc;

use crate::threads::{AtomicU64, Ordering};

/// At most `max` units held at once.
#[derive(Debug)]
pub struct Budget {
    max: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `max` units, all free.
    #[must_use]
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicU64::new(0) })
    }

    /// Takes `units`, or nothing when they are not free.
    #[must_use]
    pub fn take(self: &Arc<Self>, units: u64) -> Option<Taken> {
        let mut taken = Taken { budget: Arc::clone(self), units: 0 };
        taken.grow(units).then_some(taken)
    }

    /// Units held now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The bound.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }
}

/// A share of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Taken {
    budget: Arc<Budget>,
    units: u64,
}

impl Taken {
    /// Takes `more` units on top; `false` and unchanged when they are not free.
    pub fn grow(&mut self, more: u64) -> bool {
        let max = self.budget.max;
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= max)
        });
        if grown.is_ok() {
            self.units = self.units.saturating_add(more);
        }
        grown.is_ok()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.units, Ordering::Relaxed);
    }
}
