//! Permits and reservations in every order that threads can take, by loom: the sources as they
//! are, over its memory instead of the processor's. What a step on books does is tested elsewhere.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test that cannot go on fails; of the sources it runs what threads share"
)]

#[path = "../../src/budget.rs"]
mod budget;
#[path = "../../src/fleet/identity.rs"]
mod identity;
#[path = "../../src/local.rs"]
mod local;
mod outages;
mod permits;
mod reservations;
#[path = "../../src/fleet/standing.rs"]
mod standing;
mod threads;

/// What the sources find at the root of their crate.
pub(crate) use permille_limits::Books;
pub(crate) mod step {
    pub(crate) use permille_limits::{Base, Extended, Kind, Line, Post, Posted, Reserved, Use};
}
