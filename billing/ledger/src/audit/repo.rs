//! All SQL of the audit trail.

use chrono::{DateTime, Utc};

use super::{Actor, AuditEntry, Author, Change, Subject};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Adds a change to the trail of its subject.
pub(crate) async fn insert<'a>(
    connection: &mut Connection,
    subject: Subject<'_>,
    change: Change<'_>,
    author: impl Into<Author<'a>>,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert audit entry";
    let by: Author<'_> = author.into();
    let done = sql::query(
        "insert into audit (
             noun,
             subject,
             ordinal,
             at,
             action,
             from_state,
             to_state,
             token,
             role,
             name,
             detail,
             idempotency_key,
             request,
             result
         )
         select
             $1,
             $2,
             coalesce(max(ordinal), 0) + 1,
             $3,
             $4,
             $5,
             $6,
             $7,
             $8,
             $9,
             $10,
             $11,
             $12,
             $13
         from audit
         where noun = $1
           and subject = $2",
    )
    .bind(subject.noun)
    .bind(subject.id)
    .bind(column::micros(at))
    .bind(change.action)
    .bind(change.from)
    .bind(change.to)
    .bind(by.token)
    .bind(by.role)
    .bind(by.name)
    .bind(change.detail)
    .bind(by.key)
    .bind(change.request)
    .bind(change.result)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

sql::row! {
    struct Row {
        at: i64,
        action: String,
        from_state: Option<String>,
        to_state: Option<String>,
        token: String,
        role: String,
        name: Option<String>,
        detail: Option<String>,
    }
}

impl TryFrom<Row> for AuditEntry {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            at: column::instant("audit.at", row.at)?,
            action: row.action,
            from: row.from_state,
            to: row.to_state,
            token: row.token,
            role: row.role,
            name: row.name,
            detail: row.detail,
        })
    }
}

/// The whole trail of a subject, oldest first.
pub(crate) async fn entries(
    connection: &mut Connection,
    subject: Subject<'_>,
) -> Result<Vec<AuditEntry>, LedgerError> {
    sql::query_as::<Row>(
        "select
             at,
             action,
             from_state,
             to_state,
             token,
             role,
             name,
             detail
         from audit
         where noun = $1
           and subject = $2
         order by ordinal",
    )
    .bind(subject.noun)
    .bind(subject.id)
    .fetch_all(connection)
    .await
    .during("read audit trail")?
    .into_iter()
    .map(AuditEntry::try_from)
    .collect()
}

sql::row! {
    pub(super) struct Spent {
        pub(super) noun: String,
        pub(super) subject: String,
        pub(super) action: String,
        pub(super) request: Option<String>,
        pub(super) result: Option<String>,
    }
}

/// What an idempotency key of an actor was spent on.
pub(super) async fn spent_on(
    connection: &mut Connection,
    by: &Actor,
    key: &str,
) -> Result<Option<Spent>, LedgerError> {
    sql::query_as::<Spent>(
        "select
             noun,
             subject,
             action,
             request,
             result
         from audit
         where token = $1
           and idempotency_key = $2",
    )
    .bind(by.token().as_str())
    .bind(key)
    .fetch_optional(connection)
    .await
    .during("find idempotency key")
}
