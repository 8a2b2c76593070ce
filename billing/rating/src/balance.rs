//! How far prepaid credit goes: what usage may cost that no invoice has billed, before it does.
//!
//! Amounts are whole 10⁻⁹ of the currency unit. It is about the sum of usage and knows no models: a
//! grant for some models only is left out, because nobody can say beforehand what it will pay.
//! Decision 0035.

use chrono::{DateTime, Utc};
use permille_types::MoneyError;
use rust_decimal::Decimal;

use crate::{
    grant::{Grant, GrantOrder, compare},
    round::{RoundError, from_nano, to_nano},
};

/// A grant as a balance counts it.
#[derive(Debug, Clone)]
pub struct Held {
    /// What is left of it and in which order it pays.
    pub grant: Grant,
    /// First instant at which it pays.
    pub from: DateTime<Utc>,
    /// Of a grant that has ended: what usage had cost by then that no invoice has billed. Absent:
    /// it pays still.
    pub unbilled_at_end: Option<i64>,
}

/// What credit is for.
#[derive(Debug, Clone, Copy)]
pub struct Paying {
    /// Which of several grants pays first.
    pub order: GrantOrder,
    /// Taxes that credit pays beside usage, in percent of it.
    pub tax_percent: Decimal,
}

/// How far grants go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What unbilled usage may cost in all, what it has cost already among it.
    pub reach: i64,
    /// The same if nothing were drawn of any grant that pays still: what a part of it means.
    pub granted: i64,
}

/// Why a balance has no result.
#[derive(Debug, thiserror::Error)]
pub enum BalanceError {
    /// An amount has no whole number of nano-units.
    #[error("read what is left of a grant")]
    Amount(#[from] RoundError),
    /// A sum or a share is too large.
    #[error("add up grants")]
    Sum(#[from] MoneyError),
}

/// How far `held` goes at `now`.
///
/// Of a grant that has ended, what usage had taken of it by then counts on: the invoice will draw
/// that. Usage up to each end is paid in the order in which grants pay.
///
/// # Errors
/// [`BalanceError`] for amounts that no ledger holds.
pub fn balance(held: &[Held], paying: Paying, now: DateTime<Utc>) -> Result<Balance, BalanceError> {
    let tax = Ratio::of(paying.tax_percent)?;
    let mut counted: Vec<Counted<'_>> = Vec::with_capacity(held.len());
    for held in held.iter().filter(|held| held.from <= now && pays_everything(&held.grant)) {
        counted.push(Counted { held, left: to_nano(held.grant.left)?, drawn: 0 });
    }
    counted.sort_by(|a, b| compare(&a.held.grant, &b.held.grant, paying.order));

    let mut ends: Vec<(DateTime<Utc>, i64)> = counted.iter().filter_map(Counted::end).collect();
    ends.sort_unstable();
    let mut drawn = 0_i64;
    for (end, unbilled) in ends {
        let mut need = tax.on_top(unbilled)?.saturating_sub(drawn).max(0);
        for grant in &mut counted {
            let pays = grant.held.from <= end && grant.end().is_none_or(|(own, _)| own >= end);
            if pays {
                let part = need.min(grant.left.saturating_sub(grant.drawn));
                grant.drawn = grant.drawn.saturating_add(part);
                need = need.saturating_sub(part);
                drawn = drawn.saturating_add(part);
            }
        }
    }

    let mut reach = 0_i64;
    let mut granted = 0_i64;
    for grant in &counted {
        let is_over = grant.end().is_some();
        reach = sum(reach, if is_over { grant.drawn } else { grant.left })?;
        if !is_over {
            granted = sum(granted, to_nano(grant.held.grant.amount)?)?;
        }
    }
    Ok(Balance { reach: tax.within(reach)?, granted: tax.within(granted)? })
}

/// Whether a grant pays whatever model was used.
fn pays_everything(grant: &Grant) -> bool {
    grant.models.is_empty() || grant.models.iter().any(|pattern| pattern == "*")
}

struct Counted<'a> {
    held: &'a Held,
    left: i64,
    /// What unbilled usage has taken of it until something ended.
    drawn: i64,
}

impl Counted<'_> {
    /// When it ended and what was unbilled then.
    fn end(&self) -> Option<(DateTime<Utc>, i64)> {
        self.held.grant.expires_at.zip(self.held.unbilled_at_end)
    }
}

fn sum(left: i64, right: i64) -> Result<i64, MoneyError> {
    left.checked_add(right).ok_or_else(|| MoneyError::Overflow {
        operation: "sum of grants",
        left: from_nano(left),
        right: from_nano(right),
    })
}

/// Usage and taxes on it, to usage alone.
struct Ratio {
    with_tax: i128,
    without: i128,
    percent: Decimal,
}

impl Ratio {
    fn of(percent: Decimal) -> Result<Self, MoneyError> {
        let normal = percent.normalize();
        let without = 10_i128.checked_pow(normal.scale()).and_then(|one| one.checked_mul(100));
        let with_tax = without.and_then(|all| all.checked_add(normal.mantissa()));
        match (with_tax, without) {
            (Some(with_tax), Some(without)) => Ok(Self { with_tax, without, percent }),
            _ => Err(MoneyError::Overflow {
                operation: "tax on a grant",
                left: percent,
                right: Decimal::ONE_HUNDRED,
            }),
        }
    }

    /// Usage that costs `nano`, with taxes; a part of a nano-unit counts whole.
    fn on_top(&self, nano: i64) -> Result<i64, MoneyError> {
        let product = i128::from(nano).checked_mul(self.with_tax);
        let up = self.without.checked_sub(1);
        let quotient = product.zip(up).and_then(|(product, up)| product.checked_add(up));
        self.fit(nano, quotient.and_then(|raised| raised.checked_div_euclid(self.without)))
    }

    /// What usage may cost so that it and its taxes are at most `nano`.
    fn within(&self, nano: i64) -> Result<i64, MoneyError> {
        let product = i128::from(nano).checked_mul(self.without);
        self.fit(nano, product.and_then(|product| product.checked_div_euclid(self.with_tax)))
    }

    fn fit(&self, nano: i64, value: Option<i128>) -> Result<i64, MoneyError> {
        value.and_then(|value| i64::try_from(value).ok()).ok_or_else(|| MoneyError::Overflow {
            operation: "tax on a grant",
            left: from_nano(nano),
            right: self.percent,
        })
    }
}
