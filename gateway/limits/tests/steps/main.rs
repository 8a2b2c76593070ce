//! Steps on a customer's books: what each does, that memory and Redis answer alike, and that
//! several gateways together never serve more than a budget has room for, in an outage too.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod alike;
mod facts;
mod gateways;
mod herd;
mod outages;
mod server;
mod support;
