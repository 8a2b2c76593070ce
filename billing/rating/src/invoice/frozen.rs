//! The terms that an invoice was computed by, written down on it: whoever has them computes its
//! charges, fees and credit again, whatever plans and grants have become since.
//!
//! A plan or charge is there as its one canonical text, under the version that is made of that
//! text: a term that a hand has changed no longer has its version.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use permille_types::{CustomerId, PriceVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Month, PartPlan};
use crate::{
    charge::{PeriodCharge, parse_period_charges},
    grant::Grant,
    period::{Period, PeriodError},
    plan::{CreditTerms, Plan, parse_plans},
};

/// What an invoice bills by beside prices. Nothing of it is there where prices are all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceTerms {
    /// Months in which a plan or a charge held, the invoice's own first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<MonthTerms>,
    /// The plans that months name, in TOML.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<PriceVersion, String>,
    /// The charges that months name, in TOML.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charges: BTreeMap<PriceVersion, String>,
    /// Prepaid credit that may pay, with what was left of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// The terms of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MonthTerms {
    /// The month, such as `2026-11`.
    pub period: String,
    /// Parts that together are the month, in order.
    pub parts: Vec<PartTerms>,
    /// Charges that held for all of it: the customer's own and everyone's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<PriceVersion>,
}

/// The terms of a part of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartTerms {
    /// From when to when.
    pub period: Period,
    /// The plan, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PriceVersion>,
    /// Whether the part is a trial for which nothing is owed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
}

/// What held for a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTerms {
    /// The month.
    pub period: Period,
    /// Parts that together are the month, in order.
    pub parts: Vec<(Period, Option<PartPlan>)>,
    /// Charges for all of it.
    pub charges: Vec<PeriodCharge>,
}

impl HeldTerms {
    /// How prepaid credit pays: by the plan at the month's end.
    #[must_use]
    pub fn credit(&self) -> CreditTerms {
        let last = self.parts.last().and_then(|(_, plan)| plan.as_ref());
        last.map(|part| part.plan.credit).unwrap_or_default()
    }
}

/// Why terms are not accepted as those of an invoice.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// A month is none.
    #[error("read the month `{month}`")]
    Month {
        /// What it is called.
        month: String,
        /// The cause.
        #[source]
        cause: PeriodError,
    },
    /// The parts of a month are not that month.
    #[error("the parts of {month} do not make up the month, each beginning where one ends")]
    Parts {
        /// The month.
        month: String,
    },
    /// A plan or charge is named and not there.
    #[error("{kind} `{version}` of {month} is not among the terms")]
    Absent {
        /// `plan` or `charge`.
        kind: &'static str,
        /// The version named.
        version: PriceVersion,
        /// By which month.
        month: String,
    },
    /// A text is not the plan or charge of its version.
    #[error("{kind} `{version}` is not what its text says: the text makes {found}")]
    OtherText {
        /// `plan` or `charge`.
        kind: &'static str,
        /// The version that it is under.
        version: PriceVersion,
        /// What the text makes.
        found: String,
    },
    /// A part is free, and its plan has no trial that is.
    #[error("{month} has a trial under plan `{version}`, which has none for nothing")]
    NoTrial {
        /// The month.
        month: String,
        /// The plan.
        version: PriceVersion,
    },
    /// A charge does not hold for the month or the customer.
    #[error("charge `{version}` does not hold for {month}: {reason}")]
    NotHeld {
        /// The charge.
        version: PriceVersion,
        /// The month.
        month: String,
        /// Why not.
        reason: &'static str,
    },
}

