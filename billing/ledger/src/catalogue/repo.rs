//! All SQL of the snapshot's version.

use crate::{
    LedgerError,
    error::{During, changed},
    sql::{self, Connection},
};

pub(super) async fn version(connection: &mut Connection) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select version
         from snapshot_state
         where id = 1",
    )
    .fetch_one(connection)
    .await
    .during("read snapshot version")
}

/// Raises the version by one.
pub(crate) async fn bump(connection: &mut Connection) -> Result<(), LedgerError> {
    const OPERATION: &str = "raise snapshot version";
    let done = sql::query(
        "update snapshot_state
         set version = version + 1
         where id = 1",
    )
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}
