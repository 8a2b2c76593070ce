//! All SQL of invoices.

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, InvoiceId};

use super::{Invoice, InvoiceState, InvoiceSummary};
use crate::{
    LedgerError, column,
    error::{During, changed},
    store::Connection,
};

/// The draft of a customer's month.
pub(super) async fn draft_id(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
) -> Result<Option<InvoiceId>, LedgerError> {
    sqlx::query_scalar::<_, String>(
        "select id
         from invoice
         where customer = $1
           and period = $2
           and state = 'draft'",
    )
    .bind(customer.as_str())
    .bind(period)
    .fetch_optional(connection)
    .await
    .during("find draft of a month")?
    .map(|id| column::parsed("invoice.id", &id))
    .transpose()
}

pub(super) async fn insert(
    connection: &mut Connection,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert invoice";
    let done = sqlx::query(
        "insert into invoice (
             id,
             customer,
             period,
             state,
             currency,
             total,
             document,
             created_at,
             updated_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(invoice.id.as_ref().map(InvoiceId::as_str))
    .bind(invoice.customer.id.as_str())
    .bind(&invoice.period.label)
    .bind(invoice.state.as_str())
    .bind(invoice.currency.code())
    .bind(invoice.total.to_string())
    .bind(column::to_json("invoice", invoice)?)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Replaces what a draft says.
pub(super) async fn replace(
    connection: &mut Connection,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "replace draft";
    let done = sqlx::query(
        "update invoice
         set total = $2,
             document = $3,
             updated_at = $4
         where id = $1
           and state = 'draft'",
    )
    .bind(invoice.id.as_ref().map(InvoiceId::as_str))
    .bind(invoice.total.to_string())
    .bind(column::to_json("invoice", invoice)?)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &InvoiceId,
) -> Result<Option<Invoice>, LedgerError> {
    sqlx::query_scalar::<_, String>(
        "select document
         from invoice
         where id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find invoice")?
    .map(|document| column::json("invoice.document", &document))
    .transpose()
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    id: String,
    customer: String,
    period: String,
    state: String,
    currency: String,
    total: String,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<SummaryRow> for InvoiceSummary {
    type Error = LedgerError;

    fn try_from(row: SummaryRow) -> Result<Self, LedgerError> {
        Ok(Self {
            id: column::parsed("invoice.id", &row.id)?,
            customer: column::parsed("invoice.customer", &row.customer)?,
            state: column::word::<InvoiceState>("invoice.state", &row.state)?,
            currency: column::parsed("invoice.currency", &row.currency)?,
            total: column::decimal("invoice.total", &row.total)?,
            created_at: column::instant("invoice.created_at", row.created_at)?,
            updated_at: column::instant("invoice.updated_at", row.updated_at)?,
            period: row.period,
        })
    }
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<InvoiceSummary>, LedgerError> {
    sqlx::query_as::<_, SummaryRow>(
        "select
             id,
             customer,
             period,
             state,
             currency,
             total,
             created_at,
             updated_at
         from invoice
         where id > $1
           and ($2 is null or customer = $2)
         order by id
         limit $3",
    )
    .bind(after)
    .bind(customer.map(CustomerId::as_str))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list invoices")?
    .into_iter()
    .map(InvoiceSummary::try_from)
    .collect()
}
