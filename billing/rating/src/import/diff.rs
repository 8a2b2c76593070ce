//! What an import would change in the book that holds.

use permille_types::{Price, PriceVersion, Rates};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Meter, exact,
    price_book::{meters, price_of, rates_of_band},
};

/// A change by this factor or more is more likely a slip of the unit than a new price.
const JUMP: Decimal = Decimal::ONE_HUNDRED;

/// What an import would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// Entries of models, customers, providers or currencies without one at that time.
    pub added: Vec<Price>,
    /// Entries that take over from one with other amounts.
    pub changed: Vec<Change>,
    /// How many entries say what holds already. They are not imported.
    pub unchanged: u64,
}

/// An entry that takes over from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The new entry.
    pub price: Price,
    /// The one that holds until then.
    pub before: PriceVersion,
    /// Where their amounts differ. Empty when their conditions do.
    pub amounts: Vec<AmountChange>,
    /// Whether an amount changes a hundredfold, or to or from nothing.
    pub jump: bool,
}

/// An amount that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmountChange {
    /// 0 outside every band.
    pub band: u32,
    /// The class or unit.
    pub meter: Meter,
    /// Per thousand tokens or per unit; absent where there was no price.
    pub before: Option<Decimal>,
    /// The same, from then on.
    pub after: Option<Decimal>,
}

impl Diff {
    /// What is to be imported.
    #[must_use]
    pub fn prices(&self) -> Vec<Price> {
        let changed = self.changed.iter().map(|change| &change.price);
        self.added.iter().chain(changed).cloned().collect()
    }

    /// Whether any amount changes a hundredfold.
    #[must_use]
    pub fn jumps(&self) -> bool {
        self.changed.iter().any(|change| change.jump)
    }
}

/// What `new` would change in `current`, the entries that hold with the ends that they have.
#[must_use]
pub fn diff(current: &[Price], new: &[Price]) -> Diff {
    let mut diff = Diff { added: Vec::new(), changed: Vec::new(), unchanged: 0 };
    for price in new {
        match current.iter().find(|other| is_before(other, price)) {
            None => diff.added.push(price.clone()),
            Some(other) if same(other, price) => diff.unchanged = diff.unchanged.saturating_add(1),
            Some(other) => diff.changed.push(change(other, price)),
        }
    }
    diff
}

/// Whether `price` would take over from `other`.
fn is_before(other: &Price, price: &Price) -> bool {
    let subject = |price: &Price| {
        let whose = (price.customer.clone(), price.side, price.relative.is_some());
        (whose, price.model.clone(), price.provider.clone(), price.currency)
    };
    other.from <= price.from
        && other.until.is_none_or(|until| price.from < until)
        && subject(other) == subject(price)
}

fn same(other: &Price, price: &Price) -> bool {
    other.rates == price.rates
        && other.bands == price.bands
        && other.relative == price.relative
        && (price.until.is_none() || price.until == other.until)
}

fn change(before: &Price, price: &Price) -> Change {
    let bands = before.bands.len().max(price.bands.len());
    let mut amounts = Vec::new();
    for band in (0..).take(bands.saturating_add(1)) {
        let nothing = Rates::default();
        let old = rates_of_band(before, band).unwrap_or(&nothing);
        let new = rates_of_band(price, band).unwrap_or(&nothing);
        let mut meters: Vec<Meter> = [old, new].into_iter().flat_map(meters).collect();
        meters.sort();
        meters.dedup();
        amounts.extend(meters.into_iter().filter_map(|meter| {
            let (before, after) = (price_of(old, &meter), price_of(new, &meter));
            (before != after).then_some(AmountChange { band, meter, before, after })
        }));
    }
    let jump = amounts.iter().any(is_jump);
    Change { price: price.clone(), before: before.version.clone(), amounts, jump }
}

fn is_jump(change: &AmountChange) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return false };
    let reaches = |low, high: Decimal| exact::mul(low, JUMP).is_ok_and(|limit| limit <= high);
    reaches(before, after) || reaches(after, before)
}
