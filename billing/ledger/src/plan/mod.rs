//! Plans, and who has which from when on.
//!
//! A plan never changes: the same name with another content is another version, and who has the
//! earlier one keeps it until they are given the new one. A customer's plan changes at the start of
//! an hour of their calendar, so that hourly quantities fall on one side of it; never inside a
//! month that is invoiced or closed.

mod fees;
mod repo;

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::PartPlan,
    period::{Period, days_after, hour_start},
    plan::{Plan, PlanError, parse_plans},
};
use permille_types::{Currency, CustomerId, ModelName, PriceVersion};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use fees::{Fee, Plans};

use crate::{
    Customer, Instruction, Ledger, LedgerError,
    audit::{self, Call, Subject},
    charge::{Reach, make_way, owes_nothing_used},
    customer,
    error::{Chain, During},
    grant::{self, NewGrant},
    store::Connection,
};

/// Largest text of plans, in bytes: thousands of tiers.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// The name that stands for no plan: usage at its own prices.
pub const NO_PLAN: &str = "none";

/// A plan, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListedPlan {
    /// Its version.
    pub version: PriceVersion,
    /// Its name.
    pub name: ModelName,
    /// What kind of plan it is.
    pub kind: &'static str,
    /// Currency of its amounts.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// When it was added.
    pub added_at: DateTime<Utc>,
    /// The plan itself, in TOML.
    pub terms: String,
    #[serde(skip)]
    plan: Plan,
}

impl ListedPlan {
    fn new(plan: Plan, added_at: DateTime<Utc>) -> Self {
        Self {
            version: plan.version.clone(),
            name: plan.name.clone(),
            kind: plan.kind.as_str(),
            currency: plan.currency,
            added_at,
            terms: plan.content.clone(),
            plan,
        }
    }
}

/// Which plan a customer has from when on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CustomerPlan {
    /// From when on.
    pub from: DateTime<Utc>,
    /// The plan's name; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<ModelName>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<PriceVersion>,
    /// Until when nothing is owed, if it is a trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_until: Option<DateTime<Utc>>,
}

/// A plan of a customer from an instant on.
#[derive(Debug, Clone)]
struct Assignment {
    from: DateTime<Utc>,
    plan: Option<Plan>,
}

impl Ledger {
    /// Adds the `[[plan]]` entries of a text in TOML, all or none. One that is there is left as it
    /// is.
    ///
    /// # Errors
    /// [`LedgerError::Entries`] when the text is refused; [`LedgerError::Refused`] when the
    /// idempotency key was spent on another call; else the store's failure.
    pub async fn add_plans(
        &self,
        text: &str,
        instruction: &Instruction,
    ) -> Result<Vec<ListedPlan>, LedgerError> {
        if text.len() > TEXT_BYTES_MAX {
            let (bytes, accepted) = (text.len(), format!("at most {TEXT_BYTES_MAX} bytes"));
            return Err(LedgerError::invalid("plans", &format!("{bytes} bytes"), accepted));
        }
        let plans = parse_plans(text, "plans").map_err(|error| {
            let reason = match &error {
                PlanError::Entry { entry, cause, .. } => format!("{entry}: {}", Chain(cause)),
                _ => Chain(&error).to_string(),
            };
            LedgerError::Entries { reason }
        })?;
        let now = self.now();
        let request = audit::digest(&text);
        let subject = Subject { noun: "terms", id: "plans" };
        let call = Call { subject, action: "add", request: &request };
        let mut tx = self.store.write().await?;
        if call.before(&mut tx, instruction).await?.is_some() {
            return listed(&mut tx, &plans).await;
        }
        for plan in &plans {
            if plan.name.as_str() == NO_PLAN {
                return Err(LedgerError::invalid("name", NO_PLAN, "a name that is not reserved"));
            }
            if repo::insert(&mut tx, plan, now).await? {
                let subject = Subject { noun: "plan", id: plan.name.as_str() };
                let detail = Some(plan.version.as_str());
                audit::note(&mut tx, subject, call.action, detail, instruction, now).await?;
            }
        }
        call.spend(&mut tx, None, instruction, now).await?;
        let listed = listed(&mut tx, &plans).await?;
        tx.commit().await.during("commit plans")?;
        Ok(listed)
    }

