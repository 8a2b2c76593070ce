//! Counting through the crate's public interface, in one binary: the tokenizers' tables are linked
//! once. `docs/metering.md` says which test stands for which defect.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod accuracy;
mod classes;
mod common;
mod fields;
mod framing;
mod gemini;
mod generic;
mod native;
mod provenance;
mod regressions;
mod responses;
mod robust;
mod stops;
mod stream;
mod wire;
