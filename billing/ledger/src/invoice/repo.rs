//! All SQL of invoices.

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, DocumentNumber, InvoiceId};
use rust_decimal::Decimal;

use super::{
    Invoice, InvoiceKind, InvoiceState, InvoiceSummary, InvoiceTexts, Stored,
    money::{Moved, standing},
};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

sql::row! {
    struct StoredRow {
        id: String,
        state: String,
        document: String,
        paid: Option<String>,
        refunded: Option<String>,
        purchase_order: Option<String>,
        notes: Option<String>,
        created_at: i64,
        updated_at: i64,
    }
}

impl StoredRow {
    /// The invoice, with what has become of its amount.
    async fn stored(self, connection: &mut Connection) -> Result<Stored, LedgerError> {
        let row = self;
        let written: Invoice = column::json("invoice.document", &row.document)?;
        let state = column::word::<InvoiceState>("invoice.state", &row.state)?;
        let amount = |name, text: &Option<String>| match text {
            Some(text) => column::decimal(name, text),
            None => Ok(Decimal::ZERO),
        };
        let paid = amount("invoice.paid", &row.paid)?;
        let refunded = amount("invoice.refunded", &row.refunded)?;
        let standing = if written.number.is_some() {
            let credited = credited(connection, &row.id).await?;
            Some(standing(&written, state, Moved { paid, refunded, credited })?)
        } else {
            None
        };
        Ok(Stored {
            id: column::parsed("invoice.id", &row.id)?,
            invoice: Invoice { state, standing, ..written },
            document: row.document,
            created_at: column::instant("invoice.created_at", row.created_at)?,
            updated_at: column::instant("invoice.updated_at", row.updated_at)?,
            texts: InvoiceTexts { purchase_order: row.purchase_order, notes: row.notes },
        })
    }
}

/// What the credit notes of an invoice have taken back in money, with tax.
async fn credited(connection: &mut Connection, id: &str) -> Result<Decimal, LedgerError> {
    sql::query_scalar::<String>(
        "select coalesce(total, gross)
         from credit_note
         where invoice = $1",
    )
    .bind(id)
    .fetch_all(connection)
    .await
    .during("add up credit notes of an invoice")?
    .iter()
    .try_fold(Decimal::ZERO, |sum, gross| {
        let gross = column::decimal("credit_note.gross", gross)?;
        column::exact_add("credits of an invoice", sum, gross)
    })
}

