//! A day of traffic through the metrics of gateway and billing: how many series it leaves, how long
//! a scrape takes, how much memory.
//!
//! `cargo run --example day_of_traffic -- [CUSTOMERS [SESSIONS]]`, 10,000 and 1,000,000 by default.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures ends where it cannot go on, and prints what it found"
)]

mod traffic;

use std::{collections::BTreeMap, time::Instant};

use traffic::{Day, Scrape};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let customers = numbers.next().unwrap_or(10_000);
    let sessions = numbers.next().unwrap_or(1_000_000);
    let (before, started) = (resident_mib(), Instant::now());
    let mut day = Day::new(customers);
    for _ in 0..sessions {
        day.session();
    }
    let requests = day.requests();
    println!("{customers} customers, {sessions} sessions, {requests} requests");
    println!("{:.0} s to count them", started.elapsed().as_secs_f64());
    for _ in 0..5 {
        let Scrape { series, bytes, took, .. } = day.scrape();
        let seconds = took.as_secs_f64();
        println!("{series} series, {bytes} bytes, {seconds:.3} s for a scrape");
    }
    for (family, series) in largest(&day.scrape().text) {
        println!("{series} series of {family}");
    }
    println!("{} MiB of memory, {before} MiB before", resident_mib());
}

/// The metrics with the most series.
fn largest(text: &str) -> Vec<(String, usize)> {
    let mut families = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        *families.entry(name.to_owned()).or_insert(0) += 1;
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by_key(|(_, series)| std::cmp::Reverse(*series));
    families.truncate(8);
    families
}

/// Memory of this process.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
