//! Roll-ups by local hour: token quantities for invoices and request counts beside them.
//!
//! Only integers are added here, so the order and the batches in which events arrive change
//! nothing (B5). Money comes of them in `permille-rating`, once per invoice line.

mod repo;

use chrono::{DateTime, Utc};
use permille_rating::{Meter, invoice::UsageSum, period::Period};
use permille_types::{CustomerId, ModelName, PriceVersion, ProjectId};

pub(crate) use repo::{add_quantities, add_requests, quantities, requests};

/// What quantities are added up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QuantityKey {
    pub(crate) customer: CustomerId,
    pub(crate) hour: DateTime<Utc>,
    pub(crate) project: ProjectId,
    pub(crate) model: ModelName,
    pub(crate) meter: Meter,
    pub(crate) price_version: PriceVersion,
    pub(crate) band: u32,
    pub(crate) simulated: bool,
}

/// How much of it: all of it, and the part that was not reported by a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quantity {
    pub(crate) all: i64,
    pub(crate) estimated: i64,
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestKey {
    pub(crate) customer: CustomerId,
    pub(crate) hour: DateTime<Utc>,
    pub(crate) project: ProjectId,
}

/// Requests and how many of them are not as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestCounts {
    pub(crate) all: i64,
    pub(crate) unpriced: i64,
    pub(crate) estimated: i64,
    pub(crate) simulated: i64,
}

/// A customer's quantities of a period, as invoice arithmetic takes them.
#[derive(Debug, Clone)]
pub(crate) struct PeriodQuantities {
    pub(crate) sums: Vec<UsageSum>,
    /// Tokens and units that were not reported by a provider, of all.
    pub(crate) estimated: u64,
}

/// Whether quantities that the built-in simulated provider served are summed with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simulated {
    Counted,
    LeftOut,
}

/// Whose roll-ups of when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) customer: &'a CustomerId,
    pub(crate) period: Period,
}
