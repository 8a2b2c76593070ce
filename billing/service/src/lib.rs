//! Billing as a service: the API on the console listener, and what gateways ask of billing.
//!
//! [`Billing`] is billing in process: it takes usage in and publishes snapshots. [`router`] puts
//! the API over it, for people, for commands and for gateways in other processes, and the pages of
//! the console. Who may ask what is decided in `access`; what the answers are, by
//! `permille-ledger`.

mod access;
mod billing;
mod console;
mod export;
mod input;
mod metrics;
mod openapi;
mod output;
mod problem;
mod routes;
mod session_metrics;
mod usage_stream;
mod webhooks;

pub use billing::Billing;
pub use metrics::{Budget, Metrics};
pub use routes::{openapi, router};
pub use usage_stream::{UsageStreamError, UsageStreamReader, UsageStreamSettings};
pub use webhooks::{RETRIES_MAX, Schedule, WebhookSettings};
