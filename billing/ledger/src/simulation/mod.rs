//! What a plan would have billed of a month's real usage, and what providers took for it.
//!
//! The month is billed anew from its roll-ups, once as it is and once under the plan, by the code
//! that makes invoices; nothing is stored. Taxes, prepaid credit and trials are left out: they do
//! not tell whether a plan pays.

use permille_rating::{
    invoice::{Month, Part, PartPlan, UsageSum, bill_month},
    period::Period,
    plan::{Plan, parse_plans},
};
use permille_types::{Currency, CustomerId, Money, ProjectId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    CurrencySummary, Customer, Ledger, LedgerError, MarginFilter, MarginSums, SummaryFilter,
    TurnCost,
    catalogue::Catalogue,
    charge, close, column, customer,
    error::Chain,
    invoice::{month, refuse_future},
    plan, price, project,
    rollup::{self, Scope, Simulated},
    step::{Progress, Step, Walk},
    store::Connection,
    summary::Ranks,
};

/// Most requests of one customer's month: each is read twice, some minutes for ten million.
pub const SIMULATED_REQUESTS_MAX: u32 = 100_000_000;

/// What a plan would have made of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Simulation {
    /// The plan's name.
    pub plan: String,
    /// The month.
    pub period: String,
    /// Customers who pay in the plan's currency, by id.
    pub customers: Vec<SimulatedCustomer>,
    /// Customers of whom nothing is said, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<SimulationLeftOut>,
    /// How far it is; absent where it was not asked for in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A customer with so many requests in the month that they are not simulated with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SimulationLeftOut {
    /// Who.
    pub customer: CustomerId,
    /// Requests of their month.
    pub requests: u64,
    /// Requests up to which a customer is simulated.
    pub requests_max: u32,
}

/// What a plan would have made of a customer's month. Amounts are in `currency`, before tax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SimulatedCustomer {
    /// Who.
    pub customer: CustomerId,
    /// Currency of every amount.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Sessions of the month.
    pub sessions: u64,
    /// Usage at its own prices, exact.
    #[serde(serialize_with = "normalized")]
    pub usage_cost: Decimal,
    /// What the month bills as it is.
    pub billed: Decimal,
    /// What it would have billed under the plan.
    pub under_plan: Decimal,
    /// What providers took for it, as far as that is known: in another currency by the exchange
    /// rate of its day.
    #[serde(serialize_with = "normalized")]
    pub provider_cost: Decimal,
    /// Requests of which that is not known.
    pub unknown_requests: u64,
    /// `under_plan` less `provider_cost`; absent where that is not known of every request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_normalized")]
    pub margin: Option<Decimal>,
    /// The smallest number of sessions of mean cost that cost more than the plan's fee: from there
    /// on the customer pays less than metered. Absent without a fee or without usage that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even_sessions: Option<u64>,
    /// The same if every session had had one more turn; absent where no turn has a cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_more_turn: Option<OneMoreTurn>,
}

/// A month in which every session has one more turn: all quantities grow alike, by what the turn
/// after a session's last one costs on average.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OneMoreTurn {
    /// Usage at its own prices.
    #[serde(serialize_with = "normalized")]
    pub usage_cost: Decimal,
    /// What it would bill under the plan.
    pub under_plan: Decimal,
    /// What providers would take, rounded to 10⁻⁹.
    #[serde(serialize_with = "normalized")]
    pub provider_cost: Decimal,
    /// `under_plan` less `provider_cost`; absent where that is not known of every request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_normalized")]
    pub margin: Option<Decimal>,
}

fn normalized<S: serde::Serializer>(value: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&value.normalize())
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn some_normalized<S: serde::Serializer>(value: &Option<Decimal>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => normalized(value, s),
        None => s.serialize_none(),
    }
}

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    /// A text with one `[[plan]]`.
    pub plan: &'a str,
    /// Whose month; everyone's who pays in the plan's currency when absent.
    pub customer: Option<&'a CustomerId>,
    /// The month.
    pub period: &'a str,
    /// Which customers now; all at once when absent.
    pub step: Option<Step>,
    /// Of more requests of one customer nothing is said.
    pub requests_max: u32,
}

