//! What issued invoices have billed of which month, and what of a month is left to bill.
//!
//! An issued invoice takes the quantities of its lines: no other invoice can bill them again. Usage
//! of a month that has an issued invoice and is beyond what was taken is late; the next invoice
//! bills it in lines that name the month. A voided invoice gives back what it took.

mod read;
mod repo;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::{BilledLine, InvoiceLine, Part, UsageSum},
    period::Period,
};
use permille_types::{CustomerId, InvoiceId, ModelName, PriceVersion, ProjectId};
use rust_decimal::Decimal;

pub use read::{InvoicedUsage, PricedEvent};
pub(crate) use repo::{billed_months, credited_months, months_before, take, taken};

use crate::{
    LedgerError, column, credit_note,
    rollup::{self, PeriodQuantities, Scope, Simulated},
    store::Connection,
};

/// Sorts behind every month.
pub(crate) const AFTER_ALL_MONTHS: &str = "9999-99";

/// What quantities are billed by: one line of an invoice.
pub(crate) type LineKey = (ProjectId, ModelName, permille_rating::Meter, PriceVersion, u32);

/// The key of a sum.
pub(crate) fn key_of(sum: &UsageSum) -> LineKey {
    (sum.project.clone(), sum.model.clone(), sum.meter.clone(), sum.price_version.clone(), sum.band)
}

/// The key of a line.
pub(crate) fn key_of_line(line: &InvoiceLine) -> LineKey {
    (
        line.project.clone(),
        line.model.clone(),
        line.meter.clone(),
        line.price_version.clone(),
        line.band,
    )
}

/// What invoices that stand have billed by one key, of one part of a month.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) key: LineKey,
    /// Where the part begins; absent where it is the whole month.
    pub(crate) part: Option<DateTime<Utc>>,
    pub(crate) quantity: u64,
    pub(crate) billed: BilledLine,
}

impl Taken {
    /// Where its part begins, in a month whose first begins at `first`: of that is what was billed
    /// before parts were told apart.
    pub(crate) fn begins(&self, first: DateTime<Utc>) -> DateTime<Utc> {
        self.part.unwrap_or(first)
    }

    /// Whether it is of the part that begins at `part`, or of the whole month.
    fn is_of(&self, part: Option<DateTime<Utc>>, first: DateTime<Utc>) -> bool {
        part.is_none_or(|part| self.begins(first) == part)
    }
}

/// A part of a month: what was used in it, and what is left of that.
#[derive(Debug)]
pub(crate) struct PartQuantities {
    pub(crate) part: Part,
    /// Tokens and units of all that were not reported by a provider.
    pub(crate) estimated: u64,
}

/// Quantities of a customer's month `label` that no issued invoice has billed.
pub(crate) async fn remaining(
    connection: &mut Connection,
    scope: Scope<'_>,
    label: &str,
    simulated: Simulated,
) -> Result<PeriodQuantities, LedgerError> {
    let PartQuantities { part, estimated } =
        parts(connection, scope.customer, label, &[scope.period], simulated)
            .await?
            .pop()
            .ok_or_else(|| LedgerError::corrupt("period", label))?;
    Ok(PeriodQuantities { sums: part.left, estimated })
}

/// The same for each of the parts that `periods` cut the month into; a single one is all of it.
pub(crate) async fn parts(
    connection: &mut Connection,
    customer: &CustomerId,
    label: &str,
    periods: &[Period],
    simulated: Simulated,
) -> Result<Vec<PartQuantities>, LedgerError> {
    let mut taken = repo::taken(connection, customer, label).await?;
    let mut parts = Vec::with_capacity(periods.len());
    let first = periods.first().map(|period| period.start).unwrap_or_default();
    for period in periods {
        let part = (periods.len() > 1).then_some(period.start);
        let (of_part, others): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|taken| taken.is_of(part, first));
        taken = others;
        let scope = Scope { customer, period: *period };
        let all = rollup::quantities(connection, scope, simulated).await?;
        let part = left_of(*period, all.sums, of_part, label)?;
        parts.push(PartQuantities { part, estimated: all.estimated });
    }
    match taken.first() {
        None => Ok(parts),
        Some(Taken { part, .. }) => {
            let value = format!("{part:?} in {label}, where no part begins");
            Err(LedgerError::corrupt("invoiced_usage.part_at", &value))
        }
    }
}

