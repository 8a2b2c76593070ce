//! What OpenTelemetry is told of model calls: one client span for each call and the client metrics
//! of its conventions for generative AI, sent over OTLP. Never a text of a prompt or a reply.
//!
//! It is told in passing: a request waits for nothing here. What the collector does not take in
//! time is dropped and counted.
//!
//! Not the ledger, and no source of what is billed: spans are sampled, and may be lost.

mod batches;
mod config;
mod convention;
mod counters;
mod exporters;
mod instruments;
mod sampler;
mod telemetry;

pub use config::{OtlpConfig, OtlpSection, Protocol, Ratio, parse_headers};
pub use counters::Counters;
pub use exporters::OtlpError;
pub use telemetry::{Server, Telemetry, Trace};
