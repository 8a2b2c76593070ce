//! All SQL of trees of records.

use permille_rating::proof::Tree;
use permille_types::{CustomerId, DocumentNumber};

use super::Leaves;
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

/// The tree of a customer's month; nothing before its first record.
pub(super) async fn find(
    connection: &mut Connection,
    customer: &CustomerId,
    month: &str,
) -> Result<Option<Leaves>, LedgerError> {
    sql::query_as::<(i64, i64, Vec<u8>)>(
        "select
             size,
             priced,
             peaks
         from record_tree
         where customer = $1
           and month = $2",
    )
    .bind(customer.as_str())
    .bind(month)
    .fetch_optional(connection)
    .await
    .during("find tree of records")?
    .map(|(size, priced, peaks)| {
        let size = column::number("record_tree.size", size)?;
        let tree = Tree::new(size, &peaks)
            .map_err(|cause| LedgerError::corrupt("record_tree.peaks", &cause.to_string()))?;
        Ok(Leaves { tree, priced: column::number("record_tree.priced", priced)? })
    })
    .transpose()
}

/// Stores a tree that has grown.
pub(super) async fn store(
    connection: &mut Connection,
    customer: &CustomerId,
    month: &str,
    leaves: &Leaves,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "store tree of records";
    let done = sql::query(
        "insert into record_tree (
             customer,
             month,
             size,
             priced,
             peaks
         ) values ($1, $2, $3, $4, $5)
         on conflict (customer, month) do update
         set size = excluded.size,
             priced = excluded.priced,
             peaks = excluded.peaks",
    )
    .bind(customer.as_str())
    .bind(month)
    .bind(column::stored_count("record_tree.size", leaves.tree.size())?)
    .bind(column::stored_count("record_tree.priced", leaves.priced)?)
    .bind(leaves.tree.peaks())
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Invoices that stand and have billed something of a customer's month, by number.
pub(super) async fn billed_by(
    connection: &mut Connection,
    customer: &CustomerId,
    month: &str,
) -> Result<Vec<DocumentNumber>, LedgerError> {
    sql::query_scalar::<String>(
        "select distinct invoice.number
         from invoiced_usage
         join invoice on invoice.id = invoiced_usage.invoice
         where invoiced_usage.customer = $1
           and invoiced_usage.period = $2
           and invoice.state <> 'void'
         order by invoice.number",
    )
    .bind(customer.as_str())
    .bind(month)
    .fetch_all(connection)
    .await
    .during("list invoices of a month's usage")?
    .into_iter()
    .map(|number| column::parsed("invoice.number", &number))
    .collect()
}
