//! Which plan customers had at any instant, and what its fee comes to over a stretch of time, less
//! what credit notes have taken back of it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use permille_rating::{
    Meter, Term,
    invoice::PartPlan,
    period::{Period, period_of},
    plan::Plan,
    prorate::prorate,
};
use permille_types::{Currency, CustomerId, ModelName};
use rust_decimal::Decimal;

use super::{Assignment, cut, repo};
use crate::{Customer, LedgerError, column, customer, invoice::month, invoiced, store::Connection};

/// The plans of customers that have, had or will have one.
#[derive(Debug, Default)]
pub(crate) struct Plans(HashMap<CustomerId, Planned>);

/// A customer and their plans.
#[derive(Debug)]
struct Planned {
    customer: Customer,
    assignments: Vec<Assignment>,
    /// What is credited of the fee of the part of a month that begins then.
    credited: BTreeMap<DateTime<Utc>, Decimal>,
}

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
        let mut plans = HashMap::new();
        for customer in customers {
            let Some(assignments) = assignments.remove(&customer.id) else { continue };
            let credited = credited_fees(connection, &customer).await?;
            plans.insert(customer.id.clone(), Planned { customer, assignments, credited });
        }
        Ok(Self(plans))
    }

    /// The plan that a customer has at an instant.
    pub(crate) fn at(&self, customer: &CustomerId, at: DateTime<Utc>) -> Option<&Plan> {
        let assignments = &self.0.get(customer)?.assignments;
        let next = assignments.partition_point(|assignment| assignment.from <= at);
        assignments.get(next.checked_sub(1)?)?.plan.as_ref()
    }

    /// What fees come to between two instants: of each month its share, to the second, as an
    /// invoice has it, less the same share of what of it is credited; nothing of what is tried for
    /// nothing.
    pub(crate) fn fees(
        &self,
        since: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Fee>, LedgerError> {
        let mut fees = Vec::new();
        for planned in self.0.values() {
            let customer = &planned.customer;
            let Some(first) = planned.assignments.first() else { continue };
            let mut at = since.map_or(first.from, |since| since.max(first.from));
            while at < until {
                let month = period_of(at, customer.time_zone)
                    .map_err(|_| LedgerError::corrupt("customer_plan.from_at", &at))?;
                let asked = Period { start: at, end: month.end.min(until) };
                add_fees(&mut fees, planned, month, asked)?;
                at = month.end;
            }
        }
        Ok(fees)
    }
}

/// What is credited of a customer's fees, by the first instant of the part that a fee is for.
async fn credited_fees(
    connection: &mut Connection,
    customer: &Customer,
) -> Result<BTreeMap<DateTime<Utc>, Decimal>, LedgerError> {
    let mut fees = BTreeMap::new();
    for label in invoiced::credited_months(connection, &customer.id).await? {
        let first = month(&label, customer)?.start;
        for (taken, amount) in invoiced::credited(connection, &customer.id, &label).await? {
            if taken.key.2 == Meter::Term(Term::Fee) {
                let sum: &mut Decimal = fees.entry(taken.begins(first)).or_default();
                *sum = column::exact_add("credited fees", *sum, amount)?;
            }
        }
    }
    Ok(fees)
}

fn add_fees(
    fees: &mut Vec<Fee>,
    planned: &Planned,
    month: Period,
    asked: Period,
) -> Result<(), LedgerError> {
    const WHAT: &str = "fees of plans";
    for (whole, plan) in cut(&planned.assignments, &planned.customer, month) {
        let Some(PartPlan { plan, is_trial: false }) = plan else { continue };
        let part = Period { start: whole.start.max(asked.start), end: whole.end.min(asked.end) };
        let Some(fee) = plan.fee.filter(|_| part.start < part.end) else { continue };
        let share = |amount, of| {
            prorate(amount, part, of, plan.currency)
                .map_err(|cause| LedgerError::Amount { what: WHAT, cause })
        };
        let credited = planned.credited.get(&whole.start).copied().unwrap_or_default();
        let amount = column::exact_sub(WHAT, share(fee, month)?, share(credited, whole)?)?;
        fees.push(Fee { plan: plan.name, currency: plan.currency, amount, from: part.start });
    }
    Ok(())
}
