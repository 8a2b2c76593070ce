//! What is reserved for a reply while it goes on, in every order that threads can take, by loom:
//! the source as it is, over its memory instead of the processor's.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; of the source it runs what threads share"
)]

#[path = "../../src/limiter/growth.rs"]
mod growth;
mod threads;

use std::sync::Arc;

use loom::thread;
use permille_limits::{Blocked, Extended, Use};
use permille_types::{Level, SpendAccount};
use tokio::time::Instant;

use growth::Growth;

/// Tokens that are reserved first, and those of one extension.
const FIRST: u64 = 1_024;

fn growth() -> loom::sync::Arc<Growth> {
    loom::sync::Arc::new(Growth::new(FIRST, 600))
}

#[test]
fn a_reply_that_two_outgrow_at_once_asks_for_more_once() {
    loom::model(|| {
        let (growth, now) = (growth(), Instant::now());
        let other = {
            let growth = loom::sync::Arc::clone(&growth);
            thread::spawn(move || growth.begin(FIRST + 1, || now))
        };
        let own = growth.begin(FIRST + 1, || now);

        assert_ne!(own.is_some(), other.join().unwrap().is_some());
    });
}

#[test]
fn what_was_granted_is_reserved_once_while_the_reply_goes_on() {
    loom::model(|| {
        let (growth, now) = (growth(), Instant::now());
        let more = growth.begin(FIRST + 1, || now).unwrap();
        let answering = {
            let growth = loom::sync::Arc::clone(&growth);
            thread::spawn(move || growth.answered(Extended::Granted, (more, 60), &[], now))
        };
        // Outgrown again, or still being asked for.
        let again = growth.begin(FIRST + more + 1, || now);
        let nano = growth.nano();
        answering.join().unwrap();

        assert!(nano == 600 || nano == 660, "{nano}");
        assert!(again.is_none() || nano == 660, "asked again before there was an answer");
        assert_eq!(growth.nano(), 660);
    });
}

#[test]
fn a_budget_without_room_is_asked_no_more() {
    loom::model(|| {
        let (growth, now) = (growth(), Instant::now());
        let more = growth.begin(FIRST + 1, || now).unwrap();
        let answering = {
            let growth = loom::sync::Arc::clone(&growth);
            thread::spawn(move || {
                let (level, id) = (Level::Key, "k".to_owned());
                let account = SpendAccount { level, id, from: None, until: None };
                let blocked = Blocked { line: 0, is: Use::default(), wait_ms: None };
                let accounts = [Some(Arc::new(account))];
                growth.answered(Extended::Blocked(blocked), (more, 60), &accounts, now);
            })
        };
        let again = growth.begin(u64::MAX, || now);
        answering.join().unwrap();

        assert_eq!((again, growth.nano()), (None, 600));
        assert!(growth.full().is_some_and(|account| account.id == "k"));
    });
}
