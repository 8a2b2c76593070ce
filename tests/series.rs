//! However many customers, sessions and models there are, what Prometheus scrapes stays small.
//!
//! The short form of `cargo run --example day_of_traffic`: as many customers, fewer sessions.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../examples/day_of_traffic/traffic.rs"]
mod traffic;

use std::{collections::BTreeSet, time::Duration};

use traffic::{Day, Scrape};

const SERIES_MAX: usize = 50_000;
const SCRAPE_MAX: Duration = Duration::from_secs(1);

#[test]
fn ten_thousand_customers_stay_within_their_series_and_a_scrape_takes_less_than_a_second() {
    let mut day = Day::new(10_000);
    for _ in 0..15_000 {
        day.session();
    }

    // The quickest of some: other tests run at the same time.
    let scrapes: Vec<Scrape> = (0..5).map(|_| day.scrape()).collect();
    let quickest = scrapes.iter().map(|scrape| scrape.took).min().unwrap();
    let Scrape { series, bytes, text, .. } = scrapes.into_iter().next().unwrap();
    println!("{} requests: {series} series, {bytes} bytes, {quickest:?}", day.requests());
    assert!(series < SERIES_MAX, "{series} series");
    assert!(quickest < SCRAPE_MAX, "{quickest:?} for a scrape");

    // Nobody is lost in the caps: what `other` has makes the sums whole.
    let sum = |name: &str| -> f64 {
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_name);
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let by_customer = sum("permille_tokens_total");
    assert!((by_customer - sum("permille_turn_tokens_total")).abs() < 0.5);
    assert!((by_customer - sum("permille_metered_tokens_total")).abs() < 0.5);
    let of_customers = text.lines().filter(|line| line.starts_with("permille_cost_total{"));
    let customers: BTreeSet<_> = of_customers
        .filter_map(|line| line.split("customer=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(customers.len(), 501, "500 customers and `other`");

    for _ in 0..1_000 {
        day.session();
    }
    assert!(day.scrape().series < series + series / 50, "more sessions, hardly more series");
}
