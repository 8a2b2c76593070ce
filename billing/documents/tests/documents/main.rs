//! Documents in every form: what they say, that their parts add up, that bad names are harmless.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod bad_names;
mod breakdown;
mod focus;
mod html;
mod journals;
mod parts;
mod pdf;
mod random_terms;
mod samples;
mod statement;
mod tables;
mod terms;
mod ubl;