    /// Every plan, in the order in which they came.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn plans(&self) -> Result<Vec<ListedPlan>, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::all(&mut reader).await
    }

    /// The plan of that version, or the latest of that name.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn plan(&self, name: &str) -> Result<ListedPlan, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::find(&mut reader, name).await?.ok_or_else(|| LedgerError::not_found("plan", name))
    }

    /// Gives a customer the latest plan of a name, or that of a version, or none, from an instant
    /// on; from the start of this hour when none is told. A trial with credit grants it.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer or plan; [`LedgerError::Invalid`] for a
    /// plan in another currency or an instant that is no start of an hour or lies in or before a
    /// month that is invoiced; else the store's failure.
    pub async fn assign_plan(
        &self,
        id: &CustomerId,
        name: &str,
        from: Option<DateTime<Utc>>,
        instruction: &Instruction,
    ) -> Result<Vec<CustomerPlan>, LedgerError> {
        let now = self.now();
        let request = format!("{name} {from:?}");
        let of_customer = Subject { noun: "plan of", id: id.as_str() };
        let call = Call { subject: of_customer, action: "assign", request: &request };
        let mut tx = self.store.write().await?;
        let customer = customer::find(&mut tx, id)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", id))?;
        if call.before(&mut tx, instruction).await?.is_some() {
            return shown(&mut tx, &customer).await;
        }
        let plan = match name {
            NO_PLAN => None,
            name => {
                let found = repo::find(&mut tx, name).await?;
                Some(found.ok_or_else(|| LedgerError::not_found("plan", name))?.plan)
            }
        };
        if let Some(plan) = plan.as_ref().filter(|plan| plan.currency != customer.currency) {
            let accepted = format!(
                "a plan in {}, which {} pays; this one is in {}",
                customer.currency.code(),
                customer.id,
                plan.currency.code()
            );
            return Err(LedgerError::invalid("plan", name, accepted));
        }
        let from = from.unwrap_or_else(|| hour_start(now, customer.time_zone));
        let hour = hour_start(from, customer.time_zone);
        if hour != from {
            let accepted = format!("the start of an hour, such as {}", hour.to_rfc3339());
            return Err(LedgerError::invalid("from", &from.to_rfc3339(), accepted));
        }
        make_way(&mut tx, Some(id), "from", from, Reach::Instants).await?;
        if let Some(plan) = &plan {
            grant_trial(&mut tx, &customer, plan, from, now).await?;
        }
        let version = plan.as_ref().map(|plan| &plan.version);
        repo::assign(&mut tx, id, from, version, now).await?;
        let detail = format!(
            "{} from {}",
            version.map_or(NO_PLAN, PriceVersion::as_str),
            from.format("%Y-%m-%dT%H:%M:%SZ")
        );
        let subject = Subject { noun: "customer", id: id.as_str() };
        audit::note(&mut tx, subject, "plan", Some(&detail), instruction, now).await?;
        call.spend(&mut tx, None, instruction, now).await?;
        let plans = shown(&mut tx, &customer).await?;
        self.commit_followed(tx, &customer).await?;
        Ok(plans)
    }

    /// Which plans a customer has had and will have, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn customer_plans(&self, id: &CustomerId) -> Result<Vec<CustomerPlan>, LedgerError> {
        let mut view = self.store.view().await?;
        let customer = customer::find(&mut view, id)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", id))?;
        shown(&mut view, &customer).await
    }
}

/// Plans as they are stored.
async fn listed(
    connection: &mut Connection,
    plans: &[Plan],
) -> Result<Vec<ListedPlan>, LedgerError> {
    let mut listed = Vec::with_capacity(plans.len());
    for Plan { version, .. } in plans {
        let found = repo::find(connection, version.as_str()).await?;
        listed.push(found.ok_or_else(|| LedgerError::not_found("plan", version))?);
    }
    Ok(listed)
}

/// The credit of a trial, once for a customer and a plan's name.
async fn grant_trial(
    tx: &mut Connection,
    customer: &Customer,
    plan: &Plan,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let Some(credit) = plan.trial.and_then(|trial| trial.credit) else { return Ok(()) };
    let days = plan.trial.and_then(|trial| trial.days);
    let origin = format!("trial of {}", plan.name);
    if grant::has_origin(tx, &customer.id, &origin).await? {
        return Ok(());
    }
    let new = NewGrant {
        amount: credit,
        currency: None,
        paid: rust_decimal::Decimal::ZERO,
        priority: 0,
        from: Some(from),
        expires_at: days.and_then(|days| days_after(from, days, customer.time_zone)),
        models: Vec::new(),
        reason: origin.clone(),
    };
    grant::add(tx, customer, &new, &origin, now).await.map(drop)
}