/// The invoice of a customer's month that is not void; of interim ones the one that is not issued.
pub(super) async fn live(
    connection: &mut Connection,
    customer: &CustomerId,
    period: &str,
    kind: InvoiceKind,
) -> Result<Option<Stored>, LedgerError> {
    // Each in the words of its index.
    let statement = match kind {
        InvoiceKind::Month => {
            "select
                 id,
                 state,
                 document,
                 paid,
                 refunded,
                 purchase_order,
                 notes,
                 created_at,
                 updated_at
             from invoice
             where customer = $1
               and period = $2
               and interim = 0
               and state <> 'void'"
        }
        InvoiceKind::Interim => {
            "select
                 id,
                 state,
                 document,
                 paid,
                 refunded,
                 purchase_order,
                 notes,
                 created_at,
                 updated_at
             from invoice
             where customer = $1
               and period = $2
               and interim = 1
               and state in ('draft', 'approved')"
        }
    };
    let row = sql::query_as::<StoredRow>(statement)
        .bind(customer.as_str())
        .bind(period)
        .fetch_optional(&mut *connection)
        .await
        .during("find invoice of a month")?;
    match row {
        Some(row) => row.stored(connection).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    invoice: &Invoice,
    texts: &InvoiceTexts,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert invoice";
    let done = sql::query(
        "insert into invoice (
             id,
             customer,
             period,
             state,
             currency,
             total,
             document,
             interim,
             purchase_order,
             notes,
             created_at,
             updated_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
    )
    .bind(invoice.id.as_ref().map(InvoiceId::as_str))
    .bind(invoice.customer.id.as_str())
    .bind(&invoice.period.label)
    .bind(invoice.state.as_str())
    .bind(invoice.currency.code())
    .bind(invoice.total.to_string())
    .bind(column::to_json("invoice", invoice)?)
    .bind(invoice.kind().stored())
    .bind(texts.purchase_order.as_deref())
    .bind(texts.notes.as_deref())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Replaces what a draft says; an approved one is a draft again.
pub(super) async fn replace(
    connection: &mut Connection,
    invoice: &Invoice,
    texts: &InvoiceTexts,
    from: InvoiceState,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "replace draft";
    let done = sql::query(
        "update invoice
         set state = 'draft',
             total = $3,
             document = $4,
             purchase_order = $5,
             notes = $6,
             updated_at = $7
         where id = $1
           and state = $2
           and number is null",
    )
    .bind(invoice.id.as_ref().map(InvoiceId::as_str))
    .bind(from.as_str())
    .bind(invoice.total.to_string())
    .bind(column::to_json("invoice", invoice)?)
    .bind(texts.purchase_order.as_deref())
    .bind(texts.notes.as_deref())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Writes the number and the document of an invoice that becomes final, once. Answers the document.
pub(super) async fn freeze(
    connection: &mut Connection,
    id: &InvoiceId,
    invoice: &Invoice,
    number: &DocumentNumber,
    at: DateTime<Utc>,
) -> Result<String, LedgerError> {
    const OPERATION: &str = "freeze document of an invoice";
    let document = column::to_json("invoice", invoice)?;
    let done = sql::query(
        "update invoice
         set number = $2,
             issued_at = $3,
             document = $4
         where id = $1
           and number is null",
    )
    .bind(id.as_str())
    .bind(number.as_str())
    .bind(column::micros(at))
    .bind(&document)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())?;
    Ok(document)
}

/// Moves an invoice from one state to another.
pub(super) async fn advance(
    connection: &mut Connection,
    id: &InvoiceId,
    from: InvoiceState,
    to: InvoiceState,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "change state of an invoice";
    let done = sql::query(
        "update invoice
         set state = $3,
             updated_at = $4
         where id = $1
           and state = $2",
    )
    .bind(id.as_str())
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Takes back the approval of invoices of `period` or later that are not issued, and has them
/// drafted again before the next one, as if they had been drafted at `at`, and interim ones as if
/// they had been drafted before they were made.
pub(crate) async fn make_stale(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    period: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    sql::query(
        "update invoice
         set state = 'draft',
             updated_at = case
                 when interim = 1 then created_at - 1
                 else $3
             end
         where ($1 is null or customer = $1)
           and period >= $2
           and state in ('draft', 'approved')",
    )
    .bind(customer.map(CustomerId::as_str))
    .bind(period)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during("take back approvals")
    .map(drop)
}

/// Writes what was paid of an invoice so far, and what of it was paid back.
pub(super) async fn set_moved(
    connection: &mut Connection,
    id: &InvoiceId,
    (paid, refunded): (Decimal, Decimal),
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note a payment";
    let done = sql::query(
        "update invoice
         set paid = $2,
             refunded = $3
         where id = $1",
    )
    .bind(id.as_str())
    .bind(paid.to_string())
    .bind(refunded.to_string())
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// What each issued invoice has billed, a void one nothing, and what of it was paid and not paid
/// back, by customer and currency.
pub(super) async fn issued_amounts(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, Currency, Decimal, Decimal)>, LedgerError> {
    sql::query_as::<(String, String, String, String, String)>(
        "select
             customer,
             currency,
             case when state = 'void' then '0' else total end,
             coalesce(paid, '0'),
             coalesce(refunded, '0')
         from invoice
         where state in ('final', 'paid', 'void')
         order by id",
    )
    .fetch_all(connection)
    .await
    .during("read issued invoices")?
    .into_iter()
    .map(|(customer, currency, total, paid, refunded)| {
        let paid = column::decimal("invoice.paid", &paid)?;
        let refunded = column::decimal("invoice.refunded", &refunded)?;
        Ok((
            column::parsed("invoice.customer", &customer)?,
            column::parsed("invoice.currency", &currency)?,
            column::decimal("invoice.total", &total)?,
            column::exact_sub("what was paid and kept", paid, refunded)?,
        ))
    })
    .collect()
}

/// The invoice of that id, or of that number.
pub(super) async fn find(
    connection: &mut Connection,
    id: &InvoiceId,
) -> Result<Option<Stored>, LedgerError> {
    let row = sql::query_as::<StoredRow>(
        "select
             id,
             state,
             document,
             paid,
             refunded,
             purchase_order,
             notes,
             created_at,
             updated_at
         from invoice
         where id = $1
            or number = $1",
    )
    .bind(id.as_str())
    .fetch_optional(&mut *connection)
    .await
    .during("find invoice")?;
    match row {
        Some(row) => row.stored(connection).await.map(Some),
        None => Ok(None),
    }
}

/// Invoices of a month that may still be issued, as `customer (state)`, interim ones as
/// `customer (interim, state)`. One over simulated usage alone never is.
pub(crate) async fn not_issued(
    connection: &mut Connection,
    period: &str,
) -> Result<Vec<String>, LedgerError> {
    let rows = sql::query_as::<(String, String, String)>(
        "select
             customer,
             state,
             document
         from invoice
         where period = $1
           and state in ('draft', 'approved')
         order by
             customer,
             interim",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list invoices that are not issued")?;
    let mut found = Vec::with_capacity(rows.len());
    for (customer, state, document) in rows {
        let invoice: Invoice = column::json("invoice.document", &document)?;
        if !invoice.simulated {
            let interim = if invoice.interim { "interim, " } else { "" };
            found.push(format!("{customer} ({interim}{state})"));
        }
    }
    Ok(found)
}

/// Invoices of other months that may still be issued and print the root over records of `month`,
/// as `customer (state)`: what came late for it is on them.
pub(crate) async fn not_issued_over(
    connection: &mut Connection,
    month: &str,
) -> Result<Vec<String>, LedgerError> {
    let rows = sql::query_as::<(String, String)>(
        "select
             customer,
             state
         from invoice
         where period <> $1
           and state in ('draft', 'approved')
           and document like $2
         order by customer",
    )
    .bind(month)
    .bind(format!("%\"period\":\"{month}\",\"size\":%"))
    .fetch_all(connection)
    .await
    .during("list invoices over records of a month")?;
    Ok(rows.into_iter().map(|(customer, state)| format!("{customer} ({state})")).collect())
}

/// An invoice that is not void, as a signature is over it.
pub(super) struct NotVoid {
    /// Its number, else its id.
    pub(super) shown: String,
    pub(super) is_issued: bool,
    pub(super) currency: Currency,
    pub(super) total: Decimal,
}

/// The invoices of a month that are not void, by customer.
pub(super) async fn not_void(
    connection: &mut Connection,
    period: &str,
) -> Result<Vec<NotVoid>, LedgerError> {
    sql::query_as::<(String, String, String, String)>(
        "select
             coalesce(number, id),
             state,
             currency,
             total
         from invoice
         where period = $1
           and state <> 'void'
         order by
             customer,
             interim,
             id",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("read invoices of a month")?
    .into_iter()
    .map(|(shown, state, currency, total)| {
        Ok(NotVoid {
            shown,
            is_issued: column::word::<InvoiceState>("invoice.state", &state)?.is_issued(),
            currency: column::parsed("invoice.currency", &currency)?,
            total: column::decimal("invoice.total", &total)?,
        })
    })
    .collect()
}

sql::row! {
    struct SummaryRow {
        id: String,
        number: Option<String>,
        customer: String,
        period: String,
        state: String,
        currency: String,
        total: String,
        interim: i64,
        created_at: i64,
        updated_at: i64,
    }
}

impl TryFrom<SummaryRow> for InvoiceSummary {
    type Error = LedgerError;

    fn try_from(row: SummaryRow) -> Result<Self, LedgerError> {
        Ok(Self {
            id: column::parsed("invoice.id", &row.id)?,
            number: row
                .number
                .map(|number| column::parsed("invoice.number", &number))
                .transpose()?,
            customer: column::parsed("invoice.customer", &row.customer)?,
            state: column::word::<InvoiceState>("invoice.state", &row.state)?,
            currency: column::parsed("invoice.currency", &row.currency)?,
            total: column::decimal("invoice.total", &row.total)?,
            interim: row.interim != 0,
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
    sql::query_as::<SummaryRow>(
        "select
             id,
             number,
             customer,
             period,
             state,
             currency,
             total,
             interim,
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
