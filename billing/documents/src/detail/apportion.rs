//! Shares of parts in the rounded amounts of lines, in bounded memory.
//!
//! Parts come in chunks, in their order. A chunk of a line gets what the line's amount has grown
//! to with it, less what went before: the same running total by which the ledger posts. Inside the
//! chunk the amount is divided by largest remainder ([`allocate`]). So a million parts need the
//! memory of one chunk, and add up to the line to the last digit.

use permille_rating::{allocate::allocate, rate, round::NANO_PLACES};
use rust_decimal::Decimal;

use super::named;
use crate::{Document, DocumentError, Line};

/// Decimal places of a share: those of ledger postings.
const PLACES: u32 = NANO_PLACES;

/// How far each line of a document is shared out.
#[derive(Debug)]
pub(crate) struct Apportion {
    lines: Vec<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    quantity: u64,
    steps: i128,
}

impl Apportion {
    pub(crate) fn new(document: &Document) -> Self {
        Self { lines: vec![Progress::default(); document.lines.len()] }
    }

    /// The shares of the next parts of the line at `place`, in their order.
    pub(crate) fn next(
        &mut self,
        document: &Document,
        place: usize,
        quantities: &[u64],
    ) -> Result<Vec<Decimal>, DocumentError> {
        let (Some(line), Some(progress)) = (document.lines.get(place), self.lines.get_mut(place))
        else {
            return Ok(Vec::new());
        };
        let Some(usage) = &line.usage else { return Ok(Vec::new()) };
        let quantity = quantities.iter().try_fold(progress.quantity, |sum, quantity| {
            sum.checked_add(*quantity).filter(|sum| *sum <= usage.quantity)
        });
        let Some(quantity) = quantity else {
            return Err(changed(document, line, u64::MAX));
        };
        let overflow = || DocumentError::Allocate {
            document: document.shown_number().to_owned(),
            cause: permille_rating::allocate::AllocateError::Overflow {
                total: line.amount,
                parts: quantities.len(),
            },
        };
        let steps = steps_at(line.amount, quantity, usage.quantity).ok_or_else(overflow)?;
        let chunk = steps.checked_sub(progress.steps).ok_or_else(overflow)?;
        let chunk = Decimal::try_from_i128_with_scale(chunk, PLACES).map_err(|_| overflow())?;
        let costs = quantities
            .iter()
            .map(|quantity| rate::cost(&line.meter, usage.price, *quantity))
            .collect::<Result<Vec<_>, _>>();
        let costs =
            named(document, costs, |document, cause| DocumentError::Amount { document, cause })?;
        *progress = Progress { quantity, steps };
        named(document, allocate(chunk, &costs, PLACES), |document, cause| {
            DocumentError::Allocate { document, cause }
        })
    }

    /// Refuses a line that was shared out and of which something is left.
    pub(crate) fn finish(
        &self,
        document: &Document,
        is_whole: impl Fn(usize) -> bool,
    ) -> Result<(), DocumentError> {
        for (place, (line, progress)) in document.lines.iter().zip(&self.lines).enumerate() {
            let billed = line.usage.as_ref().map_or(0, |usage| usage.quantity);
            if !is_whole(place) && progress.quantity != billed {
                return Err(changed(document, line, progress.quantity));
            }
        }
        Ok(())
    }
}

fn changed(document: &Document, line: &Line, found: u64) -> DocumentError {
    DocumentError::UsageChanged {
        document: document.shown_number().to_owned(),
        line: line.number,
        billed: line.usage.as_ref().map_or(0, |usage| usage.quantity),
        found,
    }
}

/// `amount × part ÷ whole` in steps of 10^-[`PLACES`], rounded down; all of it when the part is the
/// whole. The product is taken apart, so that it never exceeds what 128 bits hold.
fn steps_at(amount: Decimal, part: u64, whole: u64) -> Option<i128> {
    let amount = amount.normalize();
    let places = PLACES.checked_sub(amount.scale())?;
    let steps = amount.mantissa().checked_mul(10_i128.checked_pow(places)?)?;
    if part == whole {
        return Some(steps);
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    let of_wholes = steps.checked_div_euclid(whole)?.checked_mul(part)?;
    let of_rest = steps.checked_rem_euclid(whole)?.checked_mul(part)?.checked_div_euclid(whole)?;
    of_wholes.checked_add(of_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_huge_amounts_do_not_overflow() {
        let amount = Decimal::from_str_exact("1000000000000000.01").unwrap();

        let half = steps_at(amount, u64::MAX / 2, u64::MAX).unwrap();

        assert_eq!(half, 500_000_000_000_000_004_972_894);
        assert_eq!(steps_at(amount, u64::MAX, u64::MAX), Some(1_000_000_000_000_000_010_000_000));
    }
}
