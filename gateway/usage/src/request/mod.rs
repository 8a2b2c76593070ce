//! The request's side of metering: what a body asks for, and the ask for usage.
//!
//! Bodies are read, never rewritten: [`ask_for_usage`] changes the few bytes it must and no
//! others. Fields that metering does not need are not looked at.

mod classify;
mod edit;
mod error;
mod include_usage;
mod model;
mod native;
mod top;

pub use classify::{Asked, RequestFacts, classify};
pub use error::RequestError;
pub use include_usage::ask_for_usage;
pub use model::name_model;
