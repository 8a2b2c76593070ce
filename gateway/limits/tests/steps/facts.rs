//! What each step does, in memory.

use permille_limits::{Blocked, Books, Extended, Kind, Loaded, Post, Posted, Reserved, Use};

use crate::support::{base, id, line, money, node, spent};

const LEASE: u64 = 60_000;
const HOUR: u64 = 60 * 60 * 1_000;

fn with_money(amount: u64) -> Books {
    let mut books = Books::default();
    books.load(0, &[], &[base("m", amount)]);
    books
}

fn is_granted(reserved: &Reserved) -> bool {
    matches!(reserved, Reserved::Granted { .. })
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
    let mut books = Books::shared();
    books.load(0, &[(node("a"), 7)], &[base("m", 50)]);
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

#[test]
fn what_settles_while_a_counter_is_loaded_is_in_it_once() {
    let mut books = Books::shared();
    assert_eq!(books.reserve(0, id(), LEASE, &[money(100, 1)]), Reserved::Unknown(vec![0]));
    // The ledger is asked now: it has events of `a` up to 3. Event 3 is told late, 4 is not booked.
    for (sequence, amount) in [(3, 30), (4, 4)] {
        books.settle(0, id(), (&node("a"), sequence), &[spent(amount)]);
    }
    books.settle(0, id(), (&node("b"), 1), &[spent(2)]);

    assert_eq!(books.load(0, &[(node("a"), 3)], &[base("m", 30)]), Loaded::Now);

    assert_eq!(books.read("m"), Some(Use { used: 36, held: 0 }));
}

#[test]
fn a_counter_in_use_is_loaded_again_each_minute_and_finds_what_nobody_told() {
    let mut books = Books::shared();
    books.load(0, &[(node("a"), 1)], &[base("m", 10)]);
    let ask = |books: &mut Books, now| books.reserve(now, id(), LEASE, &[money(1_000, 1)]);
    let stale = |reserved: Reserved| match reserved {
        Reserved::Granted { stale, .. } => stale,
        other => panic!("{other:?}"),
    };
    books.settle(1, id(), (&node("b"), 7), &[spent(5)]);

    assert!(stale(ask(&mut books, 59_999)).is_empty());
    assert_eq!(stale(ask(&mut books, 60_000)), [0]);
    assert!(stale(ask(&mut books, 60_001)).is_empty(), "one is told so");
    assert_eq!(stale(ask(&mut books, 65_000)), [0], "and another when it did not load");
    // `a` was killed when it had handed over event 2, of 20, and not told it.
    let seen = [(node("a"), 2), (node("b"), 6)];
    assert_eq!(books.load(65_001, &seen, &[base("m", 30)]), Loaded::Now);

    assert_eq!(books.read("m"), Some(Use { used: 35, held: 4 }), "four leases still run");
    books.settle(65_002, id(), (&node("a"), 2), &[spent(20)]);
    assert_eq!(books.read("m").unwrap().used, 35, "told late, it counts once");
    // An answer that was asked for before and comes after is older.
    books.load(65_003, &[(node("a"), 1), (node("b"), 7)], &[base("m", 15)]);
    assert_eq!(books.read("m").unwrap().used, 35);
}

#[test]
fn what_the_ledger_has_had_for_long_is_not_remembered_and_an_older_answer_is_refused() {
    let mut books = Books::shared();
    for sequence in 1..=3 {
        books.settle(0, id(), (&node("a"), sequence), &[spent(1)]);
    }
    books.load(0, &[(node("a"), 2)], &[base("m", 2)]);
    // Within ten seconds the ledger's answers change nothing of what is remembered.
    books.load(9_000, &[(node("a"), 3)], &[base("m", 3)]);
    assert_eq!(books.load(9_001, &[(node("a"), 1)], &[base("n", 0)]), Loaded::Now);

    books.load(10_000, &[(node("a"), 3)], &[base("m", 3)]);

    assert_eq!(books.load(10_001, &[(node("a"), 1)], &[base("o", 0)]), Loaded::Outdated);
    assert_eq!(books.read("o"), None);
    assert_eq!(books.settle(10_002, id(), (&node("a"), 2), &[spent(1)]), Posted::Before);
    assert_eq!(books.read("m").unwrap().used, 3);
}

#[test]
fn a_ledger_that_lacks_too_much_loads_nothing() {
    let mut books = Books::shared();
    for sequence in 1..=20_001 {
        books.settle(0, id(), (&node("a"), sequence), &[spent(1)]);
    }

    assert_eq!(books.load(0, &[], &[base("m", 0)]), Loaded::Behind);
    assert_eq!(books.read("m"), None);
    assert_eq!(books.load(0, &[(node("a"), 1)], &[base("m", 1)]), Loaded::Now);
    assert_eq!(books.read("m").unwrap().used, 20_001);
}

#[test]
fn a_reservation_that_the_books_lost_is_made_again_whatever_room_there_is() {
    let mut books = Books::shared();
    let (open, settled) = (id(), id());
    books.settle(0, settled, (&node("a"), 1), &[spent(10)]);
    let lines = [money(100, 90), line(Kind::Open, "o", 1, 1)];
    assert!(!books.renew(0, open, LEASE), "it is not there");

    for request in [open, open, settled] {
        books.hold(0, request, LEASE, &lines);
    }

    assert_eq!(books.read("m"), None, "it holds, and was never loaded");
    assert!(matches!(books.reserve(0, id(), LEASE, &lines), Reserved::Unknown(_)));
    books.load(0, &[], &[base("m", 20)]);
    assert_eq!(books.read("m"), Some(Use { used: 30, held: 90 }));
    assert_eq!(blocked(&books.reserve(0, id(), LEASE, &lines)).line, 0);
    assert!(books.renew(0, open, LEASE));
    books.settle(1, open, (&node("a"), 2), &[spent(5)]);
    assert_eq!(books.read("m"), Some(Use { used: 35, held: 0 }));
    assert_eq!(books.read("o"), Some(Use::default()));
}

#[test]
fn one_gateway_alone_remembers_no_settlement_and_forgets_money_after_ten_minutes() {
    let mut books = with_money(0);
    for sequence in 1..=1_000 {
        let open = id();
        books.reserve(0, open, LEASE, &[money(u64::MAX, 1)]);
        books.settle(0, open, (&node("a"), sequence), &[spent(1)]);
    }
    assert_eq!(books.read("m").unwrap().used, 1_000);

    books.sweep(HOUR / 6);

    assert!(books.is_empty(), "{books:?}");
}
