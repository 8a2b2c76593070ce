//! What is to be paid of usage that a plan's allowance covers.

use permille_types::MoneyError;
use rust_decimal::Decimal;

use super::InvoiceLine;
use crate::{
    charge::{LineKind, QuoteLine, adjustment},
    exact,
    period::Period,
    plan::{Allowance, First, Included, Overage},
    prorate::{prorate, prorate_count},
    rate,
};

/// The exact amount above the allowance for `part` of the month `whole`, and how it comes about.
/// Tokens are counted in thousands.
///
/// # Errors
/// [`MoneyError`] when a number has too many digits.
pub(super) fn above(
    allowance: &Allowance,
    lines: &[&InvoiceLine],
    currency: permille_types::Currency,
    part: Period,
    whole: Period,
) -> Result<(Decimal, Vec<QuoteLine>), MoneyError> {
    let steps = match allowance.included {
        Included::Amount(amount) => {
            let cost = exact::sum(lines.iter().map(|line| line.exact))?;
            let included = prorate(amount, part, whole, currency)?.min(cost);
            let less = exact::sub(Decimal::ZERO, included)?;
            vec![adjustment(LineKind::Usage, cost), adjustment(LineKind::Included, less)]
        }
        Included::Tokens { count, first } => {
            let count = prorate_count(count, part, whole)?;
            tokens(lines, count, first, allowance.overage)?
        }
    };
    let exact = exact::sum(steps.iter().map(|step| step.amount))?;
    Ok((exact, steps.into_iter().filter(|step| !is_nothing(step)).collect()))
}

fn is_nothing(step: &QuoteLine) -> bool {
    step.quantity.is_zero() && step.amount.is_zero()
}

fn tokens(
    lines: &[&InvoiceLine],
    count: u64,
    first: First,
    overage: Overage,
) -> Result<Vec<QuoteLine>, MoneyError> {
    let mut sorted: Vec<&InvoiceLine> = lines.to_vec();
    // The sort is stable, and lines of one price cost the same whichever is included.
    sorted.sort_by_key(|line| line.price_per_thousand.unwrap_or_default());
    if first == First::Dearest {
        sorted.reverse();
    }
    let mut left = count;
    let (mut included, mut steps) = (0_u64, Vec::new());
    for line in sorted {
        let free = line.quantity.min(left);
        left = left.saturating_sub(free);
        included = included.saturating_add(free);
        let above = line.quantity.saturating_sub(free);
        if above == 0 {
            continue;
        }
        let price = match overage {
            Overage::List => line.price_per_thousand.unwrap_or_default(),
            Overage::PerThousand(price) => price,
        };
        steps.push(QuoteLine {
            quantity: exact::shift_right(above.into(), 3)?,
            unit_price: price,
            flat: Decimal::ZERO,
            ..adjustment(LineKind::Usage, rate::cost(&line.meter, price, above)?)
        });
    }
    let quantity = exact::shift_right(included.into(), 3)?;
    steps.insert(0, QuoteLine { quantity, ..adjustment(LineKind::Included, Decimal::ZERO) });
    Ok(steps)
}
