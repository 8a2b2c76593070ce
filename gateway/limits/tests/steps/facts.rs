//! What each step does, in memory.

use permille_limits::{Blocked, Books, Extended, Kind, Post, Posted, Reserved, Use};

use crate::support::{base, id, line, money, node, spent};

const LEASE: u64 = 60_000;
const HOUR: u64 = 60 * 60 * 1_000;

fn with_money(amount: u64) -> Books {
    let mut books = Books::default();
    books.load(0, &base("m", amount));
    books
}

fn is_granted(reserved: &Reserved) -> bool {
    matches!(reserved, Reserved::Granted(_))
}

fn blocked(reserved: &Reserved) -> Blocked {
    let Reserved::Blocked(blocked) = reserved else { panic!("{reserved:?}") };
    *blocked
}

#[test]
fn money_is_held_until_what_was_used_takes_its_place() {
    let mut books = with_money(10);
    let (first, second) = (id(), id());

    assert!(is_granted(&books.reserve(0, first, LEASE, &[money(100, 60)])));
    let refused = blocked(&books.reserve(0, second, LEASE, &[money(100, 31)]));
    assert_eq!(refused, Blocked { line: 0, is: Use { used: 10, held: 60 }, wait_ms: None });
    assert_eq!(books.settle(1, first, (&node("a"), 1), &[spent(25)]), Posted::Now);

    assert_eq!(books.read("m"), Some(Use { used: 35, held: 0 }));
    assert!(is_granted(&books.reserve(2, second, LEASE, &[money(100, 65)])));
    assert_eq!(books.read("m"), Some(Use { used: 35, held: 65 }));
}

#[test]
fn nothing_is_taken_of_any_level_when_one_of_them_is_full() {
    let mut books = with_money(0);
    let lines = [
        line(Kind::Requests, "r", 5, 1),
        line(Kind::Tokens, "t", 100, 10),
        line(Kind::Open, "o", 5, 1),
        money(100, 101),
    ];

    let refused = blocked(&books.reserve(0, id(), LEASE, &lines));

    assert_eq!(refused.line, 3);
    for counter in ["r", "t", "o"] {
        assert_eq!(books.read(counter), None, "{counter}");
    }
}

#[test]
fn money_that_was_never_loaded_is_asked_for_and_not_taken_for_nothing() {
    let mut books = Books::default();
    let lines = [line(Kind::Open, "o", 1, 1), money(100, 1)];

    assert_eq!(books.reserve(0, id(), LEASE, &lines), Reserved::Unknown(vec![1]));
    assert_eq!(books.read("o"), None);

    let mut fresh = money(100, 1);
    fresh.fresh = true;
    assert!(is_granted(&books.reserve(0, id(), LEASE, &[fresh])));
}

#[test]
fn an_overage_is_carried_and_blocks_until_it_is_covered() {
    let mut books = with_money(0);
    let first = id();
    books.reserve(0, first, LEASE, &[money(100, 10)]);

    books.settle(0, first, (&node("a"), 1), &[spent(130)]);

    assert_eq!(books.read("m"), Some(Use { used: 130, held: 0 }));
    let refused = blocked(&books.reserve(0, id(), LEASE, &[money(100, 0)]));
    assert_eq!(refused.is.used, 130);
    assert!(is_granted(&books.reserve(0, id(), LEASE, &[money(150, 20)])), "a raised limit");
}

#[test]
fn a_settlement_told_twice_counts_once_and_one_that_is_in_the_base_not_at_all() {
    let mut books = Books::default();
    let mut loaded = base("m", 50);
    loaded.seen = vec![(node("a"), 7)];
    books.load(0, &loaded);
    let (known, new) = (id(), id());

    assert_eq!(books.settle(0, known, (&node("a"), 7), &[spent(20)]), Posted::Now);
    assert_eq!(books.read("m").unwrap().used, 50, "event 7 of `a` is in the 50");
    assert_eq!(books.settle(0, new, (&node("a"), 8), &[spent(20)]), Posted::Now);
    assert_eq!(books.settle(0, new, (&node("a"), 8), &[spent(20)]), Posted::Before);
    assert_eq!(books.settle(0, id(), (&node("b"), 1), &[spent(3)]), Posted::Now);

    assert_eq!(books.read("m").unwrap().used, 73);
}

