//! What the usage on issued invoices costs at its own prices: that part of a customer's spending
//! is behind them.

mod repo;

use permille_rating::{invoice::InvoiceLine, round::to_nano};
use permille_types::CustomerId;
use rust_decimal::Decimal;

use super::Invoice;
use crate::{LedgerError, column, store::Connection};

/// What the usage of the month `since` and later ones on a customer's issued invoices costs at its
/// own prices, in nano-units, whatever they bill of it: of their spending no invoice will bill that
/// any more. It is read off each invoice once.
pub(crate) async fn billed_usage(
    connection: &mut Connection,
    customer: &CustomerId,
    since: &str,
) -> Result<i64, LedgerError> {
    for (id, document) in repo::unread(connection, customer).await? {
        let invoice: Invoice = column::json("invoice.document", &document)?;
        repo::set(connection, &id, usage_of(&invoice, |_| true)?).await?;
    }
    let mut sum = repo::sum(connection, customer, since).await?;
    for document in repo::with_usage_of_before(connection, customer, since).await? {
        let invoice: Invoice = column::json("invoice.document", &document)?;
        let is_earlier = |line: &InvoiceLine| line.corrects.as_deref().is_some_and(|of| of < since);
        sum = sum.saturating_sub(usage_of(&invoice, is_earlier)?);
    }
    Ok(sum)
}

/// What the usage on those lines of an invoice costs at its own prices.
fn usage_of(
    invoice: &Invoice,
    is_meant: impl Fn(&InvoiceLine) -> bool,
) -> Result<i64, LedgerError> {
    let mut exact = Decimal::ZERO;
    let lines = invoice.lines.iter().filter(|line| line.meter.is_usage());
    for line in lines.filter(|line| is_meant(line)) {
        exact = column::exact_add("usage of an invoice", exact, line.exact)?;
    }
    Ok(to_nano(exact)?)
}
