//! Charges: how a quantity becomes an amount over a period.
//!
//! Where a price book prices every token alike, a charge knows packages, tiers, minimums. One
//! charge prices one quantity. A [`PeriodCharge`] says of which models, classes and customer the
//! quantity is; what it makes of a month is told in [`crate::invoice`].
//!
//! # Rules, where billing systems differ
//! - A tier's `up_to` is inclusive; the next tier begins just above it. A fractional quantity
//!   falls in exactly one tier, there is no gap between "up to 100" and "from 101".
//! - **graduated**: each tier prices the part of the quantity inside it. Its `flat` applies once
//!   when any of the quantity falls in it.
//! - **volume**: the tier that the whole quantity falls in prices all of it, plus its `flat`.
//! - Quantity 0 falls in the first tier: its `flat` applies. A package at 0 costs nothing.
//! - **package**: after `free` units, every begun package of `size` costs `unit`, over the whole
//!   period (never per event).
//! - Then, in this order: `discount_percent`, `maximum`, `minimum`. Each is a line of its own.
//! - Lines are exact and add up to the exact amount; only that is rounded, once.

mod cover;
mod parse;
mod quote;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, ModelName, PriceVersion};
use rust_decimal::Decimal;

pub use cover::{Cover, Meters, Per};
pub(crate) use parse::{Whose, entry_version, models, period_charge, token_classes};
pub use parse::{parse_charge, parse_period_charges};
pub(crate) use quote::adjustment;
pub use quote::{LineKind, Quote, QuoteError, QuoteLine, quote};

use crate::FieldError;

/// Why a charge file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    /// The file is not TOML.
    #[error("read charge file `{origin}`")]
    Syntax {
        /// The file.
        origin: String,
        /// Line, column and reason.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// The charge is refused.
    #[error("read charge file `{origin}`, {entry}")]
    Entry {
        /// The file.
        origin: String,
        /// Which part of it.
        entry: String,
        /// What is wrong with it.
        #[source]
        cause: FieldError,
    },
    /// The file holds no charge.
    #[error("charge file `{origin}` holds no `[[charge]]`")]
    None {
        /// The file.
        origin: String,
    },
    /// The file does not hold exactly one charge.
    #[error("charge file `{origin}` holds {count} charges, accepted is one `[[charge]]`")]
    NotOne {
        /// The file.
        origin: String,
        /// How many it holds.
        count: usize,
    },
}

/// How a quantity becomes an amount. Amounts are in `currency`, never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What the charge is for, as it would read on an invoice.
    pub name: Option<String>,
    /// Currency of every amount.
    pub currency: Currency,
    /// The pricing rule.
    pub kind: ChargeKind,
    /// The amount is raised to this.
    pub minimum: Option<Decimal>,
    /// The amount is cut to this, before `minimum`; never below it.
    pub maximum: Option<Decimal>,
    /// Percent taken off first, 0 to 100.
    pub discount_percent: Option<Decimal>,
}

/// A charge with what it covers: a term of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodCharge {
    /// Made of its content, as that of a price is.
    pub version: PriceVersion,
    /// What it is called on invoices, in the place of a model. Of one customer's charges, or
    /// everyone's, of one name the latest holds.
    pub name: ModelName,
    /// Whose it is; absent: everyone's, or that of the plan which it is part of.
    pub customer: Option<CustomerId>,
    /// It prices months that begin at this instant or later.
    pub from: DateTime<Utc>,
    /// It prices months that begin before this instant.
    pub until: Option<DateTime<Utc>>,
    /// The rule.
    pub charge: Charge,
    /// What the rule prices the sum of.
    pub cover: Cover,
    /// Its one canonical text, in TOML.
    pub content: String,
}

impl PeriodCharge {
    /// Whether it prices the month that begins at `start`.
    #[must_use]
    pub fn holds_for(&self, start: DateTime<Utc>) -> bool {
        self.from <= start && self.until.is_none_or(|until| start < until)
    }
}

/// The pricing rule of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeKind {
    /// Every unit costs the same.
    Unit {
        /// Price of one.
        unit: Decimal,
    },
    /// Every begun package costs the same.
    Package {
        /// Units in a package, above zero.
        size: Decimal,
        /// Price of a package.
        unit: Decimal,
        /// Units that cost nothing, counted first.
        free: Decimal,
    },
    /// Each tier prices the part of the quantity inside it.
    Graduated(Tiers),
    /// The tier of the whole quantity prices all of it.
    Volume(Tiers),
}

/// Tiers in ascending order. The last is open, and only the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    bounded: Vec<(Decimal, TierPrice)>,
    open: TierPrice,
}

/// What one tier costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierPrice {
    /// Price of one unit.
    pub unit: Decimal,
    /// Price of being in the tier at all.
    pub flat: Decimal,
}

impl Tiers {
    /// The tiers up to and including `up_to` each, then an open one.
    ///
    /// # Errors
    /// [`FieldError`] when a bound is not above the one before.
    pub fn new(bounded: Vec<(Decimal, TierPrice)>, open: TierPrice) -> Result<Self, FieldError> {
        let mut below = Decimal::ZERO;
        for (up_to, _) in &bounded {
            if *up_to <= below {
                let reason = format!("{up_to} is not above {below}, where the tier begins");
                return Err(FieldError::invalid("tiers.up_to", reason));
            }
            below = *up_to;
        }
        Ok(Self { bounded, open })
    }

    /// The tiers as (above, up to and including, price); the last has no upper bound.
    fn spans(&self) -> impl Iterator<Item = (Decimal, Option<Decimal>, TierPrice)> {
        let starts = std::iter::once(Decimal::ZERO).chain(self.bounded.iter().map(|tier| tier.0));
        let tiers = self.bounded.iter().map(|(up_to, price)| (Some(*up_to), *price));
        starts
            .zip(tiers.chain(std::iter::once((None, self.open))))
            .map(|(above, (up_to, price))| (above, up_to, price))
    }
}
