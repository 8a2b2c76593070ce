//! Limits: what is held at once, how often, and for how much money.
//!
//! A [`Budget`] bounds what this process holds (open requests, bytes of request bodies, drains):
//! its [`Taken`] share is given back when dropped, which is when the reply has *ended*, not when
//! it has begun. [`RetryBudget`] bounds what is called again.
//!
//! [`Limits`] are those of customers, projects, keys and sessions: requests, tokens, concurrency
//! and money. Each request takes one atomic step over all that it meets ([`Books`]), in this
//! process or in a Redis that several gateways share ([`SharedBooks`]): the worst case is reserved
//! before the upstream is called, and what was used takes its place when the request settles.
//!
//! What a request may cost and which limits it meets is the caller's to say; what was spent before
//! is the ledger's ([`Spendings`]).

mod books;
mod budget;
mod fleet;
mod learnt;
mod limits;
mod loads;
mod local;
mod log;
mod retries;
mod shared;
mod step;
mod threads;

pub use books::Books;
pub use budget::{Budget, Taken};
pub use learnt::OutputLengths;
pub use limits::{
    Booked, Health, Limits, LoadError, Place, Refused, Reservation, Settlement, Spendings, WhenAway,
};
pub use retries::RetryBudget;
pub use shared::{Lease, SharedBooks, SharedError};
pub use step::{Base, Blocked, Extended, Kind, Line, Loaded, Post, Posted, Reserved, Use};