impl<'a> Trial<'a> {
    /// A plan on everyone's month, at once.
    #[must_use]
    pub fn new(plan: &'a str, period: &'a str) -> Self {
        let requests_max = SIMULATED_REQUESTS_MAX;
        Self { plan, customer: None, period, step: None, requests_max }
    }
}

impl Ledger {
    /// What a plan would have billed of a month. Stores nothing. Reads every row of a customer's
    /// month twice, in the same memory however many they are.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a text that is not one plan, a month that is none or has not
    /// begun, or a plan in another currency; [`LedgerError::NotFound`] for an unknown customer;
    /// [`LedgerError::Refused`] for one with too many requests who was asked for alone; else as
    /// for an invoice.
    pub async fn simulate_plan(&self, trial: &Trial<'_>) -> Result<Simulation, LedgerError> {
        let (plan, period) = (one_plan(trial.plan)?, trial.period);
        // Also where nobody has the plan's currency.
        close::checked(period)?;
        let customers = self.tried(trial, plan.currency).await?;
        let mut simulation = Simulation {
            plan: plan.name.to_string(),
            period: period.to_owned(),
            customers: Vec::new(),
            left_out: Vec::new(),
            progress: None,
        };
        let mut walk = Walk::of(customers, trial.step.as_ref());
        while let Some(customer) = walk.next_customer() {
            match self.try_on(customer, trial, &plan).await? {
                Tried::Nothing => {}
                Tried::Done(found) => simulation.customers.push(*found),
                Tried::LeftOut(left) => simulation.left_out.push(left),
            }
        }
        simulation.progress = trial.step.is_some().then(|| walk.progress());
        Ok(simulation)
    }

    /// Those on whose month a plan is tried.
    async fn tried(
        &self,
        trial: &Trial<'_>,
        currency: Currency,
    ) -> Result<Vec<Customer>, LedgerError> {
        let now = self.now();
        let mut reader = self.store.read().await?;
        let customers = match trial.customer {
            None => {
                let mut all = customer::all(&mut reader).await?;
                all.retain(|customer| customer.currency == currency);
                all
            }
            Some(id) => {
                let found = customer::find(&mut reader, id).await?;
                let found = found.ok_or_else(|| LedgerError::not_found("customer", id))?;
                if found.currency != currency {
                    let accepted = format!("a plan in {}", found.currency.code());
                    return Err(LedgerError::invalid("plan", currency.code(), accepted));
                }
                vec![found]
            }
        };
        for customer in &customers {
            refuse_future(trial.period, month(trial.period, customer)?.start, now)?;
        }
        Ok(customers)
    }

    async fn try_on(
        &self,
        customer: &Customer,
        trial: &Trial<'_>,
        plan: &Plan,
    ) -> Result<Tried, LedgerError> {
        let span = month(trial.period, customer)?;
        let mut reader = self.store.view().await?;
        let (sums, mode) = used(&mut reader, customer, span).await?;
        if trial.customer.is_none() && sums.is_empty() {
            return Ok(Tried::Nothing);
        }
        let scope = Scope { customer: &customer.id, period: span };
        let requests = rollup::requests(&mut reader, scope).await?.all;
        let (requests, requests_max) =
            (column::number("request_hour.requests", requests)?, trial.requests_max);
        // A summary has a view of its own: two of them at once would wait for each other.
        drop(reader);
        if requests > u64::from(requests_max) {
            if trial.customer.is_some() {
                let (id, period) = (&customer.id, trial.period);
                let reason = format!(
                    "has {requests} requests in {period}; accepted: a month of at most \
                     {requests_max}"
                );
                return Err(LedgerError::refused("customer", id, reason));
            }
            let customer = customer.id.clone();
            return Ok(Tried::LeftOut(SimulationLeftOut { customer, requests, requests_max }));
        }
        let facts = self.facts(customer, span, mode, plan).await?;
        let mut reader = self.store.view().await?;
        let catalogue = self.current(&mut reader).await?;
        let (used, mode) = used(&mut reader, customer, span).await?;
        let anew = Anew { catalogue: &catalogue, customer, span, used: &used, mode };
        let simulated = simulate(&mut reader, &anew, plan, &facts).await?;
        Ok(Tried::Done(Box::new(simulated)))
    }

