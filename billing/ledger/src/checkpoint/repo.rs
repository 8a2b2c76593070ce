//! All SQL of intake checkpoints.

use chrono::{DateTime, Utc};
use permille_types::NodeId;

use super::Checkpoint;
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// Moves a node's checkpoint forward to `sequence`; a lower one leaves it where it is.
pub(crate) async fn advance(
    connection: &mut Connection,
    node: &NodeId,
    sequence: u64,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "advance intake checkpoint";
    let done = sql::query(
        "insert into intake_checkpoint (
             node,
             sequence,
             updated_at
         ) values ($1, $2, $3)
         on conflict (node) do update
         set sequence = case
                 when excluded.sequence > intake_checkpoint.sequence then excluded.sequence
                 else intake_checkpoint.sequence
             end,
             updated_at = excluded.updated_at",
    )
    .bind(node.as_str())
    .bind(column::stored_count("sequence", sequence)?)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Checkpoint>, LedgerError> {
    sql::query_as::<(String, i64, i64)>(
        "select
             node,
             sequence,
             updated_at
         from intake_checkpoint
         order by node",
    )
    .fetch_all(connection)
    .await
    .during("read intake checkpoints")?
    .into_iter()
    .map(|(node, sequence, updated_at)| {
        Ok(Checkpoint {
            node: column::parsed("intake_checkpoint.node", &node)?,
            sequence: column::number("intake_checkpoint.sequence", sequence)?,
            updated_at: column::instant("intake_checkpoint.updated_at", updated_at)?,
        })
    })
    .collect()
}
