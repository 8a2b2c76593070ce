//! A bill against our side: sums of one day, model, class and project against each other.
//!
//! Every sum of either side is in exactly one comparison, so the comparisons add up to both totals.
//! Classes and models that the two sides name differently are brought together first
//! (`names.rs`); what then differs is explained as far as the two sides themselves tell why
//! (`reasons.rs`). A reason is what fits the numbers, not a proof.

mod names;
mod reasons;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use permille_rating::exact;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bill::{Bill, BillCell, CellKey},
    decimal,
};

pub use reasons::REASONS;

/// Our side of one day: what calls to the provider's upstreams consumed and should cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OurCell {
    /// A day of the provider.
    pub day: NaiveDate,
    /// The model, as the provider's replies name it.
    pub model: String,
    /// Our token class or unit.
    pub class: String,
    /// The upstream that was called.
    pub upstream: Option<String>,
    /// How much.
    pub quantity: u64,
    /// What it should cost, as far as it has a price of side `cost`.
    pub amount: Decimal,
    /// How much of it has none.
    pub unpriced: u64,
    /// How much calls consumed that failed, or that another one followed.
    pub failed: u64,
    /// How much was counted here and not told by the provider.
    pub estimated: u64,
    /// How much was of the tier `batch`.
    pub batch: u64,
    /// Calls that failed and told no usage: of the model, in each of its classes.
    pub untold: u64,
}

/// When two sums agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Of one comparison, in units of the currency.
    pub amount: Decimal,
    /// Or in thousandths of the bill's amount, where that is more.
    pub amount_permille: Decimal,
    /// Of one comparison, in thousandths of the bill's quantity.
    pub quantity_permille: Decimal,
}

impl Default for Tolerance {
    /// A cent, or a thousandth of the amount; quantities are equal.
    fn default() -> Self {
        Self {
            amount: Decimal::new(1, 2),
            amount_permille: Decimal::ONE,
            quantity_permille: Decimal::ZERO,
        }
    }
}

/// How a comparison ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Both sides agree, within the tolerance.
    Matched,
    /// They do not.
    Different,
    /// It is on the bill alone.
    OnlyBilled,
    /// It is on our side alone.
    OnlyOurs,
}

/// One side of a comparison; absent is what it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Tokens or units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// Money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
}

/// Why a comparison may have ended so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// One of [`REASONS`].
    pub code: String,
    /// The numbers that say so.
    pub detail: String,
}

/// Two sums against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// What they are of.
    pub key: CellKey,
    /// How it ended.
    pub status: Status,
    /// What the provider says; nothing where it says nothing.
    pub billed: Side,
    /// What we have.
    pub ours: Side,
    /// `billed` less `ours`, of the amounts; of a usage export there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Decimal>,
    /// The same of the quantities, where both sides have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity_difference: Option<Decimal>,
    /// The most likely first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// A comparison that is being made.
#[derive(Debug, Clone)]
struct Pair {
    key: CellKey,
    billed: Option<Side>,
    batch: bool,
    ours: Option<Ours>,
    status: Status,
    difference: Option<Decimal>,
    quantity_difference: Option<Decimal>,
}

/// Our side of a comparison.
#[derive(Debug, Clone, Default)]
struct Ours {
    quantity: Decimal,
    amount: Decimal,
    unpriced: Decimal,
    failed: Decimal,
    estimated: Decimal,
    batch: Decimal,
    untold: u64,
}

/// Sums do not fit 28 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum of the comparison has more than 28 digits")]
pub struct TooLarge;

/// Compares a bill with our side, of the same days.
///
/// `projects` says which upstream uses a project of the provider; where it is empty, projects are
/// not told apart.
///
/// # Errors
/// [`TooLarge`].
pub fn compare(
    bill: &Bill,
    ours: &[OurCell],
    projects: &BTreeMap<String, String>,
    tolerance: &Tolerance,
) -> Result<Vec<Comparison>, TooLarge> {
    let has_amounts = bill.cells.iter().any(|cell| cell.amount.is_some());
    let known = names::Names::new(bill, ours, projects);
    let mut pairs: BTreeMap<CellKey, Pair> = BTreeMap::new();
    for BillCell { key, quantity, amount, batch } in &bill.cells {
        let key = known.of_bill(key);
        let pair = pairs.entry(key).or_insert_with_key(Pair::new);
        let side = pair.billed.get_or_insert_default();
        add_known(&mut side.quantity, *quantity)?;
        add_known(&mut side.amount, *amount)?;
        pair.batch = pair.batch || *batch;
    }
    for cell in ours {
        let key = known.of_ours(cell);
        // Every call is a request; who does not sell requests does not bill them.
        if cell.class == "requests" && cell.amount.is_zero() && !pairs.contains_key(&key) {
            continue;
        }
        let pair = pairs.entry(key).or_insert_with_key(Pair::new);
        pair.ours.get_or_insert_default().add(cell)?;
    }
    let mut pairs: Vec<Pair> = pairs.into_values().collect();
    for pair in &mut pairs {
        pair.settle(has_amounts, tolerance)?;
    }
    Ok(reasons::explain(pairs, has_amounts, tolerance, &known))
}

