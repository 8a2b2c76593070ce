//! The tower stack between clients and model APIs: authenticates, routes, meters, passes on.
//!
//! `stack.rs` reads top to bottom and is the place to begin. A request changes type from
//! layer to layer (`context`), so the compiler checks the order. The life of a metered reply is
//! in `exchange` (every way it can end) and `body` (what the client gets, and when).
//!
//! Not here: counting (`permille-usage`), durability (`permille-journal`), prices
//! (`permille-rating`). This crate never sees the billing database.

mod access_token;
mod attempts;
mod auditor;
mod body;
mod choice;
mod client_key;
pub mod config;
mod context;
mod control;
mod cost;
mod credential;
mod exchange;
mod gateway;
mod generic;
mod google;
mod headers;
mod health;
mod known;
mod lanes;
mod layers;
mod limiter;
mod metering;
mod metrics;
mod models;
mod policy;
mod record;
mod refusal;
mod reload;
mod remote;
mod reply;
mod reply_body;
mod routes;
mod server;
mod stack;
mod stage;
mod stored;
mod tc3;
mod threads;
mod upstream;
mod usage_stream;
mod workers;

pub use gateway::{Foundation, Gateway, GatewayError, Readiness};
pub use known::KnownError;
pub use metrics::Metrics;
pub use policy::PolicyError;
pub use reload::{Reload, Reloaded};
pub use remote::{RemoteBilling, RemoteError};
pub use server::nothing_asked;
pub use upstream::UpstreamError;
pub use usage_stream::{UsageStreamError, UsageStreamIntake};