#[test]
fn a_lease_that_ends_gives_back_and_the_late_settlement_still_counts() {
    let mut books = with_money(0);
    let (left, other) = (id(), id());
    let lines = [line(Kind::Open, "o", 1, 1), money(100, 100)];
    assert!(is_granted(&books.reserve(0, left, LEASE, &lines)));
    assert_eq!(blocked(&books.reserve(LEASE - 1, other, LEASE, &lines)).line, 0);

    assert!(is_granted(&books.reserve(LEASE, other, LEASE, &lines)));
    books.settle(LEASE + 1, left, (&node("a"), 1), &[spent(40)]);

    assert_eq!(books.read("m"), Some(Use { used: 40, held: 100 }));
    books.release(LEASE + 2, other);
    assert_eq!(books.read("m"), Some(Use { used: 40, held: 0 }));
    assert_eq!(books.read("o"), Some(Use { used: 0, held: 0 }));
}

#[test]
fn a_renewed_lease_holds_on() {
    let mut books = with_money(0);
    let open = id();
    books.reserve(0, open, LEASE, &[money(100, 100)]);

    books.renew(LEASE / 2, open, LEASE);

    blocked(&books.reserve(LEASE + 1, id(), LEASE, &[money(100, 1)]));
    assert!(is_granted(&books.reserve(LEASE * 3 / 2, id(), LEASE, &[money(100, 1)])));
}

#[test]
fn an_extension_takes_more_or_nothing_and_is_given_back_with_the_rest() {
    let mut books = with_money(0);
    let open = id();
    books.reserve(0, open, LEASE, &[money(100, 40)]);

    assert_eq!(books.extend(0, open, LEASE, &[money(100, 50)]), Extended::Granted);
    let refused = books.extend(0, open, LEASE, &[money(100, 20)]);
    assert!(matches!(refused, Extended::Blocked(Blocked { is: Use { held: 90, .. }, .. })));
    assert_eq!(books.extend(0, id(), LEASE, &[money(100, 1)]), Extended::Gone);

    books.settle(0, open, (&node("a"), 1), &[spent(60)]);
    assert_eq!(books.read("m"), Some(Use { used: 60, held: 0 }));
    assert_eq!(books.extend(0, open, LEASE, &[money(100, 1)]), Extended::Gone);
}

#[test]
fn requests_per_minute_leak_and_a_changed_limit_keeps_what_was_used() {
    let mut books = Books::default();
    let at = |limit| [line(Kind::Requests, "r", limit, 1)];
    for _ in 0..3 {
        assert!(is_granted(&books.reserve(0, id(), LEASE, &at(3))));
    }
    assert_eq!(blocked(&books.reserve(0, id(), LEASE, &at(3))).wait_ms, Some(20_000));

    assert_eq!(blocked(&books.reserve(0, id(), LEASE, &at(2))).wait_ms, Some(60_000));
    assert!(is_granted(&books.reserve(0, id(), LEASE, &at(4))), "one more, and no more");
    blocked(&books.reserve(0, id(), LEASE, &at(4)));
    assert!(is_granted(&books.reserve(15_000, id(), LEASE, &at(4))), "60 s / 4 later");
}

#[test]
fn a_limit_of_zero_lets_nothing_in() {
    let mut books = Books::default();

    let refused = blocked(&books.reserve(0, id(), LEASE, &[line(Kind::Requests, "r", 0, 1)]));

    assert_eq!(refused.wait_ms, None);
}

#[test]
fn tokens_are_held_settled_and_carried_into_the_minutes_after() {
    let mut books = Books::default();
    let tokens = |take| [line(Kind::Tokens, "t", 600, take)];
    let used = |amount| [Post { kind: Kind::Tokens, counter: "t".into(), limit: 600, amount }];
    let large = id();
    // More than a minute has: it goes when nothing else does.
    assert!(is_granted(&books.reserve(0, large, LEASE, &tokens(5_000))));
    assert_eq!(blocked(&books.reserve(0, id(), LEASE, &tokens(1))).is.held, 600);

    books.settle(0, large, (&node("a"), 1), &used(1_200));

    assert_eq!(books.read("t"), Some(Use { used: 1_200, held: 0 }));
    assert_eq!(blocked(&books.reserve(0, id(), LEASE, &tokens(1))).wait_ms, Some(60_100));
    assert!(is_granted(&books.reserve(60_100, id(), LEASE, &tokens(1))));
}

#[test]
fn idle_counters_are_forgotten_but_not_what_is_held() {
    let mut books = with_money(7);
    let open = id();
    books.reserve(0, open, 100 * HOUR, &[money(100, 1)]);
    books.reserve(0, id(), LEASE, &[line(Kind::Requests, "r", 3, 1)]);

    books.sweep(26 * HOUR);
    assert_eq!(books.read("r"), None);
    assert_eq!(books.read("m"), Some(Use { used: 7, held: 1 }));
    books.release(26 * HOUR, open);
    books.sweep(60 * HOUR);

    assert!(books.is_empty(), "{books:?}");
}
