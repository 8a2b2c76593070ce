//! What whole-system tests stand on: real processes, real HTTP, a folder of their own.
//!
//! ```ignore
//! mod support;
//! use support::{Folder, eventually};
//!
//! let folder = Folder::new();                       // data folder and permille.toml of one test
//! let simulator = folder.simulator().await;         // a provider with its own books
//! folder.config(&simulator.upstreams());            // every listener is on a free port already
//! let mut server = folder.serve().await;            // `permille serve`, ready
//! let key = folder.key("acme", "USD");              // a customer and a key of its own
//! let reply = server.chat(&key, json!({"model": "gpt-4o-mini", …})).await;
//! server.kill().await;                              // kill -9
//! let server = folder.serve().await;                // again, on the same folder
//! let rows = folder.usage(&["--customer", "acme"]); // `permille usage list --json`
//! ```
//!
//! Everything ends with its value: a dropped [`Server`] or [`Simulator`] is killed, a dropped
//! [`Folder`] removed. Nothing sleeps: [`eventually`] awaits a condition with a deadline.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test binary uses its own part of this module"
)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

pub mod alertmanager;
pub mod books;
pub mod clock;
mod command;
pub mod disk;
pub mod postgres;
pub mod prepaid;
mod process;
pub mod prometheus;
pub mod receiver;
mod recorded;
pub mod redis;
pub mod relay;
pub mod sdk;
pub mod slow_disk;
pub mod terminal;
mod web;

pub use command::{Finished, Folder, PROGRAM};
pub use process::{Server, Simulator};
pub use recorded::{Choose, Recorded};
pub use web::{Reply, Streamed, Web};

use std::time::Duration;

/// How long a condition may take before a test fails: far above what a loaded machine needs.
pub const DEADLINE: Duration = Duration::from_mins(3);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Awaits until `look` gives a value.
///
/// # Panics
/// When it gives none within [`DEADLINE`]; the message says `what` was awaited.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let awaited = async {
        loop {
            ticks.tick().await;
            if let Some(value) = look().await {
                return value;
            }
        }
    };
    let Ok(value) = tokio::time::timeout(DEADLINE, awaited).await else {
        panic!("{what}: not within {} s", DEADLINE.as_secs());
    };
    value
}
