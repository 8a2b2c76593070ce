//! The load client: a fixed number of keep-alive connections, each with one request at a time,
//! for a fixed time or number of requests. One thread; it runs as a process of its own.

mod exchange;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::statistics::{Percentiles, micros};
use exchange::{Exchange, Timing};

/// Variable that carries the bearer key: an argument would show in the list of processes.
pub(crate) const KEY_VARIABLE: &str = "BENCH_KEY";

/// Longest wait for one reply: far above any honest one, so that a hang ends as an error.
const REPLY_MAX: Duration = Duration::from_secs(20);
/// Pause of a connection after an error: a server that is gone must not be hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// What to send, how much of it and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Where the server listens.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
    /// How long to send; replies that are under way are still awaited.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) seconds: Option<u64>,
    /// How many requests to send.
    #[arg(long, required_unless_present = "seconds", conflicts_with = "seconds")]
    pub(crate) requests: Option<u64>,
    /// Ask for streamed replies, with usage.
    #[arg(long)]
    pub(crate) stream: bool,
    /// Bearer key.
    #[arg(long, env = KEY_VARIABLE, hide_env_values = true)]
    pub(crate) key: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    /// Replies that arrived in full with status 200.
    pub(crate) requests: u64,
    /// Everything else.
    pub(crate) errors: u64,
    /// The first of the errors.
    pub(crate) first_error: Option<String>,
    /// From the first request to the last reply.
    pub(crate) elapsed_us: u64,
    /// From sending a request to the end of its reply.
    pub(crate) total: Option<Percentiles>,
    /// From sending a request to the reply's head, or to the first frame of a stream.
    pub(crate) first_byte: Option<Percentiles>,
    /// Bytes of all reply bodies.
    pub(crate) bytes: u64,
}

/// What one connection did.
#[derive(Debug, Default)]
struct Tally {
    timings: Vec<Timing>,
    bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

/// When to stop sending.
#[derive(Debug)]
struct Supply {
    until: Option<Instant>,
    left: AtomicU64,
}

impl Supply {
    /// Whether one more request may be sent.
    fn take(&self) -> bool {
        if let Some(until) = self.until {
            return Instant::now() < until;
        }
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Sends the load and waits for every reply.
pub(crate) async fn run(load: &Load) -> LoadReport {
    let begun = Instant::now();
    let supply = Arc::new(Supply {
        until: load.seconds.map(|seconds| begun + Duration::from_secs(seconds)),
        left: AtomicU64::new(load.requests.unwrap_or_default()),
    });
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(keep_sending(Exchange::new(load), Arc::clone(&supply)));
    }
    let tallies = connections.join_all().await;
    report(&tallies, begun.elapsed())
}

async fn keep_sending(mut exchange: Exchange, supply: Arc<Supply>) -> Tally {
    let mut tally = Tally::default();
    while supply.take() {
        let failed = match tokio::time::timeout(REPLY_MAX, exchange.once()).await {
            Ok(Ok(timing)) => {
                tally.bytes += timing.bytes;
                tally.timings.push(timing);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no whole reply within {} s", REPLY_MAX.as_secs()),
        };
        exchange.reconnect();
        tally.errors += 1;
        tally.first_error.get_or_insert(failed);
        tokio::time::sleep(ERROR_PAUSE).await;
    }
    tally
}

fn report(tallies: &[Tally], elapsed: Duration) -> LoadReport {
    let times = |of: fn(&Timing) -> Duration| {
        Percentiles::of(tallies.iter().flat_map(|tally| tally.timings.iter().map(of)).collect())
    };
    let requests = tallies.iter().map(|tally| tally.timings.len()).sum::<usize>();
    LoadReport {
        requests: u64::try_from(requests).unwrap_or(u64::MAX),
        errors: tallies.iter().map(|tally| tally.errors).sum(),
        first_error: tallies.iter().find_map(|tally| tally.first_error.clone()),
        elapsed_us: micros(elapsed),
        total: times(|timing| timing.total),
        first_byte: times(|timing| timing.first_byte),
        bytes: tallies.iter().map(|tally| tally.bytes).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supply_of_requests_is_never_exceeded() {
        let supply = Supply { until: None, left: AtomicU64::new(2) };

        let taken = [supply.take(), supply.take(), supply.take(), supply.take()];

        assert_eq!(taken, [true, true, false, false]);
    }

    #[test]
    fn errors_are_counted_apart_from_requests() {
        let timing = Timing {
            first_byte: Duration::from_millis(1),
            total: Duration::from_millis(3),
            bytes: 10,
        };
        let good = Tally { timings: vec![timing, timing], bytes: 20, ..Tally::default() };
        let bad = Tally { errors: 1, first_error: Some("cut".to_owned()), ..Tally::default() };

        let report = report(&[good, bad], Duration::from_secs(1));

        assert_eq!((report.requests, report.errors, report.bytes), (2, 1, 20));
        assert_eq!(report.first_error.as_deref(), Some("cut"));
        assert_eq!(report.total.map(|total| total.p99_us), Some(3_000));
        assert_eq!(report.first_byte.map(|first| first.p50_us), Some(1_000));
    }
}
