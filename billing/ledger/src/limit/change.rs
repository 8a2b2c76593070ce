//! Changes of limits: what each field becomes, and what is no limit.

use permille_types::Currency;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use super::{
    Limits,
    budget::{ACCEPTED, Budgets, Per},
};
use crate::LedgerError;

/// Most requests or tokens per minute, and requests at once: what counters of the shared books hold
/// exactly.
const RATE_MAX: u64 = 1_000_000_000;

/// What becomes of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Set(T),
    /// It is taken away.
    Clear,
}

impl<T> Change<T> {
    fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Set(value) => Some(value),
            Self::Clear => None,
        }
    }

    fn checked<U>(
        self,
        check: impl FnOnce(T) -> Result<U, LedgerError>,
    ) -> Result<Change<U>, LedgerError> {
        Ok(match self {
            Self::Keep => Change::Keep,
            Self::Set(value) => Change::Set(check(value)?),
            Self::Clear => Change::Clear,
        })
    }
}

/// `null` takes a limit away; a field that is not there keeps it (`#[serde(default)]`).
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let given = Option::<T>::deserialize(d)?;
        Ok(given.map_or(Self::Clear, Self::Set))
    }
}

impl<T: JsonSchema> JsonSchema for Change<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ChangeOf{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// Changes of one owner's limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("examples" = [{"tpm": 100_000, "budget": "50 CNY/month", "rpm": null}]))]
pub struct LimitChanges {
    /// Requests per minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub rpm: Change<u32>,
    /// Tokens per minute.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub tpm: Change<u64>,
    /// Requests at once.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub concurrency: Change<u32>,
    /// Money by period.
    pub budget: Change<String>,
    /// Money of each session.
    pub session_budget: Change<String>,
    /// From which part on answers warn, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub warn_percent: Change<u8>,
}

impl LimitChanges {
    /// `before` with these changes, for a customer who is billed in `currency`, and the names of
    /// the fields that are others now.
    pub(crate) fn of(
        self,
        before: &Limits,
        currency: Currency,
    ) -> Result<(Limits, Vec<&'static str>), LedgerError> {
        let rate = |field, value: u64, accepted: &str| {
            if (1..=RATE_MAX).contains(&value) {
                Ok(())
            } else {
                Err(LedgerError::invalid(field, &value, accepted))
            }
        };
        let rpm = self.rpm.checked(|rpm| {
            let accepted = "1 or more, at most 1000000000; revoke a key to stop it";
            rate("rpm", rpm.into(), accepted).map(|()| rpm)
        })?;
        let tpm = self
            .tpm
            .checked(|tpm| rate("tpm", tpm, "1 to 1000000000 tokens per minute").map(|()| tpm))?;
        let concurrency = self.concurrency.checked(|open| {
            rate("concurrency", open.into(), "1 to 1000000000 requests at once").map(|()| open)
        })?;
        let warn_percent = self.warn_percent.checked(|percent| {
            if (1..=100).contains(&percent) {
                Ok(percent)
            } else {
                Err(LedgerError::invalid("warn_percent", &percent, "1 to 100"))
            }
        })?;
        let budget = self.budget.checked(|text| budgets("budget", &text, currency))?;
        let session_budget = self.session_budget.checked(|text| {
            let budgets = budgets("session_budget", &text, currency)?;
            if budgets.iter().all(|budget| budget.per == Per::Total) {
                Ok(budgets)
            } else {
                let accepted = "a total, such as `2 CNY/total`: a session has no months";
                Err(LedgerError::invalid("session_budget", &text, accepted))
            }
        })?;
        let limits = Limits {
            rpm: rpm.of(before.rpm),
            tpm: tpm.of(before.tpm),
            concurrency: concurrency.of(before.concurrency),
            budget: budget.of(before.budget.clone()),
            session_budget: session_budget.of(before.session_budget.clone()),
            warn_percent: warn_percent.of(before.warn_percent),
        };
        let fields = [
            ("rpm", limits.rpm != before.rpm),
            ("tpm", limits.tpm != before.tpm),
            ("concurrency", limits.concurrency != before.concurrency),
            ("budget", limits.budget != before.budget),
            ("session_budget", limits.session_budget != before.session_budget),
            ("warn_percent", limits.warn_percent != before.warn_percent),
        ];
        let fields = fields.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name);
        Ok((limits, fields.collect()))
    }
}

fn budgets(field: &'static str, text: &str, currency: Currency) -> Result<Budgets, LedgerError> {
    let budgets: Budgets = text.parse().map_err(|_| LedgerError::invalid(field, text, ACCEPTED))?;
    if budgets.iter().any(|budget| budget.currency != currency) {
        let accepted = format!("amounts in {}, the customer's currency", currency.code());
        return Err(LedgerError::invalid(field, text, accepted));
    }
    Ok(budgets)
}
