//! All SQL of keys of usage.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_types::RequestId;

use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection},
    usage::NewUsage,
};

/// Stores the keys of rows whose request ids are not taken.
pub(crate) async fn insert(
    connection: &mut Connection,
    rows: &[NewUsage],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert keys of usage";
    let mut insert = sql::many(
        "insert into usage_key (
             request_id,
             at,
             payload_sha256
         ) values ($1, $2, $3)",
    );
    for NewUsage { event, payload_sha256, .. } in rows {
        insert.row([
            column::request(event.request_id).into(),
            column::micros(event.at).into(),
            payload_sha256.as_slice().into(),
        ]);
    }
    let done = insert.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, rows.len(), done.rows_affected())
}

/// The hashes of what was stored under those of `requests` that are taken.
pub(crate) async fn payloads(
    connection: &mut Connection,
    requests: impl Iterator<Item = RequestId>,
) -> Result<HashMap<RequestId, Vec<u8>>, LedgerError> {
    let mut taken = sql::many(
        "with asked (request_id) as (values ($1))
         select
             usage_key.request_id,
             usage_key.payload_sha256
         from asked
         cross join usage_key
         where usage_key.request_id = asked.request_id",
    );
    for request in requests {
        taken.row([column::request(request).into()]);
    }
    taken
        .fetch_all::<(Vec<u8>, Vec<u8>)>(connection)
        .await
        .during("find usage by requests")?
        .into_iter()
        .map(|(request, hash)| Ok((column::request_id("usage_key.request_id", &request)?, hash)))
        .collect()
}

/// The hash of what was stored under a request id.
pub(crate) async fn payload_sha256(
    connection: &mut Connection,
    request: &RequestId,
) -> Result<Option<Vec<u8>>, LedgerError> {
    sql::query_scalar::<Vec<u8>>(
        "select payload_sha256
         from usage_key
         where request_id = $1",
    )
    .bind(column::request(*request))
    .fetch_optional(connection)
    .await
    .during("find usage by request")
}

/// When a request was admitted.
pub(crate) async fn admitted(
    connection: &mut Connection,
    request: &RequestId,
) -> Result<Option<DateTime<Utc>>, LedgerError> {
    let at = sql::query_scalar::<i64>(
        "select at
         from usage_key
         where request_id = $1",
    )
    .bind(column::request(*request))
    .fetch_optional(connection)
    .await
    .during("find the instant of a request")?;
    at.map(|at| column::instant("usage_key.at", at)).transpose()
}
