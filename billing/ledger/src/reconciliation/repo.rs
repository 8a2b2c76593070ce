//! All SQL of reconciliations.

use chrono::{DateTime, Utc};

use super::{NewReconciliation, ReconciliationSignature, ReconciliationSummary};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

pub(super) async fn insert(
    connection: &mut Connection,
    new: &NewReconciliation,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert reconciliation";
    let done = sql::query(
        "insert into reconciliation (
             id,
             provider,
             first_day,
             last_day,
             fingerprint,
             drift_permille,
             report,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&new.id)
    .bind(&new.provider)
    .bind(new.first.to_string())
    .bind(new.last.to_string())
    .bind(&new.fingerprint)
    .bind(new.drift_permille.map(column::decimal_text))
    .bind(new.report.get())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn sign(
    connection: &mut Connection,
    id: &str,
    by: &str,
    note: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "sign reconciliation";
    let done = sql::query(
        "update reconciliation
         set signed_at = $2,
             signed_by = $3,
             signed_note = $4
         where id = $1
           and signed_at is null",
    )
    .bind(id)
    .bind(column::micros(at))
    .bind(by)
    .bind(note)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// The id of a report of that content.
pub(super) async fn same(
    connection: &mut Connection,
    fingerprint: &str,
) -> Result<Option<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select id
         from reconciliation
         where fingerprint = $1",
    )
    .bind(fingerprint)
    .fetch_optional(connection)
    .await
    .during("look for a reconciliation of the same content")
}

sql::row! {
    struct Row {
        id: String,
        provider: String,
        first_day: String,
        last_day: String,
        drift_permille: Option<String>,
        created_at: i64,
        signed_at: Option<i64>,
        signed_by: Option<String>,
        signed_note: Option<String>,
    }
}

impl TryFrom<Row> for ReconciliationSummary {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let drift = row.drift_permille.as_deref();
        let drift = drift.map(|text| column::decimal("reconciliation.drift_permille", text));
        let signed = row.signed_at.map(|at| {
            Ok::<_, LedgerError>(ReconciliationSignature {
                at: column::instant("reconciliation.signed_at", at)?,
                by: row.signed_by.unwrap_or_default(),
                note: row.signed_note.unwrap_or_default(),
            })
        });
        Ok(Self {
            first: column::parsed("reconciliation.first_day", &row.first_day)?,
            last: column::parsed("reconciliation.last_day", &row.last_day)?,
            drift_permille: drift.transpose()?,
            created_at: column::instant("reconciliation.created_at", row.created_at)?,
            signed: signed.transpose()?,
            id: row.id,
            provider: row.provider,
        })
    }
}

/// Columns of a summary; what follows finds the rows.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 id,
                 provider,
                 first_day,
                 last_day,
                 drift_permille,
                 created_at,
                 signed_at,
                 signed_by,
                 signed_note
             from reconciliation ",
            $found_by,
        )
    };
}

/// A reconciliation and its report.
pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<(ReconciliationSummary, String)>, LedgerError> {
    let row = sql::query_as::<Row>(select!("where id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
        .during("find reconciliation")?;
    let Some(row) = row else { return Ok(None) };
    let report = sql::query_scalar::<String>(
        "select report
         from reconciliation
         where id = $1",
    )
    .bind(id)
    .fetch_one(connection)
    .await
    .during("read the report of a reconciliation")?;
    Ok(Some((row.try_into()?, report)))
}

pub(super) async fn list(
    connection: &mut Connection,
    provider: Option<&str>,
    after: &str,
    rows: i64,
) -> Result<Vec<ReconciliationSummary>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where ($1 is null or provider = $1)
           and id > $2
         order by id
         limit $3"
    ))
    .bind(provider)
    .bind(after)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list reconciliations")?
    .into_iter()
    .map(ReconciliationSummary::try_from)
    .collect()
}

/// The last one of each provider.
pub(super) async fn last(
    connection: &mut Connection,
) -> Result<Vec<ReconciliationSummary>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where id in (
             select max(id)
             from reconciliation
             group by provider
         )
         order by provider"
    ))
    .fetch_all(connection)
    .await
    .during("read the last reconciliations")?
    .into_iter()
    .map(ReconciliationSummary::try_from)
    .collect()
}
