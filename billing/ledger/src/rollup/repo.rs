//! All SQL of roll-ups.

use permille_rating::{Meter, invoice::UsageSum};
use permille_types::{ModelName, PriceVersion, ProjectId};

use super::{PeriodQuantities, Quantity, QuantityKey, RequestCounts, RequestKey, Scope, Simulated};
use crate::{
    LedgerError, column,
    error::{During, changed},
    sql::{self, Connection},
};

pub(crate) async fn add_quantity(
    connection: &mut Connection,
    key: &QuantityKey,
    quantity: Quantity,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "add to hour's quantities";
    let done = sql::query(
        "insert into usage_hour (
             customer,
             hour,
             project,
             model,
             meter,
             price_version,
             band,
             simulated,
             quantity,
             estimated
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (
             customer,
             hour,
             project,
             model,
             meter,
             price_version,
             band,
             simulated
         ) do update
         set quantity = usage_hour.quantity + excluded.quantity,
             estimated = usage_hour.estimated + excluded.estimated",
    )
    .bind(key.customer.as_str())
    .bind(column::micros(key.hour))
    .bind(key.project.as_str())
    .bind(key.model.as_str())
    .bind(key.meter.as_str())
    .bind(key.price_version.as_str())
    .bind(i64::from(key.band))
    .bind(i64::from(key.simulated))
    .bind(quantity.all)
    .bind(quantity.estimated)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Adds `counts` to an hour. They may be negative: held requests that now have a price.
pub(crate) async fn add_requests(
    connection: &mut Connection,
    key: &RequestKey,
    counts: RequestCounts,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "add to hour's requests";
    // The row is made first and added to after: the values of an `insert` must meet the table's
    // checks even where it would become an `update`, and a negative count alone does not.
    sql::query(
        "insert into request_hour (
             customer,
             hour,
             project,
             requests,
             unpriced,
             estimated,
             simulated
         ) values ($1, $2, $3, 0, 0, 0, 0)
         on conflict (customer, hour, project) do nothing",
    )
    .bind(key.customer.as_str())
    .bind(column::micros(key.hour))
    .bind(key.project.as_str())
    .execute(&mut *connection)
    .await
    .during(OPERATION)?;
    let done = sql::query(
        "update request_hour
         set requests = requests + $4,
             unpriced = unpriced + $5,
             estimated = estimated + $6,
             simulated = simulated + $7
         where customer = $1
           and hour = $2
           and project = $3",
    )
    .bind(key.customer.as_str())
    .bind(column::micros(key.hour))
    .bind(key.project.as_str())
    .bind(counts.all)
    .bind(counts.unpriced)
    .bind(counts.estimated)
    .bind(counts.simulated)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

#[derive(sqlx::FromRow)]
struct SumRow {
    project: String,
    model: String,
    meter: String,
    price_version: String,
    band: i64,
    quantity: i64,
    estimated: i64,
}

/// Quantities of a customer in a period, summed over its hours.
pub(crate) async fn quantities(
    connection: &mut Connection,
    scope: Scope<'_>,
    simulated: Simulated,
) -> Result<PeriodQuantities, LedgerError> {
    let rows = sql::query_as::<SumRow>(
        "select
             project,
             model,
             meter,
             price_version,
             band,
             cast(sum(quantity) as bigint) as quantity,
             cast(sum(estimated) as bigint) as estimated
         from usage_hour
         where customer = $1
           and hour >= $2
           and hour < $3
           and simulated <= $4
         group by
             project,
             model,
             meter,
             price_version,
             band
         order by
             project,
             model,
             meter,
             price_version,
             band",
    )
    .bind(scope.customer.as_str())
    .bind(column::micros(scope.period.start))
    .bind(column::micros(scope.period.end))
    .bind(i64::from(simulated == Simulated::Counted))
    .fetch_all(connection)
    .await
    .during("sum quantities of a period")?;

    let mut sums = Vec::with_capacity(rows.len());
    let mut estimated = 0;
    for row in rows {
        estimated = column::add_count("estimated quantities", estimated, row.estimated)?;
        sums.push(UsageSum {
            project: column::parsed::<ProjectId>("usage_hour.project", &row.project)?,
            model: column::parsed::<ModelName>("usage_hour.model", &row.model)?,
            meter: Meter::named(&row.meter),
            price_version: column::parsed::<PriceVersion>(
                "usage_hour.price_version",
                &row.price_version,
            )?,
            band: column::number("usage_hour.band", row.band)?,
            quantity: column::number("usage_hour.quantity", row.quantity)?,
        });
    }
    Ok(PeriodQuantities { sums, estimated: column::number("usage_hour.estimated", estimated)? })
}

/// Requests of a customer in a period.
pub(crate) async fn requests(
    connection: &mut Connection,
    scope: Scope<'_>,
) -> Result<RequestCounts, LedgerError> {
    let (all, unpriced, estimated, simulated) = sql::query_as::<(i64, i64, i64, i64)>(
        "select
             cast(coalesce(sum(requests), 0) as bigint),
             cast(coalesce(sum(unpriced), 0) as bigint),
             cast(coalesce(sum(estimated), 0) as bigint),
             cast(coalesce(sum(simulated), 0) as bigint)
         from request_hour
         where customer = $1
           and hour >= $2
           and hour < $3",
    )
    .bind(scope.customer.as_str())
    .bind(column::micros(scope.period.start))
    .bind(column::micros(scope.period.end))
    .fetch_one(connection)
    .await
    .during("count requests of a period")?;
    Ok(RequestCounts { all, unpriced, estimated, simulated })
}
