//! What a run does: which tests, how often, how long.

use std::time::Duration;

/// Pieces of text in one streamed reply.
pub(crate) const CHUNKS: u16 = 64;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    /// Its name in the results.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// Connections, each with one request at a time.
    pub(crate) connections: u16,
    /// Whether replies are streamed.
    pub(crate) stream: bool,
    /// The most CPU time that the gateway is meant to use, in hundredths of the bare proxy's.
    pub(crate) aim_hundredths: Option<i64>,
}

/// Every test, in the order of the report.
pub(crate) const TESTS: [Test; 3] = [
    Test {
        name: "json-64",
        title: "small JSON, 64 connections",
        connections: 64,
        stream: false,
        aim_hundredths: Some(200),
    },
    Test {
        name: "json-1",
        title: "small JSON, 1 connection",
        connections: 1,
        stream: false,
        aim_hundredths: None,
    },
    Test {
        name: "stream-32",
        title: "streams of 64 chunks, 32 connections",
        connections: 32,
        stream: true,
        aim_hundredths: Some(140),
    },
];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Times that every subject is measured in every test, in turn.
    pub(crate) rounds: u32,
    /// Length of one measurement.
    pub(crate) seconds: u64,
    /// The whole run, from the first child to the last figure; past it the run fails.
    pub(crate) total_max: Duration,
    /// Part of it that is kept for reading the usage rows back.
    pub(crate) reading: Duration,
}

impl Plan {
    /// The full run: under three minutes. A ratio is that of a round, so there are as many as there
    /// is time for; in a second, 64 new connections would still be a tenth of what is measured.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        seconds: 2,
        total_max: Duration::from_secs(178),
        reading: Duration::from_secs(25),
    };

    /// A look in under half a minute: one round, so no median and no spread.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        seconds: 1,
        total_max: Duration::from_secs(29),
        reading: Duration::from_secs(5),
    };
}
