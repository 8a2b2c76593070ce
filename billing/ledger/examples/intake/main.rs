//! Takes made-up usage into a store through the very code that serves gateways, and says how
//! quickly, in how many bytes and with how much memory.
//!
//! `cargo run --release -p permille-ledger --example intake -- STORE [EVENTS [BATCH [DAYS]]]`
//!
//! STORE is a file that is not there yet, or `postgres://…` of an empty database. 200,000 events
//! in batches of 512 over 10 days by default.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that measures ends where it cannot go on, and prints what it found"
)]

mod sizes;
mod traffic;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use permille_ledger::{Ledger, LedgerConfig, Pepper, PostgresAddress, StoreAddress};
use permille_types::{Batch, SystemClock};
use traffic::Traffic;

/// Batches that are made up beforehand, so that making them is not measured with taking them in.
const AHEAD: usize = 16;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let store = args.next().expect("STORE: a file, or postgres://…");
    let mut numbers = args.map(|text| text.parse::<usize>().expect("a number"));
    let events = numbers.next().unwrap_or(200_000);
    let batch = numbers.next().unwrap_or(512);
    let days = numbers.next().unwrap_or(10);

    let address = if store.starts_with("postgres:") {
        StoreAddress::Postgres(PostgresAddress::new(&store, None).expect("a database"))
    } else {
        StoreAddress::Sqlite(store.clone().into())
    };
    let config =
        LedgerConfig { store: address, pepper: Pepper::new([7; 32]), clock: Arc::new(SystemClock) };
    let ledger = Ledger::open(config).await.expect("an empty store");
    let mut traffic = Traffic::new(&ledger, events, days).await;

    let mut spent = Spent::default();
    let (mut taken, mut again) = (0, None);
    while taken < events {
        let batches: Vec<Batch> = (0..AHEAD)
            .map(|_| traffic.batch(batch))
            .take_while(|batch| !batch.events.is_empty())
            .collect();
        let before = Spent::now();
        for batch in &batches {
            let accepted = ledger.accept(batch).await.expect("a batch");
            assert_eq!(accepted.booked, u64::try_from(batch.events.len()).expect("a count"));
        }
        spent.add(&before);
        taken += batches.iter().map(|batch| batch.events.len()).sum::<usize>();
        again = batches.into_iter().next_back().or(again);
    }
    println!("{taken} events in batches of {batch}, over {days} days: {}", spent.per(taken));

    // What was sent again in full changes nothing.
    let again = again.expect("a batch");
    let before = Spent::now();
    let accepted = ledger.accept(&again).await.expect("a batch");
    let mut once_more = Spent::default();
    once_more.add(&before);
    assert_eq!((accepted.booked, accepted.conflicts, accepted.quarantined), (0, 0, 0));
    println!("the last batch once more: {}", once_more.per(again.events.len()));
    assert_eq!(ledger.check_books().await.expect("books"), Vec::<String>::new());
    ledger.close().await;

    println!("{} MiB of memory at most", status("VmHWM:") / 1024);
    sizes::print(&store, taken).await;
}

/// Time by the clock and of this process's processor.
#[derive(Default)]
struct Spent {
    clock: Duration,
    processor: Duration,
}

/// A place in both.
struct Place {
    clock: Instant,
    processor: Duration,
}

impl Spent {
    fn now() -> Place {
        Place { clock: Instant::now(), processor: processor() }
    }

    fn add(&mut self, since: &Place) {
        self.clock += since.clock.elapsed();
        self.processor += processor().saturating_sub(since.processor);
    }

    fn per(&self, events: usize) -> String {
        let events = u128::try_from(events).expect("a count");
        let each = |time: Duration| time.as_nanos() / events.max(1);
        let (clock, processor) = (each(self.clock), each(self.processor));
        let rate = 1_000_000_000 / clock.max(1);
        format!(
            "{rate} events/s, {} µs each, {} µs of our processor",
            clock / 1000,
            processor / 1000
        )
    }
}

/// What this process has had of the processor, in steps of 10 ms.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a program's name");
    // utime and stime, of which there are 100 in a second.
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|text| text.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// A field of the process's status, in KiB.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.expect("KiB")
}