    /// Counted before, so without a bound here.
    async fn facts(
        &self,
        customer: &Customer,
        span: Period,
        mode: Simulated,
        plan: &Plan,
    ) -> Result<Facts, LedgerError> {
        let filter = SummaryFilter {
            customer: Some(customer.id.clone()),
            since: Some(span.start),
            until: Some(span.end),
            flat_fee: plan.fee.map(|fee| Money::new(fee, plan.currency)),
            real_only: mode == Simulated::LeftOut,
            requests_max: u32::MAX,
        };
        let summary = self.sum_up(&filter, Ranks::LeftOut).await?;
        let asked = MarginFilter {
            customer: Some(customer.id.clone()),
            since: Some(span.start),
            until: Some(span.end),
            requests_max: u32::MAX,
            ..MarginFilter::new(plan.currency)
        };
        Ok(Facts {
            sums: summary.currencies.into_iter().find(|s| s.currency == plan.currency),
            margin: self.margins(&asked).await?.total,
        })
    }
}

/// What came of a customer.
enum Tried {
    /// They used nothing.
    Nothing,
    Done(Box<SimulatedCustomer>),
    LeftOut(SimulationLeftOut),
}

/// What the rows of a month say of its sessions and providers.
struct Facts {
    sums: Option<CurrencySummary>,
    margin: MarginSums,
}

/// A month to bill anew.
struct Anew<'a> {
    catalogue: &'a Catalogue,
    customer: &'a Customer,
    span: Period,
    used: &'a [UsageSum],
    /// Whether that is usage of the built-in provider.
    mode: Simulated,
}

async fn simulate(
    connection: &mut Connection,
    anew: &Anew<'_>,
    plan: &Plan,
    facts: &Facts,
) -> Result<SimulatedCustomer, LedgerError> {
    let is = plan::parts(connection, anew.customer, anew.span).await?;
    let under = vec![(anew.span, Some(PartPlan { plan: plan.clone(), is_trial: false }))];
    let same = Scale { up: 1, down: 1 };
    let (billed, usage_cost) = net(connection, anew, is, same).await?;
    let (under_plan, _) = net(connection, anew, under.clone(), same).await?;
    let provider_cost = facts.margin.provider_cost;
    let unknown_requests = facts.margin.left_out_requests;
    let is_known = unknown_requests == 0;
    let left = |from, taken| column::exact_sub("margin of a plan", from, taken);
    let scale = facts.sums.as_ref().and_then(one_more_turn);
    let one_more_turn = match scale {
        None => None,
        Some(scale) => {
            let (under_plan, usage_cost) = net(connection, anew, under, scale).await?;
            let provider_cost = scale.amount(provider_cost)?;
            let margin = is_known.then(|| left(under_plan, provider_cost)).transpose()?;
            Some(OneMoreTurn { usage_cost, under_plan, provider_cost, margin })
        }
    };
    Ok(SimulatedCustomer {
        customer: anew.customer.id.clone(),
        currency: anew.customer.currency,
        sessions: facts.sums.as_ref().map_or(0, |sums| sums.sessions),
        usage_cost,
        billed,
        under_plan,
        provider_cost,
        unknown_requests,
        margin: is_known.then(|| left(under_plan, provider_cost)).transpose()?,
        break_even_sessions: facts
            .sums
            .as_ref()
            .and_then(|sums| sums.break_even.as_ref())
            .and_then(|even| even.sessions),
        one_more_turn,
    })
}

/// Quantities of a customer's month; those of the built-in provider where there are no others.
async fn used(
    connection: &mut Connection,
    customer: &Customer,
    period: Period,
) -> Result<(Vec<UsageSum>, Simulated), LedgerError> {
    let scope = Scope { customer: &customer.id, period };
    let real = rollup::quantities(connection, scope, Simulated::LeftOut).await?.sums;
    if !real.is_empty() {
        return Ok((real, Simulated::LeftOut));
    }
    let all = rollup::quantities(connection, scope, Simulated::Counted).await?.sums;
    Ok((all, Simulated::Counted))
}