fn left_of(
    period: Period,
    all: Vec<UsageSum>,
    taken: Vec<Taken>,
    label: &str,
) -> Result<Part, LedgerError> {
    let billed = taken.iter().map(|taken| taken.billed.clone()).collect();
    let mut quantities: BTreeMap<LineKey, u64> = BTreeMap::new();
    for Taken { key, quantity, .. } in taken.into_iter().filter(|taken| taken.key.2.is_usage()) {
        let sum = quantities.entry(key).or_default();
        *sum = sum.saturating_add(quantity);
    }
    let mut left = all.clone();
    for sum in &mut left {
        let billed = quantities.remove(&key_of(sum)).unwrap_or_default();
        sum.quantity = sum.quantity.checked_sub(billed).ok_or_else(|| {
            LedgerError::corrupt("invoiced_usage.quantity", &format!("{billed} of {label}"))
        })?;
    }
    left.retain(|sum| sum.quantity > 0);
    if let Some(((_, model, ..), billed)) = quantities.into_iter().find(|(_, billed)| *billed > 0) {
        let value = format!("{billed} of `{model}` in {label}, which nobody used");
        return Err(LedgerError::corrupt("invoiced_usage.quantity", &value));
    }
    Ok(Part { period, plan: None, all, left, billed })
}

/// What is left to bill of the part that begins at `part` of a month that begins at `first`, or of
/// the whole.
pub(crate) async fn remaining_of(
    connection: &mut Connection,
    scope: Scope<'_>,
    label: &str,
    (part, first): (Option<DateTime<Utc>>, DateTime<Utc>),
) -> Result<Vec<UsageSum>, LedgerError> {
    let mut taken = repo::taken(connection, scope.customer, label).await?;
    taken.retain(|taken| taken.is_of(part, first));
    let all = rollup::quantities(connection, scope, Simulated::LeftOut).await?;
    Ok(left_of(scope.period, all.sums, taken, label)?.left)
}

/// What invoices that stand have billed of a charge or term over a month that begins at `first`, or
/// over the part of it that begins at `part`.
pub(crate) async fn billed_of(
    connection: &mut Connection,
    customer: &CustomerId,
    label: &str,
    charge: &PriceVersion,
    (part, first): (Option<DateTime<Utc>>, DateTime<Utc>),
) -> Result<Decimal, LedgerError> {
    let taken = repo::taken(connection, customer, label).await?;
    taken
        .iter()
        .filter(|taken| taken.billed.charge.as_ref() == Some(charge))
        .filter(|taken| taken.is_of(part, first))
        .try_fold(Decimal::ZERO, |sum, taken| {
            column::exact_add("amounts of a charge", sum, taken.billed.amount)
        })
}

/// The lines over a customer's month of which credit notes have taken something back, and how much
/// of each, before tax.
pub(crate) async fn credited(
    connection: &mut Connection,
    customer: &CustomerId,
    label: &str,
) -> Result<Vec<(Taken, Decimal)>, LedgerError> {
    let mut credited = Vec::new();
    let mut known: HashMap<InvoiceId, Vec<Decimal>> = HashMap::new();
    for line in repo::lines_of_credited(connection, customer, label).await? {
        let repo::TakenLine { invoice, place, taken } = line;
        if !known.contains_key(&invoice) {
            let notes = credit_note::notes_of(connection, &invoice).await?;
            known.insert(invoice.clone(), credit_note::credited(&notes)?.lines);
        }
        let amounts = known.get(&invoice);
        if let Some(amount) = amounts.and_then(|lines| lines.get(place)) {
            credited.push((taken, *amount));
        }
    }
    Ok(credited)
}

/// Months whose own invoice is issued to the customer, oldest first.
pub(crate) async fn months(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<String>, LedgerError> {
    repo::months_before(connection, customer, AFTER_ALL_MONTHS).await
}
