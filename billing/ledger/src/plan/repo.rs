//! All SQL of plans.

use chrono::{DateTime, Utc};
use permille_rating::plan::Plan;
use permille_types::{CustomerId, PriceVersion};

use super::{Assignment, ListedPlan, read};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

sql::row! {
    struct Row {
        content: String,
        added_at: i64,
    }
}

impl TryFrom<Row> for ListedPlan {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let added_at = column::instant("plan.added_at", row.added_at)?;
        Ok(Self::new(read(&row.content)?, added_at))
    }
}

/// Whether the plan was new.
pub(super) async fn insert(
    connection: &mut Connection,
    plan: &Plan,
    added_at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "insert plan";
    let done = sql::query(
        "insert into plan (
             version,
             name,
             currency,
             content,
             threshold,
             ordinal,
             added_at
         )
         select
             $1,
             $2,
             $3,
             $4,
             $5,
             coalesce(max(ordinal), 0) + 1,
             $6
         from plan
         where true
         on conflict (version) do nothing",
    )
    .bind(plan.version.as_str())
    .bind(plan.name.as_str())
    .bind(plan.currency.code())
    .bind(&plan.content)
    .bind(plan.threshold.map(|threshold| threshold.to_string()))
    .bind(column::micros(added_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

/// Every plan, in the order in which they came.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<ListedPlan>, LedgerError> {
    sql::query_as::<Row>(
        "select
             content,
             added_at
         from plan
         order by ordinal",
    )
    .fetch_all(connection)
    .await
    .during("read plans")?
    .into_iter()
    .map(ListedPlan::try_from)
    .collect()
}

/// The plan of that version, or the latest of that name.
pub(super) async fn find(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<ListedPlan>, LedgerError> {
    sql::query_as::<Row>(
        "select
             content,
             added_at
         from plan
         where version = $1
            or name = $1
         order by ordinal desc
         limit 1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
    .during("find plan")?
    .map(ListedPlan::try_from)
    .transpose()
}

/// Gives a customer a plan from an instant on; another one of that instant is replaced.
pub(super) async fn assign(
    connection: &mut Connection,
    customer: &CustomerId,
    from: DateTime<Utc>,
    plan: Option<&PriceVersion>,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "assign plan";
    let done = sql::query(
        "insert into customer_plan (
             customer,
             from_at,
             plan,
             assigned_at
         ) values ($1, $2, $3, $4)
         on conflict (customer, from_at) do update
         set plan = excluded.plan,
             assigned_at = excluded.assigned_at",
    )
    .bind(customer.as_str())
    .bind(column::micros(from))
    .bind(plan.map(PriceVersion::as_str))
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Which plans a customer has had and will have, in order.
pub(super) async fn assignments(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Vec<Assignment>, LedgerError> {
    sql::query_as::<(i64, Option<String>)>(
        "select
             customer_plan.from_at,
             plan.content
         from customer_plan
         left join plan on plan.version = customer_plan.plan
         where customer_plan.customer = $1
         order by customer_plan.from_at",
    )
    .bind(customer.as_str())
    .fetch_all(connection)
    .await
    .during("read plans of a customer")?
    .into_iter()
    .map(|(from, content)| assignment(from, content.as_deref()))
    .collect()
}

/// Which plans all customers have had and will have, each customer's in order.
pub(super) async fn every_assignment(
    connection: &mut Connection,
) -> Result<Vec<(CustomerId, Assignment)>, LedgerError> {
    sql::query_as::<(String, i64, Option<String>)>(
        "select
             customer_plan.customer,
             customer_plan.from_at,
             plan.content
         from customer_plan
         left join plan on plan.version = customer_plan.plan
         order by
             customer_plan.customer,
             customer_plan.from_at",
    )
    .fetch_all(connection)
    .await
    .during("read plans of customers")?
    .into_iter()
    .map(|(customer, from, content)| {
        let customer = column::parsed("customer_plan.customer", &customer)?;
        Ok((customer, assignment(from, content.as_deref())?))
    })
    .collect()
}

fn assignment(from: i64, content: Option<&str>) -> Result<Assignment, LedgerError> {
    Ok(Assignment {
        from: column::instant("customer_plan.from_at", from)?,
        plan: content.map(read).transpose()?,
    })
}
