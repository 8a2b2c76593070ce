//! All SQL of payments and refunds of invoices.

use chrono::{DateTime, NaiveDate, Utc};
use permille_types::InvoiceId;

use super::Booked;
use crate::{
    LedgerError, column,
    error::{During, changed},
    invoice::money::Payment,
    sql::{self, Connection},
};

sql::row! {
    struct Row {
        amount: String,
        is_rest: i64,
        day: Option<String>,
    }
}

impl TryFrom<Row> for Booked {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let day = row.day.as_deref().map(|day| column::parsed("invoice_payment.day", day));
        Ok(Self {
            amount: column::decimal("invoice_payment.amount", &row.amount)?,
            is_rest: row.is_rest == 1,
            day: day.transpose()?,
        })
    }
}

/// The payment of an invoice that has this reference.
pub(super) async fn with_reference(
    connection: &mut Connection,
    id: &InvoiceId,
    way: Payment,
    reference: &str,
) -> Result<Option<Booked>, LedgerError> {
    sql::query_as::<Row>(
        "select
             amount,
             is_rest,
             day
         from invoice_payment
         where invoice = $1
           and way = $2
           and reference = $3",
    )
    .bind(id.as_str())
    .bind(way.as_str())
    .bind(reference)
    .fetch_optional(connection)
    .await
    .during("find payment of an invoice")?
    .map(Booked::try_from)
    .transpose()
}

/// Adds a payment to those of an invoice.
pub(super) async fn insert(
    connection: &mut Connection,
    id: &InvoiceId,
    way: Payment,
    (booked, reference): (&Booked, Option<&str>),
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert payment of an invoice";
    let done = sql::query(
        "insert into invoice_payment (
             invoice,
             ordinal,
             way,
             amount,
             is_rest,
             reference,
             day,
             at
         )
         select
             $1,
             coalesce(max(ordinal), 0) + 1,
             $2,
             $3,
             $4,
             $5,
             $6,
             $7
         from invoice_payment
         where invoice = $1",
    )
    .bind(id.as_str())
    .bind(way.as_str())
    .bind(booked.amount.to_string())
    .bind(i64::from(booked.is_rest))
    .bind(reference)
    .bind(booked.day.as_ref().map(NaiveDate::to_string))
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}