async fn shown(
    connection: &mut Connection,
    customer: &Customer,
) -> Result<Vec<CustomerPlan>, LedgerError> {
    let assignments = repo::assignments(connection, &customer.id).await?;
    let of = |place: usize, assignment: &Assignment| CustomerPlan {
        from: assignment.from,
        plan: assignment.plan.as_ref().map(|plan| plan.name.clone()),
        version: assignment.plan.as_ref().map(|plan| plan.version.clone()),
        trial_until: trial_until(&assignments, place, customer),
    };
    Ok(assignments.iter().enumerate().map(|(place, each)| of(place, each)).collect())
}

/// Until when nothing is owed for an assignment: a plan's trial is had once, by its name.
fn trial_until(
    assignments: &[Assignment],
    place: usize,
    customer: &Customer,
) -> Option<DateTime<Utc>> {
    let this = assignments.get(place)?;
    let plan = this.plan.as_ref()?;
    let days = plan.trial?.free_days()?;
    let had = assignments.iter().take(place).filter_map(|before| before.plan.as_ref());
    if had.into_iter().any(|before| before.name == plan.name) {
        return None;
    }
    days_after(this.from, days, customer.time_zone)
}

/// The parts of a customer's month, each under one plan or none.
pub(crate) async fn parts(
    connection: &mut Connection,
    customer: &Customer,
    month: Period,
) -> Result<Vec<(Period, Option<PartPlan>)>, LedgerError> {
    let assignments = repo::assignments(connection, &customer.id).await?;
    Ok(cut(&assignments, customer, month))
}

/// What a customer is under at an instant.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The plan; absent where there is none, and in a trial by days.
    pub(crate) plan: Option<Plan>,
    /// Until when, at most the instant that was asked for.
    pub(crate) until: DateTime<Utc>,
}

/// The plan that a customer is under at `at` and until when, before `end`; absent where the
/// customer never had a plan and will not have one.
pub(crate) async fn in_force(
    connection: &mut Connection,
    customer: &Customer,
    at: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Option<InForce>, LedgerError> {
    let assignments = repo::assignments(connection, &customer.id).await?;
    if assignments.is_empty() {
        return Ok(None);
    }
    let now = cut(&assignments, customer, Period { start: at, end }).into_iter().next();
    Ok(now.map(|(period, part)| InForce {
        plan: part.filter(|part| !part.is_trial).map(|part| part.plan),
        until: period.end,
    }))
}

/// A period, cut where one plan follows another.
fn cut(
    assignments: &[Assignment],
    customer: &Customer,
    month: Period,
) -> Vec<(Period, Option<PartPlan>)> {
    let mut cuts: Vec<(DateTime<Utc>, Option<PartPlan>)> = vec![(month.start, None)];
    for (place, assignment) in assignments.iter().enumerate() {
        let part = |is_trial| assignment.plan.clone().map(|plan| PartPlan { plan, is_trial });
        let next = assignments.get(place.saturating_add(1)).map(|next| next.from);
        match trial_until(assignments, place, customer) {
            None => cuts.push((assignment.from, part(false))),
            Some(end) => {
                cuts.push((assignment.from, part(true)));
                if next.is_none_or(|next| end < next) {
                    cuts.push((end, part(false)));
                }
            }
        }
    }
    let mut parts: Vec<(Period, Option<PartPlan>)> = Vec::new();
    for (place, (from, plan)) in cuts.iter().enumerate() {
        let next = cuts.get(place.saturating_add(1)).map_or(month.end, |next| next.0);
        let period = Period { start: (*from).max(month.start), end: next.min(month.end) };
        if period.start >= period.end {
            continue;
        }
        match parts.last_mut() {
            Some((before, same)) if same == plan => before.end = period.end,
            _ => parts.push((period, plan.clone())),
        }
    }
    parts
}

/// Whether a customer owes something for a month in which nothing was used.
pub(crate) async fn owes_unused(
    connection: &mut Connection,
    customer: &Customer,
    month: Period,
) -> Result<bool, LedgerError> {
    for (_, part) in parts(connection, customer, month).await? {
        let Some(PartPlan { plan, is_trial: false }) = part else { continue };
        let amounts = [plan.fee, plan.commitment, plan.minimum];
        if amounts.iter().flatten().any(|amount| !amount.is_zero()) {
            return Ok(true);
        }
        for charge in &plan.charges {
            if owes_nothing_used(charge)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A stored text as the plan that it is.
fn read(content: &str) -> Result<Plan, LedgerError> {
    let corrupt = || LedgerError::corrupt("plan.content", content);
    let mut plans = parse_plans(content, "store").map_err(|_| corrupt())?;
    plans.pop().ok_or_else(corrupt)
}
