//! Plans: what a customer owes beside and instead of usage at its own prices.
//!
//! A plan is read from a `[[plan]]` entry ([`parse_plans`]) and never changes: another content is
//! another version. What it makes of a month is told in [`crate::invoice`]; who has which plan
//! from when on is known to the ledger.

mod parse;

use permille_types::{Currency, ModelName, PriceVersion};
use rust_decimal::Decimal;

pub use parse::parse_plans;

use crate::{
    FieldError,
    charge::{Cover, PeriodCharge},
    grant::GrantOrder,
};

/// Why a plan file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is not TOML.
    #[error("read plan file `{origin}`")]
    Syntax {
        /// The file.
        origin: String,
        /// Line, column and reason.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// A plan is refused.
    #[error("read plan file `{origin}`, {entry}")]
    Entry {
        /// The file.
        origin: String,
        /// Which part of it.
        entry: String,
        /// What is wrong with it.
        #[source]
        cause: FieldError,
    },
    /// The file holds no plan.
    #[error("plan file `{origin}` holds no `[[plan]]`")]
    None {
        /// The file.
        origin: String,
    },
}

/// What kind of plan it is. The kind says what there must be and what may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Usage is paid for as it comes.
    Metered,
    /// A fee for each month, with an allowance.
    Subscription,
    /// Usage is paid for from grants as far as they go.
    Prepaid,
    /// So much is spent each month, or the rest is owed.
    Commitment,
}

impl PlanKind {
    /// Every kind with its name in files.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Metered, "metered"),
        (Self::Subscription, "subscription"),
        (Self::Prepaid, "prepaid"),
        (Self::Commitment, "commitment"),
    ];

    /// Its name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| *name)
    }
}

/// A plan. Amounts are in `currency`, for a whole month, never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Made of its content.
    pub version: PriceVersion,
    /// Its name, as it reads on invoices.
    pub name: ModelName,
    /// What kind of plan it is.
    pub kind: PlanKind,
    /// Currency of every amount.
    pub currency: Currency,
    /// Owed for each month, whatever is used.
    pub fee: Option<Decimal>,
    /// What the fee includes.
    pub allowance: Option<Allowance>,
    /// Prices of sums, instead of the usage's own.
    pub charges: Vec<PeriodCharge>,
    /// Usage of a month costs so much at least.
    pub commitment: Option<Decimal>,
    /// Usage, fee and commitment of a month are so much at least.
    pub minimum: Option<Decimal>,
    /// Once so much of a month's usage is unbilled, an interim invoice is drafted over it; above 0.
    /// It has no part in what anything costs.
    pub threshold: Option<Decimal>,
    /// What is tried for nothing.
    pub trial: Option<Trial>,
    /// How prepaid credit pays.
    pub credit: CreditTerms,
    /// Its one canonical text, in TOML.
    pub content: String,
}

/// What a fee includes of the usage that no charge of the plan covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// How much.
    pub included: Included,
    /// Of which models and classes.
    pub cover: Cover,
    /// What is above.
    pub overage: Overage,
}

/// How much an allowance includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Included {
    /// So many tokens.
    Tokens {
        /// For a whole month.
        count: u64,
        /// Which of them are the included ones.
        first: First,
    },
    /// Usage that costs so much at its own prices.
    Amount(Decimal),
}

/// Which tokens an allowance takes first. The order in which they came has no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum First {
    /// Those that cost most.
    #[default]
    Dearest,
    /// Those that cost least.
    Cheapest,
}

/// What usage above an allowance costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overage {
    /// Its own price.
    #[default]
    List,
    /// So much for a thousand tokens.
    PerThousand(Decimal),
}

/// What is tried for nothing, once, from the instant on at which a customer first has the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Days of the customer's calendar. Without `credit` nothing is owed for them; with it, the
    /// credit ends with them.
    pub days: Option<u32>,
    /// A grant of so much.
    pub credit: Option<Decimal>,
}

impl Trial {
    /// Days for which nothing is owed.
    #[must_use]
    pub fn free_days(&self) -> Option<u32> {
        self.days.filter(|_| self.credit.is_none())
    }
}

/// How prepaid credit pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreditTerms {
    /// Before or after tax.
    pub taken: CreditTaken,
    /// Which of several grants pays first.
    pub order: GrantOrder,
}

/// Where prepaid credit stands on an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CreditTaken {
    /// It is a payment: taxes are on the whole, credit pays what is due.
    #[default]
    AfterTax,
    /// It lowers the net that taxes are on.
    BeforeTax,
}
