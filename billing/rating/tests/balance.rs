//! How far prepaid credit goes before an invoice draws it.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use chrono::{DateTime, TimeDelta, Utc};
use permille_rating::{
    balance::{Balance, Held, Paying, balance},
    grant::{Grant, GrantOrder, Need, draw},
    round::{from_nano, to_nano},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn hour(number: i64) -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(number)
}

/// `left` nano-units from hour 0 on; one that has ended at an hour, with what was unbilled then.
fn held(left: i64, priority: u32, ended: Option<(i64, i64)>) -> Held {
    let grant = Grant {
        id: format!("grt_{left}_{priority}"),
        amount: from_nano(left),
        paid: Decimal::ZERO,
        left: from_nano(left),
        priority,
        expires_at: ended.map(|(end, _)| hour(end)),
        models: Vec::new(),
        granted_at: hour(0),
    };
    Held { grant, from: hour(0), unbilled_at_end: ended.map(|(_, unbilled)| unbilled) }
}

fn reach(held: &[Held], percent: &str) -> Balance {
    let tax_percent = percent.parse().unwrap();
    balance(held, Paying { order: GrantOrder::Priority, tax_percent }, hour(100)).unwrap()
}

#[test]
fn what_ended_counts_as_far_as_it_was_used() {
    for (grants, expected) in [
        (vec![], 0),
        (vec![held(10, 0, None), held(5, 1, None)], 15),
        // Used before it ended, in part, whole and not at all.
        (vec![held(10, 0, Some((1, 6))), held(5, 0, None)], 11),
        (vec![held(10, 0, Some((1, 16))), held(5, 0, None)], 15),
        (vec![held(10, 0, Some((1, 0))), held(5, 0, None)], 5),
        // Who pays after another has nothing to pay until that one is used up.
        (vec![held(10, 9, Some((1, 6))), held(5, 0, None)], 6),
        // One after the other: the second pays what came after the first had ended.
        (vec![held(10, 0, Some((1, 6))), held(10, 0, Some((2, 9)))], 9),
        (vec![held(4, 0, Some((1, 6))), held(10, 0, Some((2, 9)))], 9),
        (vec![held(4, 0, Some((1, 6))), held(3, 0, Some((2, 9))), held(1, 0, None)], 8),
        // What came after the first had ended is not its, however much of it is left.
        (vec![held(100, 0, Some((1, 10))), held(5, 1, Some((2, 40)))], 15),
    ] {
        assert_eq!(reach(&grants, "0").reach, expected, "{grants:?}");
    }
}

#[test]
fn taxes_take_their_part_and_nothing_is_rounded_up() {
    let grants = [held(110, 0, Some((1, 50))), held(33, 0, None)];

    // 50 and its tax of 5 are of the first; 33 pays for 30.
    assert_eq!(reach(&grants, "10").reach, 80);
    assert_eq!(reach(&[held(100, 0, None)], "6").reach, 94);
    assert_eq!(reach(&[held(100, 0, None)], "9.975").reach, 90);
    let whole = [held(i64::MAX, 0, None)];
    assert_eq!(reach(&whole, "0").reach, i64::MAX);
    let two = [held(i64::MAX, 0, None), held(1, 0, None)];
    let paying = Paying { order: GrantOrder::Priority, tax_percent: Decimal::ZERO };
    assert!(balance(&two, paying, hour(100)).is_err());
}

#[test]
fn what_has_not_begun_or_is_for_some_models_is_left_out() {
    let mut later = held(10, 0, None);
    later.from = hour(101);
    let mut some = held(10, 0, None);
    some.grant.models = vec!["gpt-*".to_owned()];
    let mut all = held(10, 0, None);
    all.grant.models = vec!["gpt-*".to_owned(), "*".to_owned()];

    assert_eq!(reach(&[later, some, all], "0"), Balance { reach: 10, granted: 10 });
}

proptest! {
    /// An invoice over any part of the usage moves what was used and what is left by the same.
    #[test]
    fn an_invoice_in_between_changes_nothing(
        lefts in prop::collection::vec((1_i64..1_000, 0_u32..3), 1..5),
        used in 0_i64..3_000,
    ) {
        let before: Vec<Held> =
            lefts.iter().map(|(left, priority)| held(*left, *priority, None)).collect();
        let all: i64 = lefts.iter().map(|(left, _)| left).sum();
        let used = used.min(all);
        let grants: Vec<Grant> = before.iter().map(|held| held.grant.clone()).collect();
        let needs = [Need { model: "any".parse().unwrap(), amount: from_nano(used) }];
        let mut after = before.clone();
        for (place, paid) in draw(&grants, &needs, GrantOrder::Priority).unwrap() {
            after[place].grant.left -= paid;
        }

        prop_assert_eq!(reach(&before, "0").reach, all);
        prop_assert_eq!(used + reach(&after, "0").reach, all);
    }

    /// Whatever ended, no more is served than was granted, and what pays still counts whole.
    #[test]
    fn no_end_makes_more_of_credit(
        grants in prop::collection::vec(
            (1_i64..1_000, 0_u32..3, prop::option::of((0_i64..50, 0_i64..3_000))),
            0..6,
        ),
        percent in 0_u32..100,
    ) {
        let grants: Vec<Held> =
            grants.into_iter().map(|(left, priority, ended)| held(left, priority, ended)).collect();
        let sum = |pays: &dyn Fn(&&Held) -> bool| -> i64 {
            grants.iter().filter(pays).map(|held| to_nano(held.grant.left).unwrap()).sum()
        };
        let found = reach(&grants, "0").reach;

        prop_assert!(found <= sum(&|_| true));
        prop_assert!(found >= sum(&|held| held.unbilled_at_end.is_none()));
        prop_assert!(reach(&grants, &percent.to_string()).reach <= found);
    }
}
