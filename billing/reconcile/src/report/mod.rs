//! What finance reads and signs.

mod paper;
mod render;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use permille_rating::exact;
use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bill::{Bill, BillFile},
    compare::{Comparison, Side, Status, Tolerance, TooLarge},
    decimal,
};

pub use paper::{Paper, PaperSection, paper};
pub use render::{Signed, csv, html, text};

/// The version of the report that this build writes.
pub const REPORT_VERSION: u16 = 1;
/// Comparisons that a report lists beside its sums, the largest differences first.
pub const LISTED_MAX: usize = 5_000;

/// Who compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunBy {
    /// Their token.
    pub token: String,
    /// Its role.
    pub role: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What was compared, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// Whose bill.
    pub provider: String,
    /// The upstreams that are our side.
    pub upstreams: Vec<String>,
    /// The provider's projects, and the upstreams that use them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, String>,
    /// When two sums agree.
    pub tolerance: Tolerance,
}

/// Sums of comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Sums {
    /// How many.
    pub comparisons: u64,
    /// What the provider says.
    pub billed: Side,
    /// What we have.
    pub ours: Side,
    /// `billed` less `ours`, of the amounts; of a usage export, of the quantities.
    pub difference: Decimal,
}

/// Sums by how comparisons ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfStatus {
    /// How.
    pub status: Status,
    /// Their sums.
    pub sums: Sums,
}

/// Sums by the first reason of comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfReason {
    /// One of [`crate::compare::REASONS`]; `none` where nothing differs.
    pub code: String,
    /// Their sums.
    pub sums: Sums,
}

/// Sums by model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfModel {
    /// Which; absent for lines without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Their sums.
    pub sums: Sums,
}

/// A reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Of this shape.
    pub version: u16,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: RunBy,
    /// What was compared, and how.
    pub scope: Scope,
    /// Of every amount; absent of a usage export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    pub currency: Option<Currency>,
    /// Whose days.
    #[schemars(with = "permille_types::schema::TimeZone")]
    pub time_zone: Tz,
    /// The first day of the bill.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
    /// The files, by their digests.
    pub files: Vec<BillFile>,
    /// The sums of everything. `billed` is what the files total less what was left out of them.
    pub total: Sums,
    /// The sizes of all differences of comparisons that do not agree, whatever their signs.
    pub unmatched: Decimal,
    /// By how comparisons ended: they add up to the total.
    pub statuses: Vec<OfStatus>,
    /// By their first reasons: they add up to the total.
    pub reasons: Vec<OfReason>,
    /// By model: they add up to the total.
    pub models: Vec<OfModel>,
    /// What does not agree, the largest differences first.
    pub differences: Vec<Comparison>,
    /// What does not agree and is not listed.
    pub differences_unlisted: u64,
}

/// What a report is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its id.
    pub id: String,
    /// When it is made.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: RunBy,
    /// What was compared, and how.
    pub scope: Scope,
    /// The bill.
    pub bill: Bill,
    /// What came of it.
    pub comparisons: Vec<Comparison>,
}

impl Bill {
    /// Its first and its last day.
    #[must_use]
    pub fn days(&self) -> Option<(NaiveDate, NaiveDate)> {
        let days = self.cells.iter().map(|cell| cell.key.day);
        days.clone().min().zip(days.max())
    }

    /// What its sums charge; absent where none does.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn total(&self) -> Result<Option<Decimal>, TooLarge> {
        let mut sum = None;
        for cell in &self.cells {
            decimal::add_known(&mut sum, cell.amount).ok_or(TooLarge)?;
        }
        Ok(sum)
    }
}

impl Report {
    /// The report of a comparison.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn new(parts: Parts) -> Result<Self, TooLarge> {
        let Parts { id, at, by, scope, bill, comparisons } = parts;
        let (first, last) = bill.days().unwrap_or_default();
        let mut total = Sums::default();
        let mut unmatched = Decimal::ZERO;
        let mut statuses: BTreeMap<Status, Sums> = BTreeMap::new();
        let mut reasons: BTreeMap<String, Sums> = BTreeMap::new();
        let mut models: BTreeMap<Option<String>, Sums> = BTreeMap::new();
        for comparison in &comparisons {
            let first = comparison.reasons.first().map_or("none", |reason| &reason.code);
            total.add(comparison)?;
            if comparison.status != Status::Matched {
                unmatched = exact::add(unmatched, comparison.size()).map_err(|_| TooLarge)?;
            }
            statuses.entry(comparison.status).or_default().add(comparison)?;
            reasons.entry(first.to_owned()).or_default().add(comparison)?;
            models.entry(comparison.key.model.clone()).or_default().add(comparison)?;
        }
        let mut differences: Vec<Comparison> =
            comparisons.into_iter().filter(|of| of.status != Status::Matched).collect();
        differences.sort_by_key(|of| (std::cmp::Reverse(of.size()), of.key.clone()));
        let unlisted = differences.len().saturating_sub(LISTED_MAX);
        differences.truncate(LISTED_MAX);
        let mut reasons: Vec<OfReason> =
            reasons.into_iter().map(|(code, sums)| OfReason { code, sums }).collect();
        reasons.sort_by_key(|of| std::cmp::Reverse(of.sums.difference.abs()));
        Ok(Self {
            version: REPORT_VERSION,
            id,
            at,
            by,
            scope,
            currency: bill.currency,
            time_zone: bill.time_zone,
            first,
            last,
            files: bill.files,
            total,
            unmatched,
            statuses: statuses
                .into_iter()
                .map(|(status, sums)| OfStatus { status, sums })
                .collect(),
            reasons,
            models: models.into_iter().map(|(model, sums)| OfModel { model, sums }).collect(),
            differences,
            differences_unlisted: u64::try_from(unlisted).unwrap_or(u64::MAX),
        })
    }

    /// The part of the bill that does not agree, in thousandths of the bill: the sizes of all
    /// differences, whatever their sign. Absent where the bill is nothing.
    #[must_use]
    pub fn drift_permille(&self) -> Option<Decimal> {
        let is_money = self.currency.is_some();
        let whole = if is_money { self.total.billed.amount } else { self.total.billed.quantity };
        let whole = whole.filter(|whole| !whole.is_zero())?;
        let open = self.unmatched.checked_mul(Decimal::ONE_THOUSAND)?;
        let drift = open.checked_div(whole.abs())?;
        Some(drift.round_dp(3).normalize())
    }
}

impl Comparison {
    /// What it differs by: the amount, of a usage export the quantity.
    fn main(&self) -> Decimal {
        self.difference.or(self.quantity_difference).unwrap_or_default()
    }

    fn size(&self) -> Decimal {
        self.main().abs()
    }
}

impl Sums {
    fn add(&mut self, of: &Comparison) -> Result<(), TooLarge> {
        self.comparisons = self.comparisons.saturating_add(1);
        for (sum, more) in [
            (&mut self.billed.quantity, of.billed.quantity),
            (&mut self.billed.amount, of.billed.amount),
            (&mut self.ours.quantity, of.ours.quantity),
            (&mut self.ours.amount, of.ours.amount),
        ] {
            decimal::add_known(sum, more).ok_or(TooLarge)?;
        }
        self.difference = exact::add(self.difference, of.main()).map_err(|_| TooLarge)?;
        Ok(())
    }
}
