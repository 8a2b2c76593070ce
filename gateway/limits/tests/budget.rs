//! What is held of a budget, and that it comes back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use permille_limits::{Budget, Taken};

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
