//! Exchange rates: dated rows, and what a currency was worth in another one on a day.
//!
//! For margins and reconciliation, where amounts of different currencies meet. Nothing here prices
//! a request: a customer pays by prices in its own currency (decision 0004).
//!
//! # Which rate holds on a day
//! The last one of that day or before it, at most so many days old: markets close at weekends and
//! on holidays. Of rates of one day the stated one wins over the inverse of a stated one, and that
//! over a cross through a third currency that states both. Inverse and cross rates are rounded to
//! nine significant digits, once; amounts times a rate are exact, so parts add up to the whole.

mod file;

use std::collections::{BTreeMap, HashMap};

use chrono::{Days, NaiveDate};
use permille_types::{Currency, MoneyError};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use file::{FxFile, FxFileError};

use crate::{exact, round::round_rate};

/// Days that a rate may be old, unless said otherwise: one more than the longest closure of an
/// interbank market, the eight days of a National Day in China that meets the Mid-Autumn Festival.
pub const FX_DAYS_MAX_DEFAULT: u32 = 9;

/// How much one unit of a currency was worth in another one on a day, as somebody published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FxRate {
    /// The currency of which one unit is valued.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub base: Currency,
    /// The currency it is valued in.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub quote: Currency,
    /// The day for which it was published.
    pub day: NaiveDate,
    /// Units of `quote` for one of `base`.
    pub rate: Decimal,
    /// Who published it.
    pub source: String,
}

/// What a currency was worth on a day, and which rates say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Worth {
    /// Factor from the one currency to the other.
    pub rate: Decimal,
    /// The rates that it was made of: none between a currency and itself, one, or two of a cross.
    pub of: Vec<FxRate>,
}

impl Worth {
    /// `amount` in the other currency, exact.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when the product has more than 28 digits.
    pub fn convert(&self, amount: Decimal) -> Result<Decimal, MoneyError> {
        exact::mul(amount, self.rate)
    }
}

/// Rates by pair and day.
#[derive(Debug, Clone, Default)]
pub struct FxRates {
    pairs: HashMap<(Currency, Currency), BTreeMap<NaiveDate, FxRate>>,
    /// Currencies that some rate values, by code: each may be the third one of a cross.
    bases: Vec<Currency>,
}

impl FxRates {
    /// These rates; of two for one pair and day the later one holds.
    #[must_use]
    pub fn new(rates: impl IntoIterator<Item = FxRate>) -> Self {
        let mut all = Self::default();
        for rate in rates {
            all.bases.push(rate.base);
            let days = all.pairs.entry((rate.base, rate.quote)).or_default();
            days.insert(rate.day, rate);
        }
        all.bases.sort_by_key(Currency::code);
        all.bases.dedup();
        all
    }

    /// What one unit of `from` was worth in `to` on `day`, by a rate that is at most `days_max`
    /// days old. Absent where there is none.
    #[must_use]
    pub fn worth(
        &self,
        from: Currency,
        to: Currency,
        day: NaiveDate,
        days_max: u32,
    ) -> Option<Worth> {
        if from == to {
            return Some(Worth { rate: Decimal::ONE, of: Vec::new() });
        }
        let first = day.checked_sub_days(Days::new(days_max.into()))?;
        let stated = self.last(from, to, first, day).map(|rate| (rate.day, vec![rate], false));
        let inverse = self.last(to, from, first, day).map(|rate| (rate.day, vec![rate], true));
        let crosses = self.bases.iter().filter_map(|base| {
            let (day, from, to) = self.cross(*base, (from, to), first, day)?;
            Some((day, vec![to, from], false))
        });
        let mut best: Option<(NaiveDate, Vec<&FxRate>, bool)> = None;
        for found in stated.into_iter().chain(inverse).chain(crosses) {
            if best.as_ref().is_none_or(|(day, ..)| *day < found.0) {
                best = Some(found);
            }
        }
        let (_, of, is_inverse) = best?;
        let rate = match of.as_slice() {
            [rate] if is_inverse => round_rate(Decimal::ONE.checked_div(rate.rate)?)?,
            [rate] => rate.rate,
            [to, from] => round_rate(to.rate.checked_div(from.rate)?)?,
            _ => return None,
        };
        Some(Worth { rate, of: of.into_iter().cloned().collect() })
    }

    /// The last rate of a pair in a stretch of days, both included.
    fn last(
        &self,
        base: Currency,
        quote: Currency,
        first: NaiveDate,
        last: NaiveDate,
    ) -> Option<&FxRate> {
        let days = self.pairs.get(&(base, quote))?;
        days.range(first..=last).next_back().map(|(_, rate)| rate)
    }

    /// The last day on which `base` is valued in both currencies.
    fn cross(
        &self,
        base: Currency,
        (from, to): (Currency, Currency),
        first: NaiveDate,
        last: NaiveDate,
    ) -> Option<(NaiveDate, &FxRate, &FxRate)> {
        let (of_from, of_to) = (self.pairs.get(&(base, from))?, self.pairs.get(&(base, to))?);
        let mut days = of_from.range(first..=last).rev();
        days.find_map(|(day, from)| Some((*day, from, of_to.get(day)?)))
    }
}
