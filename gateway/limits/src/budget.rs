//! A bounded quantity that is held for a while and given back on drop.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back_on_drop() {
        let budget = Budget::new(10);

        let six = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        let mut four = budget.take(4).unwrap();
        assert!(!four.grow(1));
        assert_eq!(budget.used(), 10);

        drop(six);
        assert!(four.grow(6));
        drop(four);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn concurrent_takers_share_exactly_the_bound() {
        let budget = Budget::new(100);

        let held: Vec<Taken> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| {
                    let budget = Arc::clone(&budget);
                    scope.spawn(move || (0..50).filter_map(|_| budget.take(1)).collect::<Vec<_>>())
                })
                .collect();
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
        });

        assert_eq!(held.len(), 100);
    }
}