impl Pair {
    fn new(key: &CellKey) -> Self {
        Self {
            key: key.clone(),
            billed: None,
            batch: false,
            ours: None,
            status: Status::Matched,
            difference: None,
            quantity_difference: None,
        }
    }

    fn settle(&mut self, has_amounts: bool, tolerance: &Tolerance) -> Result<(), TooLarge> {
        let billed = self.billed.clone().unwrap_or_default();
        let ours = self.ours.clone().unwrap_or_default();
        let difference = |ours: Decimal, billed: Option<Decimal>| {
            exact::sub(billed.unwrap_or_default(), ours).map_err(|_| TooLarge)
        };
        if has_amounts {
            self.difference = Some(difference(ours.amount, billed.amount)?);
        }
        if billed.quantity.is_some() || self.billed.is_none() || !has_amounts {
            self.quantity_difference = Some(difference(ours.quantity, billed.quantity)?);
        }
        let amounts_agree = !has_amounts || self.amounts_agree(tolerance);
        let quantities_agree = self.quantities_agree(tolerance).unwrap_or(true);
        self.status = match (&self.billed, &self.ours) {
            // No rounding makes a charge out of nothing: many small ones would hide behind it.
            (Some(_), None) if billed.amount.is_some_and(|amount| !amount.is_zero()) => {
                Status::OnlyBilled
            }
            // What costs nothing on either side is no difference, whatever its count.
            _ if amounts_agree && (has_amounts || quantities_agree) => Status::Matched,
            (Some(_), None) => Status::OnlyBilled,
            (None, _) => Status::OnlyOurs,
            (Some(_), Some(_)) => Status::Different,
        };
        Ok(())
    }

    /// Whether the amounts agree; a price that is not known agrees with nothing.
    fn amounts_agree(&self, tolerance: &Tolerance) -> bool {
        let billed = self.billed.as_ref().and_then(|side| side.amount).unwrap_or_default();
        let unpriced = self.ours.as_ref().is_some_and(|ours| !ours.unpriced.is_zero());
        let most = share(billed, tolerance.amount_permille).max(tolerance.amount);
        !unpriced && self.difference.is_some_and(|difference| difference.abs() <= most)
    }

    /// Whether the quantities agree; absent where the bill does not say.
    fn quantities_agree(&self, tolerance: &Tolerance) -> Option<bool> {
        let billed = self.billed.as_ref().and_then(|side| side.quantity).unwrap_or_default();
        let most = share(billed, tolerance.quantity_permille);
        self.quantity_difference.map(|difference| difference.abs() <= most)
    }
}

impl Ours {
    fn add(&mut self, cell: &OurCell) -> Result<(), TooLarge> {
        for (sum, more) in [
            (&mut self.quantity, cell.quantity.into()),
            (&mut self.amount, cell.amount),
            (&mut self.unpriced, cell.unpriced.into()),
            (&mut self.failed, cell.failed.into()),
            (&mut self.estimated, cell.estimated.into()),
            (&mut self.batch, cell.batch.into()),
        ] {
            *sum = exact::add(*sum, more).map_err(|_| TooLarge)?;
        }
        self.untold = self.untold.max(cell.untold);
        Ok(())
    }
}

fn add_known(sum: &mut Option<Decimal>, more: Option<Decimal>) -> Result<(), TooLarge> {
    decimal::add_known(sum, more).ok_or(TooLarge)
}

/// So many thousandths of a value, without its sign.
fn share(value: Decimal, permille: Decimal) -> Decimal {
    let part =
        value.abs().checked_mul(permille).and_then(|part| part.checked_div(Decimal::ONE_THOUSAND));
    part.unwrap_or_default()
}
