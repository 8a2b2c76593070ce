//! All SQL of invoiced usage.

use permille_rating::{
    Meter,
    invoice::{BilledLine, InvoiceLine},
    round::{from_nano, to_nano},
};
use permille_types::{CustomerId, InvoiceId, PriceVersion};

use super::{LineKey, Taken};
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
             quantity,
             part_at,
             charge,
             amount_nano
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
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
    .bind(line.part.map(|part| column::micros(part.start)))
    .bind(BilledLine::of(line).charge.as_ref().map(PriceVersion::as_str))
    .bind(to_nano(line.amount)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

sql::row! {
    struct TakenRow {
        project: String,
        model: String,
        meter: String,
        price_version: String,
        band: i64,
        part_at: Option<i64>,
        charge: Option<String>,
        quantity: i64,
        amount_nano: Option<i64>,
    }
}

impl TryFrom<TakenRow> for Taken {
    type Error = LedgerError;

    fn try_from(row: TakenRow) -> Result<Self, LedgerError> {
        let key: LineKey = (
            column::parsed("invoiced_usage.project", &row.project)?,
            column::parsed("invoiced_usage.model", &row.model)?,
            Meter::named(&row.meter),
            column::parsed("invoiced_usage.price_version", &row.price_version)?,
            column::number("invoiced_usage.band", row.band)?,
        );
        let charge = row.charge.as_deref();
        let part = row.part_at.map(|at| column::instant("invoiced_usage.part_at", at));
        Ok(Self {
            quantity: column::number("invoiced_usage.quantity", row.quantity)?,
            part: part.transpose()?,
            billed: BilledLine {
                meter: key.2.clone(),
                charge: charge
                    .map(|charge| column::parsed("invoiced_usage.charge", charge))
                    .transpose()?,
                amount: from_nano(row.amount_nano.unwrap_or_default()),
            },
            key,
        })
    }
}

/// What invoices that stand have billed of a customer's month.
pub(crate) async fn taken(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Vec<Taken>, LedgerError> {
    sql::query_as::<TakenRow>(
        "select
             invoiced_usage.project,
             invoiced_usage.model,
             invoiced_usage.meter,
             invoiced_usage.price_version,
             invoiced_usage.band,
             invoiced_usage.part_at,
             invoiced_usage.charge,
             cast(sum(invoiced_usage.quantity) as bigint) as quantity,
             cast(sum(invoiced_usage.amount_nano) as bigint) as amount_nano
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
             invoiced_usage.band,
             invoiced_usage.part_at,
             invoiced_usage.charge",
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

/// A line as it was taken, and where it stands.
pub(super) struct TakenLine {
    pub(super) invoice: InvoiceId,
    /// Its place on the invoice, from 0.
    pub(super) place: usize,
    pub(super) taken: Taken,
}

sql::row! {
    struct TakenLineRow {
        invoice: String,
        line: i64,
        #[flatten]
        taken: TakenRow,
    }
}

impl TryFrom<TakenLineRow> for TakenLine {
    type Error = LedgerError;

    fn try_from(row: TakenLineRow) -> Result<Self, LedgerError> {
        Ok(Self {
            invoice: column::parsed("invoiced_usage.invoice", &row.invoice)?,
            place: column::number("invoiced_usage.line", row.line.saturating_sub(1))?,
            taken: row.taken.try_into()?,
        })
    }
}

/// What invoices with credit notes have billed of a customer's month, line by line.
pub(super) async fn lines_of_credited(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Vec<TakenLine>, LedgerError> {
    sql::query_as::<TakenLineRow>(
        "select
             invoice,
             line,
             project,
             model,
             meter,
             price_version,
             band,
             part_at,
             charge,
             quantity,
             amount_nano
         from invoiced_usage
         where customer = $1
           and period = $2
           and exists (
             select 1
             from credit_note
             where credit_note.invoice = invoiced_usage.invoice
           )
         order by
             invoice,
             line",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_all(connection)
    .await
    .during("read credited lines of a month")?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// Months of which invoices with credit notes have billed something, oldest first.
pub(crate) async fn credited_months(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select distinct invoiced_usage.period
         from credit_note
         join invoiced_usage on invoiced_usage.invoice = credit_note.invoice
         where credit_note.customer = $1
         order by invoiced_usage.period",
    )
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during("list credited months")
}

/// Months before `period` whose own invoice is issued to the customer, oldest first: what is left
/// of them is late.
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
           and interim = 0
           and state in ('final', 'paid')
         order by period",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list invoiced months")
}

/// Months that have an issued invoice of the customer, their own or an interim one, oldest first.
pub(crate) async fn billed_months(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select distinct period
         from invoice
         where customer = $1
           and state in ('final', 'paid')
         order by period",
    )
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during("list months that are billed in part")
}