impl InvoiceTerms {
    /// Whether prices are all that it bills by.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.months.is_empty() && self.grants.is_empty()
    }

    /// Writes down what held for `month`, which is called `label`. A month that nothing but
    /// prices held for is not told.
    pub fn hold(&mut self, label: &str, month: &Month) {
        let is_plain = month.charges.is_empty()
            && month.parts.len() == 1
            && month.parts.iter().all(|part| part.plan.is_none());
        if is_plain {
            return;
        }
        let mut parts = Vec::with_capacity(month.parts.len());
        for part in &month.parts {
            let plan = part.plan.as_ref().map(|plan| &plan.plan);
            if let Some(plan) = plan {
                self.plans.insert(plan.version.clone(), plan.content.clone());
            }
            parts.push(PartTerms {
                period: part.period,
                plan: plan.map(|plan| plan.version.clone()),
                trial: part.plan.as_ref().is_some_and(|plan| plan.is_trial),
            });
        }
        let texts = month.charges.iter().map(|held| (held.version.clone(), held.content.clone()));
        self.charges.extend(texts);
        let charges = month.charges.iter().map(|held| held.version.clone()).collect();
        self.months.push(MonthTerms { period: label.to_owned(), parts, charges });
    }

    /// Adds what held for other months.
    pub fn append(&mut self, other: Self) {
        self.months.extend(other.months);
        self.plans.extend(other.plans);
        self.charges.extend(other.charges);
        self.grants.extend(other.grants);
    }

    /// What held for the month `label` of `customer`, by the calendar of `zone`.
    ///
    /// # Errors
    /// [`TermsError`] when the terms contradict themselves.
    pub fn held(
        &self,
        label: &str,
        customer: &CustomerId,
        zone: Tz,
    ) -> Result<HeldTerms, TermsError> {
        let period = Period::month(label, zone)
            .map_err(|cause| TermsError::Month { month: label.to_owned(), cause })?;
        let Some(told) = self.months.iter().find(|month| month.period == label) else {
            return Ok(HeldTerms { period, parts: vec![(period, None)], charges: Vec::new() });
        };
        let mut at = period.start;
        for part in &told.parts {
            if part.period.start != at || part.period.end <= at {
                return Err(TermsError::Parts { month: label.to_owned() });
            }
            at = part.period.end;
        }
        if at != period.end {
            return Err(TermsError::Parts { month: label.to_owned() });
        }
        let part = |part: &PartTerms| Ok((part.period, self.plan_of(part, label)?));
        let parts = told.parts.iter().map(part).collect::<Result<_, TermsError>>()?;
        let mut charges: Vec<PeriodCharge> = Vec::with_capacity(told.charges.len());
        for version in &told.charges {
            let charge = self.charge(version, label)?;
            let is_same = |other: &PeriodCharge| {
                (&other.name, &other.customer) == (&charge.name, &charge.customer)
            };
            let reason = if !charge.holds_for(period.start) {
                Some("it is of other months")
            } else if charge.customer.as_ref().is_some_and(|whose| whose != customer) {
                Some("it is another customer's")
            } else if charges.iter().any(is_same) {
                Some("another one of its name holds")
            } else {
                None
            };
            if let Some(reason) = reason {
                let (version, month) = (version.clone(), label.to_owned());
                return Err(TermsError::NotHeld { version, month, reason });
            }
            charges.push(charge);
        }
        Ok(HeldTerms { period, parts, charges })
    }

    fn plan_of(&self, part: &PartTerms, month: &str) -> Result<Option<PartPlan>, TermsError> {
        let Some(version) = &part.plan else { return Ok(None) };
        let text = self.plans.get(version).ok_or_else(|| absent("plan", version, month))?;
        let mut plans = parse_plans(text, "terms")
            .map_err(|cause| other_text("plan", version, cause.to_string()))?;
        let one = if plans.len() == 1 { plans.pop() } else { None };
        let plan: Plan = one
            .ok_or_else(|| other_text("plan", version, "more than one plan".to_owned()))
            .and_then(|plan| {
                if plan.version == *version {
                    Ok(plan)
                } else {
                    Err(other_text("plan", version, format!("`{}`", plan.version)))
                }
            })?;
        let is_free = plan.trial.and_then(|trial| trial.free_days()).is_some();
        if part.trial && !is_free {
            let (month, version) = (month.to_owned(), version.clone());
            return Err(TermsError::NoTrial { month, version });
        }
        Ok(Some(PartPlan { plan, is_trial: part.trial }))
    }

    fn charge(&self, version: &PriceVersion, month: &str) -> Result<PeriodCharge, TermsError> {
        let text = self.charges.get(version).ok_or_else(|| absent("charge", version, month))?;
        let mut charges = parse_period_charges(text, "terms")
            .map_err(|cause| other_text("charge", version, cause.to_string()))?;
        let one = if charges.len() == 1 { charges.pop() } else { None };
        one.ok_or_else(|| other_text("charge", version, "more than one charge".to_owned()))
            .and_then(|charge| {
                if charge.version == *version {
                    Ok(charge)
                } else {
                    Err(other_text("charge", version, format!("`{}`", charge.version)))
                }
            })
    }
}

fn absent(kind: &'static str, version: &PriceVersion, month: &str) -> TermsError {
    TermsError::Absent { kind, version: version.clone(), month: month.to_owned() }
}

fn other_text(kind: &'static str, version: &PriceVersion, found: String) -> TermsError {
    TermsError::OtherText { kind, version: version.clone(), found }
}
