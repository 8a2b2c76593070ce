//! All SQL of roll-ups.

use std::collections::BTreeMap;

use permille_rating::{Meter, invoice::UsageSum};
use permille_types::{ModelName, PriceVersion, ProjectId};

use super::{PeriodQuantities, Quantity, QuantityKey, RequestCounts, RequestKey, Scope, Simulated};
use crate::{
    LedgerError, column,
    error::{During, changed_all},
    sql::{self, Connection, Value},
};

/// Adds quantities to their hours.
pub(crate) async fn add_quantities(
    connection: &mut Connection,
    quantities: &BTreeMap<QuantityKey, Quantity>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "add to hours' quantities";
    let mut add = sql::many(
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
    );
    for (key, quantity) in quantities {
        add.row([
            key.customer.as_str().into(),
            column::micros(key.hour).into(),
            key.project.as_str().into(),
            key.model.as_str().into(),
            key.meter.as_str().into(),
            key.price_version.as_str().into(),
            i64::from(key.band).into(),
            i64::from(key.simulated).into(),
            quantity.all.into(),
            quantity.estimated.into(),
        ]);
    }
    let done = add.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, quantities.len(), done.rows_affected())
}

/// Adds counts to their hours. They may be negative: held requests that now have a price.
pub(crate) async fn add_requests(
    connection: &mut Connection,
    requests: &BTreeMap<RequestKey, RequestCounts>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "add to hours' requests";
    // The rows are made first and added to after: the values of an `insert` must meet the table's
    // checks even where it would become an `update`, and a negative count alone does not.
    let mut make = sql::many(
        "insert into request_hour (
             customer,
             hour,
             project,
             requests,
             unpriced,
             estimated,
             simulated
         ) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (customer, hour, project) do nothing",
    );
    let mut add = sql::many(
        "with more (
             customer,
             hour,
             project,
             requests,
             unpriced,
             estimated,
             simulated
         ) as (values ($1, $2, $3, $4, $5, $6, $7))
         update request_hour
         set requests = request_hour.requests + more.requests,
             unpriced = request_hour.unpriced + more.unpriced,
             estimated = request_hour.estimated + more.estimated,
             simulated = request_hour.simulated + more.simulated
         from more
         where request_hour.customer = more.customer
           and request_hour.hour = more.hour
           and request_hour.project = more.project",
    );
    for (key, counts) in requests {
        let row = |counts: RequestCounts| -> [Value<'_>; 7] {
            [
                key.customer.as_str().into(),
                column::micros(key.hour).into(),
                key.project.as_str().into(),
                counts.all.into(),
                counts.unpriced.into(),
                counts.estimated.into(),
                counts.simulated.into(),
            ]
        };
        make.row(row(RequestCounts::default()));
        add.row(row(*counts));
    }
    make.execute(&mut *connection).await.during(OPERATION)?;
    let done = add.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, requests.len(), done.rows_affected())
}

sql::row! {
    struct SumRow {
        project: String,
        model: String,
        meter: String,
        price_version: String,
        band: i64,
        quantity: i64,
        estimated: i64,
    }
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
