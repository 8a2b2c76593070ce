//! What issued invoices have billed of which month, and what of a month is left to bill.
//!
//! An issued invoice takes the quantities of its lines: no other invoice can bill them again. Usage
//! of a month that has an issued invoice and is beyond what was taken is late; the next invoice
//! bills it in lines that name the month. A voided invoice gives back what it took.

mod repo;

use std::collections::BTreeMap;

use permille_rating::invoice::{InvoiceLine, UsageSum};
use permille_types::{ModelName, PriceVersion, ProjectId};

pub(crate) use repo::{months_before, take};

use crate::{
    LedgerError,
    rollup::{self, PeriodQuantities, Scope, Simulated},
    store::Connection,
};

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

/// Quantities of a customer's month `label` that no issued invoice has billed.
pub(crate) async fn remaining(
    connection: &mut Connection,
    scope: Scope<'_>,
    label: &str,
    simulated: Simulated,
) -> Result<PeriodQuantities, LedgerError> {
    let mut quantities = rollup::quantities(connection, scope, simulated).await?;
    let mut taken: BTreeMap<LineKey, u64> =
        repo::taken(connection, scope.customer, label).await?.into_iter().collect();
    for sum in &mut quantities.sums {
        let billed = taken.remove(&key_of(sum)).unwrap_or_default();
        sum.quantity = sum.quantity.checked_sub(billed).ok_or_else(|| {
            LedgerError::corrupt("invoiced_usage.quantity", &format!("{billed} of {label}"))
        })?;
    }
    quantities.sums.retain(|sum| sum.quantity > 0);
    if let Some(((_, model, ..), billed)) = taken.into_iter().find(|(_, billed)| *billed > 0) {
        let value = format!("{billed} of `{model}` in {label}, which nobody used");
        return Err(LedgerError::corrupt("invoiced_usage.quantity", &value));
    }
    Ok(quantities)
}
