//! One line's amount divided among the requests that its quantity is of, by largest remainder.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_types::RequestId;

/// What invoices have billed of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Taken {
    pub(super) quantity: u64,
    pub(super) amount_nano: i64,
}

/// A request's place in time.
pub(super) type Place = (DateTime<Utc>, RequestId);

/// How an amount is divided among requests of so many tokens or units each.
#[derive(Debug)]
pub(super) struct Share {
    taken: Taken,
    /// How many requests have so much. Emptied when the shares are settled.
    counts: BTreeMap<u64, u64>,
    /// Remainders above this get one more; nothing where no share can be made.
    above: Option<i128>,
    /// Whether some requests with just this remainder get one more and some do not.
    has_ties: bool,
    /// How many newest ones of those do not.
    ties_without: u64,
    /// The newest request with that remainder that gets one more.
    last_with: Option<Place>,
}

impl Share {
    pub(super) fn new(taken: Taken) -> Self {
        Self {
            taken,
            counts: BTreeMap::new(),
            above: None,
            has_ties: false,
            ties_without: 0,
            last_with: None,
        }
    }

    /// Counts a request of `quantity`.
    pub(super) fn count(&mut self, quantity: u64) {
        let count = self.counts.entry(quantity).or_default();
        *count = count.saturating_add(1);
    }

    /// All requests are counted: finds out which remainders get one more.
    pub(super) fn settle(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        self.above = self.divide(&counts);
    }

    fn divide(&mut self, counts: &BTreeMap<u64, u64>) -> Option<i128> {
        let mut left = i128::from(self.taken.amount_nano).checked_abs()?;
        let mut all = 0_u64;
        let mut remainders: BTreeMap<i128, u64> = BTreeMap::new();
        for (quantity, count) in counts {
            let (whole, remainder) = self.ideal(*quantity)?;
            left = left.checked_sub(whole.checked_mul(i128::from(*count))?)?;
            all = all.checked_add(quantity.checked_mul(*count)?)?;
            let sum = remainders.entry(remainder).or_default();
            *sum = sum.checked_add(*count)?;
        }
        // The rows must be those that the invoices have billed.
        if all != self.taken.quantity {
            return None;
        }
        for (remainder, count) in remainders.into_iter().rev() {
            let count = i128::from(count);
            if left < count {
                let without = count.checked_sub(left)?;
                self.has_ties = left > 0;
                self.ties_without = u64::try_from(without).ok()?;
                return Some(remainder);
            }
            left = left.checked_sub(count)?;
        }
        Some(-1)
    }

    /// Whether it matters which of several equal requests comes first.
    pub(super) fn has_ties(&self) -> bool {
        self.has_ties
    }

    /// Whole steps and the remainder of a request's ideal share; both are not negative.
    fn ideal(&self, quantity: u64) -> Option<(i128, i128)> {
        let amount = i128::from(self.taken.amount_nano).checked_abs()?;
        let product = amount.checked_mul(i128::from(quantity))?;
        let of = i128::from(self.taken.quantity);
        Some((product.checked_div(of)?, product.checked_rem(of)?))
    }

    /// A request of `quantity` comes by, newest first, after the shares are settled.
    pub(super) fn pass(&mut self, quantity: u64, place: Place) {
        let is_tie =
            self.ideal(quantity).is_some_and(|(_, remainder)| Some(remainder) == self.above);
        if !is_tie || !self.has_ties || self.last_with.is_some() {
            return;
        }
        if self.ties_without == 0 {
            self.last_with = Some(place);
        } else {
            self.ties_without = self.ties_without.saturating_sub(1);
        }
    }

    /// The share of a request of `quantity`, in nano-units.
    pub(super) fn of(&self, quantity: u64, place: Place) -> Option<i64> {
        let above = self.above?;
        let (whole, remainder) = self.ideal(quantity)?;
        let is_early = self.last_with.is_some_and(|last| place <= last);
        let one_more = remainder > above || (remainder == above && is_early);
        let share = whole.checked_add(i128::from(one_more))?;
        i64::try_from(share.checked_mul(i128::from(self.taken.amount_nano.signum()))?).ok()
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    fn place(number: i64) -> Place {
        let id = format!("019a0000-0000-7000-8000-{number:012x}").parse().unwrap();
        (DateTime::from_timestamp(number, 0).unwrap(), id)
    }

    /// The shares of requests, oldest first.
    fn shares(amount_nano: i64, quantities: &[u64]) -> Vec<Option<i64>> {
        let quantity = quantities.iter().sum();
        let mut share = Share::new(Taken { quantity, amount_nano });
        let places: Vec<_> = (1..).map(place).take(quantities.len()).collect();
        for quantity in quantities {
            share.count(*quantity);
        }
        share.settle();
        for (quantity, place) in quantities.iter().zip(&places).rev() {
            share.pass(*quantity, *place);
        }
        quantities.iter().zip(places).map(|(quantity, place)| share.of(*quantity, place)).collect()
    }

    #[test]
    fn odd_steps_go_to_the_largest_remainders_and_among_equals_to_the_earlier_request() {
        assert_eq!(shares(10, &[1, 1, 1]), [Some(4), Some(3), Some(3)]);
        assert_eq!(shares(11, &[1, 1, 1]), [Some(4), Some(4), Some(3)]);
        assert_eq!(shares(10, &[3, 3, 1]), [Some(4), Some(4), Some(2)]);
        assert_eq!(shares(-10, &[1, 1, 1]), [Some(-4), Some(-3), Some(-3)]);
        assert_eq!(shares(0, &[5, 7]), [Some(0), Some(0)]);
        assert_eq!(shares(9, &[1, 1, 1]), [Some(3), Some(3), Some(3)]);
    }

    proptest::proptest! {
        /// The shares are those of the one division by largest remainder, and add up.
        #[test]
        fn shares_are_those_of_allocate(
            amount in -1_000_000_i64..1_000_000,
            quantities in proptest::collection::vec(1_u64..60, 1..40),
        ) {
            let parts: Vec<Decimal> = quantities.iter().map(|q| Decimal::from(*q)).collect();
            let total = permille_rating::round::from_nano(amount);

            let shares = shares(amount, &quantities).into_iter();
            let shares: Vec<i64> = shares.map(Option::unwrap).collect();

            proptest::prop_assert_eq!(shares.iter().sum::<i64>(), amount);
            let expected = permille_rating::allocate::allocate(total, &parts, 9).unwrap();
            let expected: Vec<i64> = expected.into_iter()
                .map(|share| permille_rating::round::to_nano(share).unwrap()).collect();
            proptest::prop_assert_eq!(shares, expected);
        }
    }
}
