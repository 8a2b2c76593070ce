//! All SQL of stored responses.

use permille_types::{CustomerId, RequestId};

use super::Created;
use crate::{
    LedgerError, column,
    error::During,
    sql::{self, Connection},
};

/// Notes which request created each response. Where a provider repeats an id, the newest request
/// has it, in whatever order they come.
pub(super) async fn note(
    connection: &mut Connection,
    created: &Created,
) -> Result<(), LedgerError> {
    let mut note = sql::many(
        "insert into stored_response (
             customer,
             id,
             request_id
         ) values ($1, $2, $3)
         on conflict (customer, id) do update
         set request_id = excluded.request_id
         where excluded.request_id > stored_response.request_id",
    );
    for ((customer, id), request) in created {
        note.row([customer.as_str().into(), id.into(), request.to_string().into()]);
    }
    note.execute(connection).await.during("note stored responses").map(drop)
}

/// The request that created a response.
pub(super) async fn find(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &str,
) -> Result<Option<RequestId>, LedgerError> {
    sql::query_scalar::<String>(
        "select request_id
         from stored_response
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(id)
    .fetch_optional(connection)
    .await
    .during("find stored response")?
    .map(|request| column::parsed("stored_response.request_id", &request))
    .transpose()
}
