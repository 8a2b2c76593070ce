//! All SQL of interim invoices.

use chrono::{DateTime, Days, Utc};
use permille_rating::{
    period::month_label,
    round::{from_nano, round_money},
};
use permille_types::{Currency, CustomerId, InvoiceId};
use rust_decimal::Decimal;

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

/// The last interim draft of a month that somebody made void, unless one was issued since.
pub(super) async fn declined(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Option<InvoiceId>, LedgerError> {
    sql::query_scalar::<String>(
        "select id
         from invoice
         where customer = $1
           and period = $2
           and interim = 1
           and state = 'void'
           and number is null
           and updated_at >= (
               select coalesce(max(issued.issued_at), 0)
               from invoice as issued
               where issued.customer = $1
                 and issued.period = $2
                 and issued.interim = 1
           )
         order by updated_at desc, id desc
         limit 1",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_optional(connection)
    .await
    .during("find an interim draft that was made void")?
    .map(|id| column::parsed("invoice.id", &id))
    .transpose()
}

/// A customer whose plan has a threshold, who has used something of their running month and for
/// whose month no interim invoice waits, with all that tells whether it is as it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) customer: CustomerId,
    pub(super) threshold: Decimal,
    /// The running month by the customer's calendar.
    pub(super) month: String,
    /// Records of the month.
    records: i64,
    /// How many of them got a price later.
    priced: i64,
    /// Invoices that stand and have billed some of it.
    bills: i64,
    /// When the last of those was issued.
    billed_at: i64,
}

sql::row! {
    struct CandidateRow {
        customer: String,
        threshold: String,
        time_zone: String,
        month: String,
        records: i64,
        priced: i64,
        bills: i64,
        billed_at: i64,
    }
}

/// Everyone whose unbilled usage at `at` may have reached the threshold of their plan, by id, in
/// one statement however many there are.
pub(super) async fn candidates(
    connection: &mut Connection,
    at: DateTime<Utc>,
) -> Result<Vec<Candidate>, LedgerError> {
    let label = |at: Option<DateTime<Utc>>| at.map(|at| at.format("%Y-%m").to_string());
    let day = Days::new(1);
    let rows = sql::query_as::<CandidateRow>(
        "select
             customer.id as customer,
             plan.threshold,
             customer.time_zone,
             record_tree.month,
             record_tree.size as records,
             record_tree.priced,
             (
                 select count(distinct invoice.id)
                 from invoiced_usage
                 join invoice on invoice.id = invoiced_usage.invoice
                 where invoiced_usage.customer = customer.id
                   and invoiced_usage.period = record_tree.month
                   and invoice.state <> 'void'
             ) as bills,
             (
                 select coalesce(max(invoice.issued_at), 0)
                 from invoiced_usage
                 join invoice on invoice.id = invoiced_usage.invoice
                 where invoiced_usage.customer = customer.id
                   and invoiced_usage.period = record_tree.month
                   and invoice.state <> 'void'
             ) as billed_at
         from plan
         join customer_plan on customer_plan.plan = plan.version
         join customer on customer.id = customer_plan.customer
         join record_tree on record_tree.customer = customer.id
         where plan.threshold is not null
           and customer_plan.from_at <= $1
           and not exists (
               select 1
               from customer_plan as later
               where later.customer = customer_plan.customer
                 and later.from_at > customer_plan.from_at
                 and later.from_at <= $1
           )
           and record_tree.month in ($2, $3)
           and not exists (
               select 1
               from invoice
               where invoice.customer = customer.id
                 and invoice.period = record_tree.month
                 and invoice.interim = 1
                 and invoice.state in ('draft', 'approved')
           )
           and not exists (
               select 1
               from period_close
               where period_close.period = record_tree.month
                 and period_close.state = 'closed'
           )
         order by customer.id",
    )
    .bind(column::micros(at))
    // It is one of these two in every time zone.
    .bind(label(at.checked_sub_days(day)))
    .bind(label(at.checked_add_days(day)))
    .fetch_all(connection)
    .await
    .during("find customers with a threshold")?;
    let mut candidates = Vec::with_capacity(rows.len());
    for row in rows {
        let zone = column::parsed("customer.time_zone", &row.time_zone)?;
        let running =
            month_label(at, zone).map_err(|_| LedgerError::corrupt("clock", &at.to_rfc3339()))?;
        if row.month != running {
            continue;
        }
        candidates.push(Candidate {
            customer: column::parsed("customer.id", &row.customer)?,
            threshold: column::decimal("plan.threshold", &row.threshold)?,
            month: row.month,
            records: row.records,
            priced: row.priced,
            bills: row.bills,
            billed_at: row.billed_at,
        });
    }
    Ok(candidates)
}
