//! Rates and concurrency, in process.
//!
//! A [`Budget`] bounds what is held at once (open requests, bytes of request bodies, drains): its
//! [`Taken`] share is given back when dropped, which is when the reply has *ended*, not when it
//! has begun. [`RequestRates`] bounds requests per minute and key, [`RetryBudget`] what is called
//! again. Money budgets and limits that several gateways share are not here yet.

mod budget;
mod rates;
mod retries;

pub use budget::{Budget, Taken};
pub use rates::{RateExceeded, RequestRates};
pub use retries::RetryBudget;
