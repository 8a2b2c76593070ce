//! All SQL of tokens.

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, KeyHash};

use super::{Role, Token, TokenId};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

sql::row! {
    struct Row {
        id: String,
        role: String,
        customer: Option<String>,
        name: Option<String>,
        digest: Vec<u8>,
        prefix: String,
        last4: String,
        created_at: i64,
        revoked_at: Option<i64>,
    }
}

impl TryFrom<Row> for Token {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let customer = row
            .customer
            .map(|customer| column::parsed::<CustomerId>("api_token.customer", &customer))
            .transpose()?;
        Ok(Self {
            id: TokenId(row.id),
            role: Role::named(&row.role, customer.clone())
                .map_err(|_| LedgerError::corrupt("api_token.role", &row.role))?,
            customer,
            name: row.name,
            prefix: row.prefix,
            last4: row.last4,
            created_at: column::instant("api_token.created_at", row.created_at)?,
            revoked_at: row
                .revoked_at
                .map(|at| column::instant("api_token.revoked_at", at))
                .transpose()?,
            digest: column::digest("api_token.digest", &row.digest)?,
        })
    }
}

pub(super) async fn insert(connection: &mut Connection, token: &Token) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert token";
    let done = sql::query(
        "insert into api_token (
             id,
             role,
             customer,
             name,
             digest,
             prefix,
             last4,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(token.id.as_str())
    .bind(token.role.as_str())
    .bind(token.customer.as_ref().map(CustomerId::as_str))
    .bind(token.name.as_deref())
    .bind(token.digest.as_bytes().as_slice())
    .bind(&token.prefix)
    .bind(&token.last4)
    .bind(column::micros(token.created_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &TokenId,
) -> Result<Option<Token>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             role,
             customer,
             name,
             digest,
             prefix,
             last4,
             created_at,
             revoked_at
         from api_token
         where id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find token")?
    .map(Token::try_from)
    .transpose()
}

pub(super) async fn find_by_digest(
    connection: &mut Connection,
    digest: &KeyHash,
) -> Result<Option<Token>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             role,
             customer,
             name,
             digest,
             prefix,
             last4,
             created_at,
             revoked_at
         from api_token
         where digest = $1",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(connection)
    .await
    .during("find token by digest")?
    .map(Token::try_from)
    .transpose()
}

pub(super) async fn list(
    connection: &mut Connection,
    after: &str,
    rows: i64,
) -> Result<Vec<Token>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             role,
             customer,
             name,
             digest,
             prefix,
             last4,
             created_at,
             revoked_at
         from api_token
         where id > $1
         order by id
         limit $2",
    )
    .bind(after)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list tokens")?
    .into_iter()
    .map(Token::try_from)
    .collect()
}

/// Whether the token was revoked by this call.
pub(super) async fn revoke(
    connection: &mut Connection,
    id: &TokenId,
    at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "revoke token";
    let done = sql::query(
        "update api_token
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
