//! All SQL of kinds of usage.

use std::collections::HashMap;

use super::Kind;
use crate::{
    LedgerError,
    error::{During, changed_all},
    sql::{self, Connection},
};

/// The numbers of those of `contents` that are there.
pub(super) async fn find(
    connection: &mut Connection,
    contents: impl Iterator<Item = &String>,
) -> Result<HashMap<String, i64>, LedgerError> {
    let mut known = sql::many(
        "with asked (content) as (values ($1))
         select
             usage_kind.content,
             usage_kind.id
         from asked
         cross join usage_kind
         where usage_kind.content = asked.content",
    );
    for content in contents {
        known.row([content.into()]);
    }
    let known = known.fetch_all::<(String, i64)>(connection).await.during("find kinds of usage")?;
    Ok(known.into_iter().collect())
}

/// Adds kinds, under the numbers that follow the highest one.
pub(super) async fn add(
    connection: &mut Connection,
    kinds: Vec<(String, &Kind<'_>)>,
) -> Result<Vec<(String, i64)>, LedgerError> {
    const OPERATION: &str = "insert kinds of usage";
    let last = sql::query_scalar::<i64>("select coalesce(max(id), 0) from usage_kind")
        .fetch_one(connection)
        .await
        .during("find the last kind of usage")?;
    let mut insert = sql::many(
        "insert into usage_kind (
             id,
             content,
             session_explicit,
             turn_kind,
             family,
             endpoint,
             served_as_asked,
             service_tier,
             region,
             upstream,
             status,
             streamed,
             ended,
             source,
             flags,
             price_version,
             band
         ) values (
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
         )",
    );
    let mut numbered = Vec::with_capacity(kinds.len());
    for ((content, kind), number) in kinds.into_iter().zip(last.saturating_add(1)..) {
        let key = [number.into(), content.clone().into()];
        insert.row(key.into_iter().chain(kind.columns()));
        numbered.push((content, number));
    }
    let done = insert.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, numbered.len(), done.rows_affected())?;
    Ok(numbered)
}
