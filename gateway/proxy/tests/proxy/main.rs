//! The gateway over real sockets: simulated and scripted providers, recorded replies, a journal and
//! what billing would be told.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; counters are whole numbers"
)]

mod audits;
mod bounds;
mod bypasses;
mod costs;
mod durability;
mod endings;
mod families;
mod framing;
mod gateways;
mod http2;
mod limits;
mod native;
mod odd_replies;
mod otlp;
mod policies;
mod rates;
mod refusals;
mod regressions;
mod retries;
mod routing;
mod served;
mod sessions;
mod snapshots;
mod stored;
mod support;
mod tokens;
mod wire;
