//! What waits for a record is told when the sync thread has synced it, or why it never will be.

use std::{io, sync::Arc};

use loom::{future::block_on, thread};

use crate::{
    JournalError,
    watermark::{Durable, Watermark},
};

fn failed() -> JournalError {
    JournalError::Failed { operation: "sync records", cause: Arc::new(io::Error::other("gone")) }
}

#[test]
fn a_record_that_is_synced_is_told_of() {
    loom::model(|| {
        let watermark = Arc::new(Watermark::default());
        let syncing = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || {
                watermark.reached(2);
                watermark.wake(2);
            })
        };
        block_on(Durable::after_sync(2, Arc::clone(&watermark))).unwrap();
        assert!(watermark.synced() >= 2);
        syncing.join().unwrap();
    });
}

#[test]
fn a_sync_that_fails_is_told_of() {
    loom::model(|| {
        let watermark = Arc::new(Watermark::default());
        let failing = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || watermark.end(failed()))
        };
        let told = block_on(Durable::after_sync(1, Arc::clone(&watermark)));
        assert!(matches!(told, Err(JournalError::Failed { .. })), "{told:?}");
        failing.join().unwrap();
    });
}

#[test]
fn a_future_that_is_dropped_leaves_nothing_and_wakes_nobody_else() {
    loom::model(|| {
        let watermark = Arc::new(Watermark::default());
        let syncing = {
            let watermark = Arc::clone(&watermark);
            thread::spawn(move || {
                watermark.reached(1);
                watermark.wake(1);
                watermark.reached(2);
                watermark.wake(2);
            })
        };
        drop(Durable::after_sync(1, Arc::clone(&watermark)));
        block_on(Durable::after_sync(2, Arc::clone(&watermark))).unwrap();
        syncing.join().unwrap();
    });
}
