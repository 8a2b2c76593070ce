//! All SQL of credit notes.

use permille_types::{Currency, CustomerId, InvoiceId};
use rust_decimal::Decimal;

use super::{CreditNote, CreditNoteSummary};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

pub(super) async fn insert(
    connection: &mut Connection,
    note: &CreditNote,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert credit note";
    let done = sql::query(
        "insert into credit_note (
             id,
             number,
             invoice,
             invoice_number,
             customer,
             currency,
             gross,
             document,
             created_at,
             total
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(note.id.as_str())
    .bind(note.number.as_str())
    .bind(note.invoice.id.as_str())
    .bind(note.invoice.number.as_str())
    .bind(note.customer.id.as_str())
    .bind(note.currency.code())
    .bind(note.gross.to_string())
    .bind(column::to_json("credit note", note)?)
    .bind(column::micros(note.issued_at))
    .bind(note.in_money().to_string())
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// The note of that id or number, and its text.
pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<(CreditNote, String)>, LedgerError> {
    sql::query_scalar::<String>(
        "select document
         from credit_note
         where id = $1
            or number = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
    .during("find credit note")?
    .map(|document| Ok((column::json("credit_note.document", &document)?, document)))
    .transpose()
}

/// The notes of an invoice, in the order in which they were made.
pub(crate) async fn notes_of(
    connection: &mut Connection,
    invoice: &InvoiceId,
) -> Result<Vec<CreditNote>, LedgerError> {
    sql::query_scalar::<String>(
        "select document
         from credit_note
         where invoice = $1
         order by number",
    )
    .bind(invoice.as_str())
    .fetch_all(connection)
    .await
    .during("read credit notes of an invoice")?
    .iter()
    .map(|document| column::json("credit_note.document", document))
    .collect()
}

/// What a note takes back in money of an invoice of a month.
pub(crate) struct CreditOfPeriod {
    /// The note's number.
    pub(crate) number: String,
    /// The invoice's number.
    pub(crate) invoice: String,
    pub(crate) currency: Currency,
    pub(crate) amount: Decimal,
}

/// The notes over invoices of a month that stand, by number.
pub(crate) async fn of_period(
    connection: &mut Connection,
    period: &str,
) -> Result<Vec<CreditOfPeriod>, LedgerError> {
    sql::query_as::<(String, String, String, String)>(
        "select
             credit_note.number,
             credit_note.invoice_number,
             credit_note.currency,
             coalesce(credit_note.total, credit_note.gross)
         from invoice
         join credit_note on credit_note.invoice = invoice.id
         where invoice.period = $1
           and invoice.state <> 'void'
         order by credit_note.number",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("read credit notes of a month")?
    .into_iter()
    .map(|(number, invoice, currency, amount)| {
        Ok(CreditOfPeriod {
            number,
            invoice,
            currency: column::parsed("credit_note.currency", &currency)?,
            amount: column::decimal("credit_note.total", &amount)?,
        })
    })
    .collect()
}

/// What each note takes back in money, by customer and currency.
pub(crate) async fn amounts(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, Currency, Decimal)>, LedgerError> {
    sql::query_as::<(String, String, String)>(
        "select
             customer,
             currency,
             coalesce(total, gross)
         from credit_note
         order by id",
    )
    .fetch_all(connection)
    .await
    .during("read credit notes")?
    .into_iter()
    .map(|(customer, currency, gross)| {
        Ok((
            column::parsed("credit_note.customer", &customer)?,
            column::parsed("credit_note.currency", &currency)?,
            column::decimal("credit_note.gross", &gross)?,
        ))
    })
    .collect()
}

sql::row! {
    struct SummaryRow {
        id: String,
        number: String,
        invoice_number: String,
        customer: String,
        currency: String,
        gross: String,
        created_at: i64,
    }
}

impl TryFrom<SummaryRow> for CreditNoteSummary {
    type Error = LedgerError;

    fn try_from(row: SummaryRow) -> Result<Self, LedgerError> {
        Ok(Self {
            id: column::parsed("credit_note.id", &row.id)?,
            number: column::parsed("credit_note.number", &row.number)?,
            invoice: column::parsed("credit_note.invoice_number", &row.invoice_number)?,
            customer: column::parsed("credit_note.customer", &row.customer)?,
            currency: column::parsed("credit_note.currency", &row.currency)?,
            gross: column::decimal("credit_note.gross", &row.gross)?,
            created_at: column::instant("credit_note.created_at", row.created_at)?,
        })
    }
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<CreditNoteSummary>, LedgerError> {
    sql::query_as::<SummaryRow>(
        "select
             id,
             number,
             invoice_number,
             customer,
             currency,
             gross,
             created_at
         from credit_note
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
    .during("list credit notes")?
    .into_iter()
    .map(CreditNoteSummary::try_from)
    .collect()
}
