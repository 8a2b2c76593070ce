//! All SQL of interim invoices.

use permille_rating::round::{from_nano, round_money};
use permille_types::{Currency, CustomerId};

use crate::{
    LedgerError, column,
    error::During,
    invoice::InterimInvoice,
    sql::{self, Connection},
};

/// Interim invoices that stand and have billed some of a customer's month, by number.
pub(in crate::invoice) async fn issued(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
    currency: Currency,
) -> Result<Vec<InterimInvoice>, LedgerError> {
    sql::query_as::<(String, i64)>(
        "select
             invoice.number,
             cast(sum(invoiced_usage.amount_nano) as bigint)
         from invoiced_usage
         join invoice on invoice.id = invoiced_usage.invoice
         where invoiced_usage.customer = $1
           and invoiced_usage.period = $2
           and invoice.interim = 1
           and invoice.state <> 'void'
         group by invoice.number
         order by invoice.number",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list interim invoices of a month")?
    .into_iter()
    .map(|(number, nano)| {
        Ok(InterimInvoice {
            number: column::parsed("invoice.number", &number)?,
            subtotal: round_money(from_nano(nano), currency),
        })
    })
    .collect()
}
