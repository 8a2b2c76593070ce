//! The simulated provider over real sockets: shapes, counts, cache, faults, books.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod anthropic;
mod books;
mod cache;
mod faults;
mod http2;
mod openai;
mod refusals;
mod support;
mod tools;
