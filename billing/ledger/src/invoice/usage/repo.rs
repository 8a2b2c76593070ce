//! All SQL of what the usage on invoices costs.

use permille_types::CustomerId;

use crate::{
    LedgerError,
    error::{During, changed},
    sql::{self, Connection},
};

/// Issued invoices of a customer of which it is not known, with their texts.
pub(super) async fn unread(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<(String, String)>, LedgerError> {
    sql::query_as::<(String, String)>(
        "select
             id,
             document
         from invoice
         where customer = $1
           and state in ('final', 'paid')
           and usage_nano is null
         order by id",
    )
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during("read issued invoices of a customer")
}

/// Notes it of an invoice.
pub(super) async fn set(
    connection: &mut Connection,
    id: &str,
    nano: i64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note the usage of an invoice";
    let done = sql::query(
        "update invoice
         set usage_nano = $2
         where id = $1",
    )
    .bind(id)
    .bind(nano)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Of all issued invoices of a customer's month `since` and later ones together, as far as it is
/// known.
pub(super) async fn sum(
    connection: &mut Connection,
    customer: &CustomerId,
    since: &str,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select cast(coalesce(sum(usage_nano), 0) as bigint)
         from invoice
         where customer = $1
           and state in ('final', 'paid')
           and period >= $2",
    )
    .bind(customer.as_str())
    .bind(since)
    .fetch_one(connection)
    .await
    .during("add up the usage of invoices")
}

/// The texts of those of them that bill usage of a month before `since`: it came late.
pub(super) async fn with_usage_of_before(
    connection: &mut Connection,
    customer: &CustomerId,
    since: &str,
) -> Result<Vec<String>, LedgerError> {
    sql::query_scalar::<String>(
        "select document
         from invoice
         where customer = $1
           and state in ('final', 'paid')
           and period >= $2
           and exists (
               select 1
               from invoiced_usage
               where invoiced_usage.invoice = invoice.id
                 and invoiced_usage.period < $2
           )
         order by id",
    )
    .bind(customer.as_str())
    .bind(since)
    .fetch_all(connection)
    .await
    .during("read invoices over late usage")
}
