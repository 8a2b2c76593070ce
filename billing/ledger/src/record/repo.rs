//! All SQL of trees of records.

use std::collections::HashMap;

use permille_rating::proof::Tree;
use permille_types::{CustomerId, DocumentNumber};

use super::{Leaves, Month};
use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection},
};

/// The trees of those of `months` that have one: there is none before the first record.
pub(super) async fn find<'a>(
    connection: &mut Connection,
    months: impl Iterator<Item = &'a Month>,
) -> Result<Vec<(Month, Leaves)>, LedgerError> {
    let mut stored = sql::many(
        "with asked (customer, month) as (values ($1, $2))
         select
             record_tree.customer,
             record_tree.month,
             record_tree.size,
             record_tree.priced,
             record_tree.peaks
         from asked
         cross join record_tree
         where record_tree.customer = asked.customer
           and record_tree.month = asked.month",
    );
    for (customer, month) in months {
        stored.row([customer.as_str().into(), month.into()]);
    }
    stored
        .fetch_all::<(String, String, i64, i64, Vec<u8>)>(connection)
        .await
        .during("find trees of records")?
        .into_iter()
        .map(|(customer, month, size, priced, peaks)| {
            let customer = column::parsed("record_tree.customer", &customer)?;
            let size = column::number("record_tree.size", size)?;
            let tree = Tree::new(size, &peaks)
                .map_err(|cause| LedgerError::corrupt("record_tree.peaks", &cause.to_string()))?;
            let priced = column::number("record_tree.priced", priced)?;
            Ok(((customer, month), Leaves { tree, priced }))
        })
        .collect()
}

/// Stores trees that have grown.
pub(super) async fn store(
    connection: &mut Connection,
    trees: &HashMap<Month, Leaves>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "store trees of records";
    let mut store = sql::many(
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
    );
    for ((customer, month), leaves) in trees {
        store.row([
            customer.as_str().into(),
            month.into(),
            column::stored_count("record_tree.size", leaves.tree.size())?.into(),
            column::stored_count("record_tree.priced", leaves.priced)?.into(),
            leaves.tree.peaks().into(),
        ]);
    }
    let done = store.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, trees.len(), done.rows_affected())
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
