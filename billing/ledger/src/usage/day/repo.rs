//! All SQL of days of usage.

use std::collections::BTreeSet;

use crate::{
    LedgerError,
    error::During,
    sql::{self, Connection},
};

/// Makes the partitions of those of `days` that have none. How many were made.
pub(super) async fn make(
    connection: &mut Connection,
    days: BTreeSet<i64>,
) -> Result<u64, LedgerError> {
    let mut make = sql::many(
        "with asked (day) as (values ($1))
         select
             asked.day,
             cast(usage_partition(asked.day) as text)
         from asked",
    );
    for day in days {
        make.row([day.into()]);
    }
    let made = make.fetch_all::<(i64, String)>(connection).await.during("make days of usage")?;
    let made = made.iter().filter(|(_, made)| made == "true").count();
    Ok(u64::try_from(made).unwrap_or(u64::MAX))
}
