//! Limits: how much customers, projects and keys may use, as their operators say it.
//!
//! The gateway enforces them; what was spent it asks of [`mod@crate::spending`].

mod budget;
mod change;
mod repo;

use permille_rating::round::from_nano;
use permille_types::{CustomerId, KeyId, Level, Limit, Measure, Money, ProjectId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use budget::{Budget, Budgets, Per};
pub use change::{Change, LimitChanges};
pub(crate) use repo::{all, find};

use crate::{
    Instruction, Ledger, LedgerError,
    audit::{self, Call, Subject},
    customer, key, project,
};

/// From which part of a limit on answers warn, where nothing else is said.
const WARN_PERCENT: u8 = 80;

/// How much may be used. What is absent is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests per minute. That of a key is [`crate::Key::rpm`], and never here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    /// Input and output tokens per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests whose replies have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Money by day, month and in all, such as `5 CNY/day, 50 CNY/month`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budgets>,
    /// Money that each session may spend in all, such as `2 CNY/total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_budget: Option<Budgets>,
    /// From which part of a limit on answers warn, in percent; 80 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_percent: Option<u8>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// From which part on answers warn, in percent.
    pub(crate) fn warn_percent(&self) -> u8 {
        self.warn_percent.unwrap_or(WARN_PERCENT)
    }

    /// What the gateway enforces of them, at `level`.
    pub(crate) fn enforced(&self, level: Level) -> Vec<Limit> {
        let warn_percent = self.warn_percent();
        let limit = |level, measure, max| Limit { level, measure, max, warn_percent };
        let mut limits = Vec::new();
        limits.extend(self.rpm.map(|max| limit(level, Measure::RequestsPerMinute, u64::from(max))));
        limits.extend(self.tpm.map(|max| limit(level, Measure::TokensPerMinute, max)));
        limits.extend(
            self.concurrency.map(|max| limit(level, Measure::OpenRequests, u64::from(max))),
        );
        let money = |budget: &Budget, level| limit(level, budget.per.measure(), budget.nano);
        limits.extend(self.budget.iter().flat_map(Budgets::iter).map(|own| money(own, level)));
        let of_sessions = self.session_budget.iter().flat_map(Budgets::iter);
        limits.extend(of_sessions.map(|each| money(each, Level::Session)));
        limits
    }
}

/// Whose limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limited {
    /// A customer's.
    Customer(CustomerId),
    /// A project's.
    Project(CustomerId, ProjectId),
    /// A key's.
    Key(KeyId),
}

/// Where the limits of one owner are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) customer: CustomerId,
    pub(crate) level: Level,
    pub(crate) id: String,
}

impl Owner {
    pub(crate) fn of_customer(customer: &CustomerId) -> Self {
        Self { customer: customer.clone(), level: Level::Customer, id: customer.to_string() }
    }

    pub(crate) fn of_project(customer: &CustomerId, project: &ProjectId) -> Self {
        Self { customer: customer.clone(), level: Level::Project, id: project.to_string() }
    }

    pub(crate) fn of_key(customer: &CustomerId, key: &KeyId) -> Self {
        Self { customer: customer.clone(), level: Level::Key, id: key.to_string() }
    }
}

impl Ledger {
    /// The limits of a customer, a project or a key, the requests per minute of a key included.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn limits(&self, whose: &Limited) -> Result<Limits, LedgerError> {
        let mut view = self.store.view().await?;
        let (owner, rpm) = owner_of(&mut view, whose).await?;
        let mut limits = repo::find(&mut view, &owner).await?.unwrap_or_default();
        limits.rpm = limits.rpm.or(rpm);
        Ok(limits)
    }

    /// What customers may spend in a month, by the limits of those that have such a budget.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn monthly_budgets(&self) -> Result<Vec<(CustomerId, Money)>, LedgerError> {
        let mut view = self.store.view().await?;
        let all = repo::all(&mut view).await?;
        let customers = all.into_iter().filter(|(owner, _)| owner.level == Level::Customer);
        let budgets = customers.filter_map(|(owner, limits)| {
            let budgets = limits.budget?;
            let monthly = budgets.iter().find(|budget| budget.per == Per::Month)?;
            let amount = from_nano(i64::try_from(monthly.nano).ok()?);
            Some((owner.customer, Money::new(amount, monthly.currency)))
        });
        Ok(budgets.collect())
    }

    /// Changes limits. What was used so far stays used.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Invalid`] names the field that is no limit,
    /// [`LedgerError::Refused`] when the key was spent on another call, else the store's failure.
    pub async fn change_limits(
        &self,
        whose: &Limited,
        changes: LimitChanges,
        instruction: &Instruction,
    ) -> Result<Limits, LedgerError> {
        let mut tx = self.store.write().await?;
        let (owner, rpm) = owner_of(&mut tx, whose).await?;
        let currency = customer::find(&mut tx, &owner.customer)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", &owner.customer))?
            .currency;
        let mut before = repo::find(&mut tx, &owner).await?.unwrap_or_default();
        before.rpm = before.rpm.or(rpm);
        let request = audit::digest(&changes);
        // Projects of two customers may have one id.
        let id = format!("{} {}/{}", owner.level.as_str(), owner.customer, owner.id);
        let of_owner = Subject { noun: "limits of", id: &id };
        let call = Call { subject: of_owner, action: "change", request: &request };
        if call.before(&mut tx, instruction).await?.is_some() {
            return Ok(before);
        }
        let (limits, fields) = changes.of(&before, currency)?;
        let now = self.now();
        call.spend(&mut tx, None, instruction, now).await?;
        if fields.is_empty() {
            self.commit(tx).await?;
            return Ok(limits);
        }
        write(&mut tx, &owner, &limits, now).await?;
        let fields = fields.join(", ");
        let subject = Subject { noun: owner.level.as_str(), id: &owner.id };
        let detail = Some(fields.as_str());
        audit::note(&mut tx, subject, "change limits", detail, instruction, now).await?;
        self.commit_change(tx).await?;
        Ok(limits)
    }
}

/// Writes the limits of an owner, the requests per minute of a key to its own row.
pub(crate) async fn write(
    connection: &mut crate::store::Connection,
    owner: &Owner,
    limits: &Limits,
    at: chrono::DateTime<chrono::Utc>,
) -> Result<(), LedgerError> {
    if owner.level != Level::Key {
        return repo::put(connection, owner, limits, at).await;
    }
    repo::put_key_rpm(connection, &owner.id, limits.rpm).await?;
    let rest = Limits { rpm: None, ..limits.clone() };
    repo::put(connection, owner, &rest, at).await
}

async fn owner_of(
    connection: &mut crate::store::Connection,
    whose: &Limited,
) -> Result<(Owner, Option<u32>), LedgerError> {
    match whose {
        Limited::Customer(id) => {
            customer::find(connection, id)
                .await?
                .ok_or_else(|| LedgerError::not_found("customer", id))?;
            Ok((Owner::of_customer(id), None))
        }
        Limited::Project(customer, id) => {
            if !project::exists(connection, customer, id).await? {
                return Err(LedgerError::not_found("project", id));
            }
            Ok((Owner::of_project(customer, id), None))
        }
        Limited::Key(id) => {
            let key = key::find(connection, id)
                .await?
                .ok_or_else(|| LedgerError::not_found("key", id))?;
            Ok((Owner::of_key(&key.customer, id), key.rpm))
        }
    }
}
