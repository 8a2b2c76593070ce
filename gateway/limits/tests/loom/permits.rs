//! What is held of a budget while others take and give back.

use loom::thread;

use crate::budget::{Budget, Taken};

#[test]
fn two_who_take_the_last_unit_get_it_once() {
    loom::model(|| {
        let budget = Budget::new(1);
        let other = {
            let budget = std::sync::Arc::clone(&budget);
            thread::spawn(move || budget.take(1))
        };
        let own = budget.take(1);
        let others = other.join().unwrap();

        assert_ne!(own.is_some(), others.is_some());
        assert_eq!(budget.used(), 1);
        drop((own, others));
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn nothing_is_held_twice_or_lost_while_others_give_back() {
    loom::model(|| {
        let budget = Budget::new(3);
        let held = budget.take(2).unwrap();
        let giver = thread::spawn(move || drop(held));
        let grower = {
            let budget = std::sync::Arc::clone(&budget);
            thread::spawn(move || {
                let mut taken = budget.take(1)?;
                taken.grow(1);
                Some(taken)
            })
        };
        giver.join().unwrap();
        let taken: Option<Taken> = grower.join().unwrap();

        // One unit was free all the time; the second only once the giver had given.
        let units = budget.used();
        assert!(taken.is_some() && (units == 1 || units == 2), "{units} held");
        drop(taken);
        assert_eq!(budget.used(), 0);
        assert!(budget.take(3).is_some());
    });
}
