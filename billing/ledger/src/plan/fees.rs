//! Which plan customers had at any instant, and what its fee comes to over a stretch of time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::PartPlan,
    period::{Period, period_of},
    plan::Plan,
    prorate::prorate,
};
use permille_types::{Currency, CustomerId, ModelName};
use rust_decimal::Decimal;

use super::{Assignment, cut, repo};
use crate::{Customer, LedgerError, customer, store::Connection};

/// The plans of customers that have, had or will have one.
#[derive(Debug, Default)]
pub(crate) struct Plans(HashMap<CustomerId, (Customer, Vec<Assignment>)>);

/// What a plan's fee comes to for one customer, of a part of a month.
#[derive(Debug)]
pub(crate) struct Fee {
    pub(crate) plan: ModelName,
    pub(crate) currency: Currency,
    /// Rounded as an invoice rounds it.
    pub(crate) amount: Decimal,
    /// The part's first instant.
    pub(crate) from: DateTime<Utc>,
}

impl Plans {
    /// Those of one customer, or of all.
    pub(crate) async fn of(
        connection: &mut Connection,
        only: Option<&CustomerId>,
    ) -> Result<Self, LedgerError> {
        let customers = match only {
            Some(id) => customer::find(connection, id).await?.into_iter().collect(),
            None => customer::all(connection).await?,
        };
        let mut assignments: HashMap<CustomerId, Vec<Assignment>> = HashMap::new();
        for (id, assignment) in repo::every_assignment(connection).await? {
            assignments.entry(id).or_default().push(assignment);
        }
        let with = |customer: Customer| {
            let plans = assignments.remove(&customer.id)?;
            Some((customer.id.clone(), (customer, plans)))
        };
        Ok(Self(customers.into_iter().filter_map(with).collect()))
    }

    /// The plan that a customer has at an instant.
    pub(crate) fn at(&self, customer: &CustomerId, at: DateTime<Utc>) -> Option<&Plan> {
        let (_, assignments) = self.0.get(customer)?;
        let next = assignments.partition_point(|assignment| assignment.from <= at);
        assignments.get(next.checked_sub(1)?)?.plan.as_ref()
    }

    /// What fees come to between two instants: of each month its share, to the second, as an
    /// invoice has it; nothing of what is tried for nothing.
    pub(crate) fn fees(
        &self,
        since: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Fee>, LedgerError> {
        let mut fees = Vec::new();
        for (customer, assignments) in self.0.values() {
            let Some(first) = assignments.first() else { continue };
            let mut at = since.map_or(first.from, |since| since.max(first.from));
            while at < until {
                let month = period_of(at, customer.time_zone)
                    .map_err(|_| LedgerError::corrupt("customer_plan.from_at", &at))?;
                let asked = Period { start: at, end: month.end.min(until) };
                add_fees(&mut fees, customer, assignments, month, asked)?;
                at = month.end;
            }
        }
        Ok(fees)
    }
}

fn add_fees(
    fees: &mut Vec<Fee>,
    customer: &Customer,
    assignments: &[Assignment],
    month: Period,
    asked: Period,
) -> Result<(), LedgerError> {
    for (part, plan) in cut(assignments, customer, month) {
        let Some(PartPlan { plan, is_trial: false }) = plan else { continue };
        let part = Period { start: part.start.max(asked.start), end: part.end.min(asked.end) };
        let Some(fee) = plan.fee.filter(|_| part.start < part.end) else { continue };
        let amount = prorate(fee, part, month, plan.currency)
            .map_err(|cause| LedgerError::Amount { what: "fees of plans", cause })?;
        fees.push(Fee { plan: plan.name, currency: plan.currency, amount, from: part.start });
    }
    Ok(())
}
