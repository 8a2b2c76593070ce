//! All SQL of virtual keys.

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, KeyId};

use super::Key;
use crate::{
    LedgerError, Limits, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

sql::row! {
    struct Row {
        id: String,
        customer: String,
        project: String,
        name: Option<String>,
        digest: Vec<u8>,
        prefix: String,
        last4: String,
        rpm: Option<i64>,
        created_at: i64,
        revoked_at: Option<i64>,
    }
}

impl TryFrom<Row> for Key {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            id: column::parsed("api_key.id", &row.id)?,
            customer: column::parsed("api_key.customer", &row.customer)?,
            project: column::parsed("api_key.project", &row.project)?,
            name: row.name,
            prefix: row.prefix,
            last4: row.last4,
            rpm: row.rpm.map(|rpm| column::number("api_key.rpm", rpm)).transpose()?,
            limits: Limits::default(),
            created_at: column::instant("api_key.created_at", row.created_at)?,
            revoked_at: row
                .revoked_at
                .map(|at| column::instant("api_key.revoked_at", at))
                .transpose()?,
            digest: column::digest("api_key.digest", &row.digest)?,
        })
    }
}

pub(super) async fn insert(connection: &mut Connection, key: &Key) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert key";
    let done = sql::query(
        "insert into api_key (
             id,
             customer,
             project,
             name,
             digest,
             prefix,
             last4,
             rpm,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(key.id.as_str())
    .bind(key.customer.as_str())
    .bind(key.project.as_str())
    .bind(key.name.as_deref())
    .bind(key.digest.as_bytes().as_slice())
    .bind(&key.prefix)
    .bind(&key.last4)
    .bind(key.rpm.map(i64::from))
    .bind(column::micros(key.created_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(crate) async fn find(
    connection: &mut Connection,
    id: &KeyId,
) -> Result<Option<Key>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             customer,
             project,
             name,
             digest,
             prefix,
             last4,
             rpm,
             created_at,
             revoked_at
         from api_key
         where id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find key")?
    .map(Key::try_from)
    .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<Key>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             customer,
             project,
             name,
             digest,
             prefix,
             last4,
             rpm,
             created_at,
             revoked_at
         from api_key
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
    .during("list keys")?
    .into_iter()
    .map(Key::try_from)
    .collect()
}

/// Every key: the gateway's snapshot and the catalogue hold them all in memory.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Key>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             customer,
             project,
             name,
             digest,
             prefix,
             last4,
             rpm,
             created_at,
             revoked_at
         from api_key
         order by id",
    )
    .fetch_all(connection)
    .await
    .during("read all keys")?
    .into_iter()
    .map(Key::try_from)
    .collect()
}

/// Whether the key was revoked by this call.
pub(super) async fn revoke(
    connection: &mut Connection,
    id: &KeyId,
    at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "revoke key";
    let done = sql::query(
        "update api_key
         set revoked_at = $2
         where id = $1
           and revoked_at is null",
    )
    .bind(id.as_str())
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}
