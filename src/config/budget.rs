//! `[[budget]]`: what customers are expected to spend in a month. Alerts rest on it, nothing is
//! refused.

use std::collections::BTreeSet;

use permille_service::Budget;
use permille_types::{CustomerId, Money};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Most budgets: as many customers as metrics count by name.
const BUDGETS_MAX: usize = 500;

/// One `[[budget]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetSection {
    /// Whose.
    pub(crate) customer: CustomerId,
    /// Of a month of 30 days, such as `500 CNY`, in the customer's currency.
    pub(crate) monthly: String,
}

/// The budgets.
///
/// # Errors
/// [`ConfigError::Key`] names the entry and what is accepted.
pub(super) fn budgets(sections: &[BudgetSection]) -> Result<Vec<Budget>, ConfigError> {
    if sections.len() > BUDGETS_MAX {
        let problem = format!("has {} entries, accepted: at most {BUDGETS_MAX}", sections.len());
        return Err(ConfigError::value("budget", problem));
    }
    let mut customers = BTreeSet::new();
    let budgets = sections.iter().enumerate().map(|(place, section)| {
        if !customers.insert(&section.customer) {
            let problem = format!("`{}` has a budget already, accepted: one", section.customer);
            return Err(ConfigError::value(format!("budget[{place}].customer"), problem));
        }
        let amount = section.monthly.parse::<Money>().ok();
        let amount = amount.filter(|money| money.amount().is_sign_positive());
        let monthly = amount.filter(|money| !money.amount().is_zero()).ok_or_else(|| {
            let problem = format!(
                "`{}` is no budget, accepted: an amount above 0 and a currency such as `500 CNY`",
                section.monthly
            );
            ConfigError::value(format!("budget[{place}].monthly"), problem)
        })?;
        Ok(Budget { customer: section.customer.clone(), monthly })
    });
    budgets.collect()
}
