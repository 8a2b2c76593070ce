//! All SQL of disputes.

use permille_types::{CustomerId, InvoiceId};

use super::{Dispute, DisputeState, NewDispute};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

/// Columns of a dispute; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 id,
                 invoice,
                 invoice_number,
                 customer,
                 line,
                 request,
                 reason,
                 evidence,
                 state,
                 opened_at,
                 resolution,
                 credit_note,
                 resolved_at
             from dispute ",
            $found_by,
        )
    };
}

sql::row! {
    struct Row {
        id: String,
        invoice: String,
        invoice_number: String,
        customer: String,
        line: Option<i64>,
        request: Option<String>,
        reason: String,
        evidence: String,
        state: String,
        opened_at: i64,
        resolution: Option<String>,
        credit_note: Option<String>,
        resolved_at: Option<i64>,
    }
}

impl TryFrom<Row> for Dispute {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let states = [DisputeState::Open, DisputeState::Accepted, DisputeState::Rejected];
        let state = states.into_iter().find(|state| state.as_str() == row.state);
        let line = row.line.map(usize::try_from).transpose();
        let request = row.request.as_deref().map(|text| column::parsed("dispute.request", text));
        let note = row.credit_note.as_deref();
        let note = note.map(|text| column::parsed("dispute.credit_note", text));
        let resolved = row.resolved_at.map(|at| column::instant("dispute.resolved_at", at));
        Ok(Self {
            invoice: column::parsed("dispute.invoice", &row.invoice)?,
            number: column::parsed("dispute.invoice_number", &row.invoice_number)?,
            customer: column::parsed("dispute.customer", &row.customer)?,
            line: line.map_err(|_| LedgerError::corrupt("dispute.line", &row.id))?,
            request: request.transpose()?,
            reason: row.reason,
            state: state.ok_or_else(|| LedgerError::corrupt("dispute.state", &row.state))?,
            evidence: column::json("dispute.evidence", &row.evidence)?,
            opened_at: column::instant("dispute.opened_at", row.opened_at)?,
            resolution: row.resolution,
            credit_note: note.transpose()?,
            resolved_at: resolved.transpose()?,
            id: row.id,
        })
    }
}

/// Adds a dispute.
pub(super) async fn insert(
    connection: &mut Connection,
    dispute: &Dispute,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert dispute";
    let done = sql::query(
        "insert into dispute (
             id,
             invoice,
             invoice_number,
             customer,
             line,
             request,
             reason,
             evidence,
             state,
             opened_at
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&dispute.id)
    .bind(dispute.invoice.as_str())
    .bind(dispute.number.as_str())
    .bind(dispute.customer.as_str())
    .bind(place(dispute.line)?)
    .bind(dispute.request.as_ref().map(ToString::to_string))
    .bind(&dispute.reason)
    .bind(column::to_json("evidence of a dispute", &dispute.evidence)?)
    .bind(dispute.state.as_str())
    .bind(column::micros(dispute.opened_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Answers an open dispute. Whether it was open.
pub(super) async fn resolve(
    connection: &mut Connection,
    dispute: &Dispute,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "resolve dispute";
    let done = sql::query(
        "update dispute
         set
             state = $2,
             resolution = $3,
             credit_note = $4,
             resolved_at = $5
         where id = $1
           and state = 'open'",
    )
    .bind(&dispute.id)
    .bind(dispute.state.as_str())
    .bind(dispute.resolution.as_deref())
    .bind(dispute.credit_note.as_ref().map(permille_types::DocumentNumber::as_str))
    .bind(dispute.resolved_at.map(column::micros))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<Dispute>, LedgerError> {
    sql::query_as::<Row>(select!("where id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
        .during("find dispute")?
        .map(Dispute::try_from)
        .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<Dispute>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where id > $1
           and ($2 is null or customer = $2)
         order by id
         limit $3"
    ))
    .bind(after)
    .bind(customer.map(CustomerId::as_str))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list disputes")?
    .into_iter()
    .map(Dispute::try_from)
    .collect()
}

/// The open dispute over the same of an invoice.
pub(super) async fn open_over(
    connection: &mut Connection,
    invoice: &InvoiceId,
    new: &NewDispute,
) -> Result<Option<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select id
         from dispute
         where invoice = $1
           and state = 'open'
           and coalesce(line, 0) = coalesce($2, 0)
           and coalesce(request, '') = coalesce($3, '')
         order by id
         limit 1",
    )
    .bind(invoice.as_str())
    .bind(place(new.line)?)
    .bind(new.request.as_ref().map(ToString::to_string))
    .fetch_optional(connection)
    .await
    .during("find open dispute")
}

/// How many disputes over an invoice are open.
pub(super) async fn count_open(
    connection: &mut Connection,
    invoice: &InvoiceId,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select count(*)
         from dispute
         where invoice = $1
           and state = 'open'",
    )
    .bind(invoice.as_str())
    .fetch_one(connection)
    .await
    .during("count open disputes")
}

/// Open disputes over invoices of a month: number of the invoice and id.
pub(crate) async fn open_of_period(
    connection: &mut Connection,
    period: &str,
) -> Result<Vec<String>, LedgerError> {
    let rows = sql::query_as::<(String, String)>(
        "select
             dispute.invoice_number,
             dispute.id
         from dispute
         join invoice on invoice.id = dispute.invoice
         where dispute.state = 'open'
           and invoice.period = $1
         order by dispute.id",
    )
    .bind(period)
    .fetch_all(connection)
    .await
    .during("list open disputes of a month")?;
    Ok(rows.into_iter().map(|(number, id)| format!("{number} ({id})")).collect())
}

fn place(line: Option<usize>) -> Result<Option<i64>, LedgerError> {
    let place = |line: usize| {
        i64::try_from(line).map_err(|_| LedgerError::invalid("line", &line, "a line"))
    };
    line.map(place).transpose()
}
