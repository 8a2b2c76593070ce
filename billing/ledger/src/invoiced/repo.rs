//! All SQL of invoiced usage.

use permille_rating::{Meter, invoice::InvoiceLine};
use permille_types::{CustomerId, InvoiceId};

use super::LineKey;
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Takes what line `number` of an invoice bills of the month `period`.
pub(crate) async fn take(
    connection: &mut Connection,
    invoice: &InvoiceId,
    customer: &CustomerId,
    period: &str,
    number: i64,
    line: &InvoiceLine,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "take usage for an invoice";
    let done = sql::query(
        "insert into invoiced_usage (
             invoice,
             line,
             customer,
             period,
             project,
             model,
             meter,
             price_version,
             band,
             quantity
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(invoice.as_str())
    .bind(number)
    .bind(customer.as_str())
    .bind(period)
    .bind(line.project.as_str())
    .bind(line.model.as_str())
    .bind(line.meter.as_str())
    .bind(line.price_version.as_str())
    .bind(i64::from(line.band))
    .bind(column::stored_count("quantity", line.quantity)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

#[derive(sqlx::FromRow)]
struct TakenRow {
    project: String,
    model: String,
    meter: String,
    price_version: String,
    band: i64,
    quantity: i64,
}

impl TryFrom<TakenRow> for (LineKey, u64) {
    type Error = LedgerError;

    fn try_from(row: TakenRow) -> Result<Self, LedgerError> {
        let key = (
            column::parsed("invoiced_usage.project", &row.project)?,
            column::parsed("invoiced_usage.model", &row.model)?,
            Meter::named(&row.meter),
            column::parsed("invoiced_usage.price_version", &row.price_version)?,
            column::number("invoiced_usage.band", row.band)?,
        );
        Ok((key, column::number("invoiced_usage.quantity", row.quantity)?))
    }
}

/// What invoices that stand have billed of a customer's month.
pub(super) async fn taken(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Vec<(LineKey, u64)>, LedgerError> {
    sql::query_as::<TakenRow>(
        "select
             invoiced_usage.project,
             invoiced_usage.model,
             invoiced_usage.meter,
             invoiced_usage.price_version,
             invoiced_usage.band,
             cast(sum(invoiced_usage.quantity) as bigint) as quantity
         from invoiced_usage
         join invoice on invoice.id = invoiced_usage.invoice
         where invoiced_usage.customer = $1
           and invoiced_usage.period = $2
           and invoice.state <> 'void'
         group by
             invoiced_usage.project,
             invoiced_usage.model,
             invoiced_usage.meter,
             invoiced_usage.price_version,
             invoiced_usage.band",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_all(connection)
    .await
    .during("sum invoiced usage of a month")?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// Months before `period` that have an issued invoice of the customer, oldest first.
pub(crate) async fn months_before(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Vec<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select distinct period
         from invoice
         where customer = $1
           and period < $2
           and state in ('final', 'paid')
         order by period",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list invoiced months")
}