/// What a month bills before tax when nothing of it is billed yet, and its usage at own prices.
async fn net(
    connection: &mut Connection,
    anew: &Anew<'_>,
    planned: Vec<(Period, Option<PartPlan>)>,
    scale: Scale,
) -> Result<(Decimal, Decimal), LedgerError> {
    let Anew { catalogue, customer, span, used, mode } = anew;
    let id = &customer.id;
    let mut parts = Vec::with_capacity(planned.len());
    let is_whole = planned.len() == 1;
    for (period, plan) in planned {
        let mut all = if is_whole {
            used.to_vec()
        } else {
            let scope = Scope { customer: id, period };
            rollup::quantities(connection, scope, *mode).await?.sums
        };
        for sum in &mut all {
            sum.quantity = scale.count(sum.quantity)?;
        }
        parts.push(Part { period, plan, left: all.clone(), all, billed: Vec::new() });
    }
    let charges = charge::holding(connection, customer, span.start).await?;
    let project: ProjectId = column::parsed("project.id", project::DEFAULT_PROJECT)?;
    let month = Month { corrects: None, period: *span, project, parts, charges };
    let versions = month.parts.iter().flat_map(|part| &part.all).map(|sum| &sum.price_version);
    let derived = price::derived_since(connection, catalogue, versions).await?;
    let price = |version: &_| catalogue.content(version).or_else(|| derived.get(version));
    let bill = bill_month(&month, price, customer.currency)
        .map_err(|cause| LedgerError::Invoice { customer: id.clone(), cause: Box::new(cause) })?;
    let mut net = Decimal::ZERO;
    let mut cost = Decimal::ZERO;
    for line in &bill.lines {
        net = column::exact_add("net of a simulated month", net, line.amount)?;
        if line.meter.is_usage() {
            cost = column::exact_add("cost of a simulated month", cost, line.exact)?;
        }
    }
    Ok((permille_rating::round::round_money(net, customer.currency), cost))
}

/// A factor, as a fraction.
#[derive(Debug, Clone, Copy)]
struct Scale {
    up: i128,
    down: i128,
}

impl Scale {
    /// A count times the factor, rounded up.
    fn count(self, count: u64) -> Result<u64, LedgerError> {
        let overflow = || LedgerError::Count { what: "quantities", left: i64::MAX, right: 1 };
        let up = i128::from(count).checked_mul(self.up).ok_or_else(overflow)?;
        let rest = self.down.saturating_sub(1);
        up.checked_add(rest)
            .and_then(|up| up.checked_div(self.down))
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(overflow)
    }

    /// An amount times the factor, to 10⁻⁹.
    fn amount(self, amount: Decimal) -> Result<Decimal, LedgerError> {
        use permille_rating::round::{from_nano, to_nano};
        let nano = i128::from(to_nano(amount)?);
        let scaled = nano.checked_mul(self.up).and_then(|up| up.checked_div(self.down));
        let scaled = scaled.and_then(|nano| i64::try_from(nano).ok());
        scaled.map(from_nano).ok_or(LedgerError::Count {
            what: "nano-units",
            left: i64::MAX,
            right: 1,
        })
    }
}

/// By how much usage grows when every session has one more turn: for the sessions that end at a
/// turn, what the next turn costs on average; for those that end at the last turn that anybody has
/// reached, what that one costs.
fn one_more_turn(sums: &CurrencySummary) -> Option<Scale> {
    use permille_rating::round::to_nano;
    let mut more = 0_i128;
    for (place, turn) in sums.turns.iter().enumerate() {
        let next = sums.turns.get(place.checked_add(1)?);
        let reached = |turn: &TurnCost| i128::from(turn.requests);
        let ending = reached(turn).checked_sub(next.map_or(0, reached))?.max(0);
        let mean = to_nano(next.unwrap_or(turn).mean).ok()?;
        more = more.checked_add(ending.checked_mul(i128::from(mean))?)?;
    }
    let cost = i128::from(to_nano(sums.cost).ok()?);
    (cost > 0 && more > 0).then_some(Scale { up: cost.checked_add(more)?, down: cost })
}

fn one_plan(text: &str) -> Result<Plan, LedgerError> {
    let accepted = "one `[[plan]]`";
    let plans = parse_plans(text, "plan")
        .map_err(|cause| LedgerError::invalid("plan", &Chain(&cause).to_string(), accepted))?;
    let count = plans.len();
    let mut plans = plans.into_iter();
    match (plans.next(), plans.next()) {
        (Some(plan), None) => Ok(plan),
        _ => Err(LedgerError::invalid("plan", &format!("{count} plans"), accepted)),
    }
}
