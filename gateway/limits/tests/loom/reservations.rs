//! Reservations of one customer, and the cleaning away of books that nobody uses.

use chrono::DateTime;
use loom::{sync::Arc, thread};
use permille_types::{CustomerId, NodeId, RequestId};

use crate::{
    local::LocalBooks,
    step::{Base, Kind, Line, Post, Posted, Reserved, Use},
};

pub(crate) const COUNTER: &str = "m";

pub(crate) fn customer() -> CustomerId {
    "acme".parse().unwrap()
}

fn node() -> NodeId {
    "node-1".parse().unwrap()
}

pub(crate) fn request() -> RequestId {
    RequestId::new(DateTime::UNIX_EPOCH)
}

pub(crate) fn open(limit: u64) -> [Line; 1] {
    [Line {
        kind: Kind::Open,
        counter: COUNTER.into(),
        limit,
        take: 1,
        account: None,
        fresh: false,
    }]
}

fn money(limit: u64, take: u64) -> [Line; 1] {
    [Line { kind: Kind::Money, take, ..open(limit).into_iter().next().unwrap() }]
}

fn books_with_money(spent: u64) -> Arc<LocalBooks> {
    let books = LocalBooks::new(1);
    books.load(&customer(), (&node(), 0), &[Base { counter: COUNTER.into(), spent }]);
    Arc::new(books)
}

pub(crate) fn is_granted(reserved: &Reserved) -> bool {
    matches!(reserved, Reserved::Granted { .. })
}

#[test]
fn two_who_reserve_the_last_of_a_balance_get_it_once() {
    loom::model(|| {
        let books = books_with_money(0);
        let other = {
            let books = Arc::clone(&books);
            thread::spawn(move || books.reserve(&customer(), request(), &money(100, 60)))
        };
        let own = books.reserve(&customer(), request(), &money(100, 60));
        let others = other.join().unwrap();

        assert_ne!(is_granted(&own), is_granted(&others));
        assert_eq!(books.read(&customer(), COUNTER), Some(Use { used: 0, held: 60 }));
    });
}

#[test]
fn what_settles_while_another_reserves_is_counted_once() {
    loom::model(|| {
        let books = books_with_money(0);
        let id = request();
        assert!(is_granted(&books.reserve(&customer(), id, &money(100, 60))));
        let settling = {
            let books = Arc::clone(&books);
            thread::spawn(move || {
                let counter = COUNTER.into();
                let post = Post { kind: Kind::Money, counter, limit: 0, amount: 30 };
                books.settle(&customer(), id, (&node(), 1), &[post])
            })
        };
        let later = books.reserve(&customer(), request(), &money(100, 60));

        assert_eq!(settling.join().unwrap(), Posted::Now);
        let held = if is_granted(&later) { 60 } else { 0 };
        assert_eq!(books.read(&customer(), COUNTER), Some(Use { used: 30, held }));
    });
}

#[test]
fn a_reservation_is_not_cleaned_away_with_books_that_are_empty() {
    loom::model(|| {
        let books = Arc::new(LocalBooks::new(1));
        let cleaning = {
            let books = Arc::clone(&books);
            thread::spawn(move || books.tidy())
        };
        let id = request();
        assert!(is_granted(&books.reserve(&customer(), id, &open(1))));
        cleaning.join().unwrap();

        assert_eq!(books.read(&customer(), COUNTER), Some(Use { used: 0, held: 1 }));
        assert!(!is_granted(&books.reserve(&customer(), request(), &open(1))));
        books.release(&customer(), id);
        assert_eq!(books.read(&customer(), COUNTER), Some(Use { used: 0, held: 0 }));
    });
}

#[test]
fn two_first_requests_of_a_customer_meet_in_the_same_books() {
    loom::model(|| {
        let books = Arc::new(LocalBooks::new(1));
        let other = {
            let books = Arc::clone(&books);
            thread::spawn(move || books.reserve(&customer(), request(), &open(1)))
        };
        let own = books.reserve(&customer(), request(), &open(1));

        assert_ne!(is_granted(&own), is_granted(&other.join().unwrap()));
    });
}
