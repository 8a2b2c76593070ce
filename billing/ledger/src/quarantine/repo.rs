//! All SQL of the quarantine.

use std::collections::HashSet;

use super::{QuarantineReason, QuarantineState, Quarantined};
use crate::{
    LedgerError, column,
    error::{During, changed_one},
    sql::{self, Connection},
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select
                 id,
                 node,
                 sequence,
                 reason,
                 detail,
                 request_id,
                 payload,
                 created_at,
                 state,
                 note,
                 settled_at
             from quarantine
             ",
            $rest
        )
    };
}

sql::row! {
    struct Row {
        id: String,
        node: String,
        sequence: i64,
        reason: String,
        detail: String,
        request_id: Option<String>,
        payload: Vec<u8>,
        created_at: i64,
        state: String,
        note: Option<String>,
        settled_at: Option<i64>,
    }
}

impl TryFrom<Row> for Quarantined {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            node: column::parsed("quarantine.node", &row.node)?,
            sequence: column::number("quarantine.sequence", row.sequence)?,
            reason: QuarantineReason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == row.reason)
                .ok_or_else(|| LedgerError::corrupt("quarantine.reason", &row.reason))?,
            created_at: column::instant("quarantine.created_at", row.created_at)?,
            state: QuarantineState::ALL
                .into_iter()
                .find(|state| state.as_str() == row.state)
                .ok_or_else(|| LedgerError::corrupt("quarantine.state", &row.state))?,
            settled_at: row
                .settled_at
                .map(|at| column::instant("quarantine.settled_at", at))
                .transpose()?,
            note: row.note,
            id: row.id,
            detail: row.detail,
            request_id: row.request_id,
            payload: row.payload,
        })
    }
}

/// Whether the payload was new for this reason.
pub(crate) async fn insert(
    connection: &mut Connection,
    quarantined: &Quarantined,
    payload_sha256: &[u8],
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "quarantine payload";
    let done = sql::query(
        "insert into quarantine (
             id,
             node,
             sequence,
             reason,
             detail,
             request_id,
             payload_sha256,
             payload,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (payload_sha256, reason) do nothing",
    )
    .bind(&quarantined.id)
    .bind(quarantined.node.as_str())
    .bind(column::stored_count("sequence", quarantined.sequence)?)
    .bind(quarantined.reason.as_str())
    .bind(&quarantined.detail)
    .bind(quarantined.request_id.as_deref())
    .bind(payload_sha256)
    .bind(quarantined.payload.as_slice())
    .bind(column::micros(quarantined.created_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

pub(super) async fn list(
    connection: &mut Connection,
    state: Option<QuarantineState>,
    after: &str,
    rows: i64,
) -> Result<Vec<Quarantined>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where id > $1
           and ($2 is null or state = $2)
         order by id
         limit $3"
    ))
    .bind(after)
    .bind(state.map(QuarantineState::as_str))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list quarantine")?
    .into_iter()
    .map(Quarantined::try_from)
    .collect()
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<Quarantined>, LedgerError> {
    sql::query_as::<Row>(select!("where id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
        .during("find quarantined payload")?
        .map(Quarantined::try_from)
        .transpose()
}

/// Whether it was open.
pub(super) async fn settle(
    connection: &mut Connection,
    settled: &Quarantined,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "settle quarantined payload";
    let done = sql::query(
        "update quarantine
         set state = $1,
             note = $2,
             settled_at = $3
         where id = $4
           and state = 'open'",
    )
    .bind(settled.state.as_str())
    .bind(settled.note.as_deref())
    .bind(settled.settled_at.map(column::micros))
    .bind(&settled.id)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// Those of `hashes` whose payloads were dismissed.
pub(crate) async fn dismissed<'a>(
    connection: &mut Connection,
    hashes: impl Iterator<Item = &'a [u8]>,
) -> Result<HashSet<Vec<u8>>, LedgerError> {
    let mut asked = sql::many(
        "with asked (payload_sha256) as (values ($1))
         select quarantine.payload_sha256
         from asked
         cross join quarantine
         where quarantine.payload_sha256 = asked.payload_sha256
           and quarantine.state = 'dismissed'",
    );
    for hash in hashes {
        asked.row([hash.to_vec().into()]);
    }
    let found =
        asked.fetch_all::<(Vec<u8>,)>(connection).await.during("find what was dismissed")?;
    Ok(found.into_iter().map(|(hash,)| hash).collect())
}
