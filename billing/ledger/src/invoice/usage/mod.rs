//! What the usage on issued invoices costs at its own prices: that part of a customer's spending
//! is behind them.

mod repo;

use permille_rating::round::to_nano;
use permille_types::CustomerId;
use rust_decimal::Decimal;

use super::Invoice;
use crate::{LedgerError, column, store::Connection};

/// What the usage on a customer's issued invoices costs at its own prices, in nano-units, whatever
/// they bill of it: of their spending no invoice will bill that any more. It is read off each
/// invoice once.
pub(crate) async fn billed_usage(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<i64, LedgerError> {
    for (id, document) in repo::unread(connection, customer).await? {
        let invoice: Invoice = column::json("invoice.document", &document)?;
        let mut exact = Decimal::ZERO;
        for line in invoice.lines.iter().filter(|line| line.meter.is_usage()) {
            exact = column::exact_add("usage of an invoice", exact, line.exact)?;
        }
        repo::set(connection, &id, to_nano(exact)?).await?;
    }
    repo::sum(connection, customer).await
}
