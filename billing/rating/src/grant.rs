//! Prepaid credit: in which order grants pay, and how much each of them.
//!
//! It knows no accounts: what a draw does to the books is the ledger's.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use permille_types::{ModelName, MoneyError};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{exact, price_book::names, written::normalized};

/// Prepaid credit with what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FrozenGrant")]
pub struct Grant {
    /// Its id.
    pub id: String,
    /// What was granted.
    #[serde(serialize_with = "normalized")]
    pub amount: Decimal,
    /// What was paid for it: nothing for a promotion.
    #[serde(serialize_with = "normalized")]
    pub paid: Decimal,
    /// What is left.
    #[serde(serialize_with = "normalized")]
    pub left: Decimal,
    /// Lower pays first.
    pub priority: u32,
    /// First instant at which it pays no more; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Models that it pays for, exact names or globs; every line when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// When it was granted.
    pub granted_at: DateTime<Utc>,
}

/// Which of several grants pays first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GrantOrder {
    /// Lower priority, sooner expiry, lower price for one, one with fewer models, older.
    #[default]
    Priority,
    /// Sooner expiry, lower price for one, lower priority, one with fewer models, older.
    Expiry,
}

impl GrantOrder {
    /// Every order with its name in plans.
    pub const ALL: [(Self, &str); 2] = [(Self::Priority, "priority"), (Self::Expiry, "expiry")];
}

/// An amount to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The model of the line, or what the term is called.
    pub model: ModelName,
    /// How much; one below zero lowers what is to be paid in all.
    pub amount: Decimal,
}

/// What each grant pays of `needs`, by place in `grants`; none is zero, none above what is left.
///
/// A grant pays the lines of its models in the order given, never more than is to be paid in all.
///
/// # Errors
/// [`MoneyError`] when a sum has more than 28 digits.
pub fn draw(
    grants: &[Grant],
    needs: &[Need],
    order: GrantOrder,
) -> Result<Vec<(usize, Decimal)>, MoneyError> {
    let mut open: Vec<Decimal> = needs.iter().map(|need| need.amount.max(Decimal::ZERO)).collect();
    let mut in_all = exact::sum(needs.iter().map(|need| need.amount))?.max(Decimal::ZERO);
    let mut sorted: Vec<(usize, &Grant)> = grants.iter().enumerate().collect();
    sorted.sort_by(|a, b| compare(a.1, b.1, order));
    let mut draws = Vec::new();
    for (place, grant) in sorted {
        let mut left = grant.left.min(in_all);
        let mut paid = Decimal::ZERO;
        for (need, open) in needs.iter().zip(&mut open) {
            let pays = grant.models.is_empty()
                || grant.models.iter().any(|pattern| names(pattern, need.model.as_str()));
            if !pays {
                continue;
            }
            let part = left.min(*open).max(Decimal::ZERO);
            *open = exact::sub(*open, part)?;
            left = exact::sub(left, part)?;
            paid = exact::add(paid, part)?;
        }
        if !paid.is_zero() {
            in_all = exact::sub(in_all, paid)?;
            draws.push((place, paid));
        }
    }
    Ok(draws)
}

/// Which of two pays first.
pub(crate) fn compare(a: &Grant, b: &Grant, order: GrantOrder) -> Ordering {
    let priority = a.priority.cmp(&b.priority);
    let expiry = match (a.expires_at, b.expires_at) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    // What was paid for one unit: compared crosswise, so that nothing is divided.
    let price = match (exact::mul(a.paid, b.amount), exact::mul(b.paid, a.amount)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    let scope = |grant: &Grant| match grant.models.len() {
        0 => usize::MAX,
        models => models,
    };
    let first = match order {
        GrantOrder::Priority => priority.then(expiry).then(price),
        GrantOrder::Expiry => expiry.then(price).then(priority),
    };
    first
        .then_with(|| scope(a).cmp(&scope(b)))
        .then_with(|| (a.granted_at, &a.id).cmp(&(b.granted_at, &b.id)))
}
