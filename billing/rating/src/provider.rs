//! What providers take: for every upstream call of a request, by the entries of side `cost`.
//!
//! A request may call several upstreams before one answers, and a call that failed may have
//! consumed tokens that the provider charges for. Each call is priced by itself, with the upstream
//! and the model that it was made with; the last one, which answered, has the request's units.
//!
//! It prices no customer: that is [`crate::rate`].

use std::borrow::Cow;

use permille_types::{
    Attempt, Currency, Ended, ModelName, MoneyError, PriceVersion, Unit, UnitCounts, UpstreamName,
    UsageEvent,
};
use rust_decimal::Decimal;

use crate::{
    Meter,
    band::band_of,
    exact,
    price_book::{PriceBook, price_of, rates_of_band},
    rate::{RatedLine, cost, quantities},
};

/// One upstream call of a request.
#[derive(Debug, Clone)]
pub struct ProviderCall<'e> {
    /// Where it went; absent where the row does not say.
    pub upstream: Option<&'e UpstreamName>,
    /// The model as its provider calls it, as far as is known: what its reply names, else what it
    /// was asked for.
    pub model: &'e ModelName,
    /// The model that it was asked for.
    asked: &'e ModelName,
    /// Whether another call had to follow, or the provider or the time failed it.
    pub failed: bool,
    /// Whether its reply told any usage.
    pub told: bool,
    /// The request as if this call were its only one.
    alone: Cow<'e, UsageEvent>,
}

/// What a provider takes for a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProviderCharge {
    /// The entry that says so; absent where none holds.
    pub version: Option<PriceVersion>,
    /// Classes and units with a quantity above zero that have a price.
    pub lines: Vec<RatedLine>,
    /// Those that have none.
    pub unpriced: Vec<(Meter, u64)>,
}

/// The calls of `event` in order. A request of which no call is known is one itself.
#[must_use]
pub fn provider_calls(event: &UsageEvent) -> Vec<ProviderCall<'_>> {
    let last = event.attempts.len().saturating_sub(1);
    if event.attempts.is_empty() {
        return vec![ProviderCall {
            upstream: event.upstream.as_ref(),
            model: event.model(),
            asked: event.model_asked(),
            failed: false,
            told: !event.tokens.is_empty(),
            alone: Cow::Borrowed(event),
        }];
    }
    let calls = event.attempts.iter().enumerate().map(|(place, attempt)| {
        let is_last = place == last;
        let asked = attempt.model.as_ref().unwrap_or(&event.model_requested);
        ProviderCall {
            upstream: Some(&attempt.upstream),
            model: if is_last { event.model() } else { asked },
            asked,
            failed: !is_last || matches!(attempt.ended, Ended::UpstreamError | Ended::Deadline),
            told: !attempt.tokens.is_empty(),
            alone: alone(event, attempt, is_last),
        }
    });
    calls.collect()
}

fn alone<'e>(event: &'e UsageEvent, attempt: &Attempt, is_last: bool) -> Cow<'e, UsageEvent> {
    if is_last && attempt.tokens == event.tokens {
        return Cow::Borrowed(event);
    }
    let mut alone = event.clone();
    alone.tokens.clone_from(&attempt.tokens);
    if !is_last {
        alone.input_total = None;
        alone.units = UnitCounts::new();
    }
    Cow::Owned(alone)
}

impl ProviderCall<'_> {
    /// Everything that it has more than zero of.
    #[must_use]
    pub fn quantities(&self) -> Vec<(Meter, u64)> {
        quantities(&self.alone)
    }

    /// What its provider takes in `currency`, by the entries of side `cost` that hold at the
    /// request's instant.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when an exact cost has more than 28 digits.
    pub fn charge(
        &self,
        book: &PriceBook,
        currency: Currency,
    ) -> Result<ProviderCharge, MoneyError> {
        let event = self.alone.as_ref();
        // A reply may name a snapshot that no entry knows: see `rate`.
        let price = |model| book.provider_price(model, self.upstream, currency, event.at);
        let price = price(self.model).or_else(|| price(self.asked));
        let rates = price.and_then(|price| rates_of_band(price, band_of(price, event)));
        let quantities = self.quantities();
        let beside_others = quantities.len() > 1;
        let mut charge = ProviderCharge {
            version: price.map(|price| price.version.clone()),
            ..ProviderCharge::default()
        };
        for (meter, quantity) in quantities {
            match rates.and_then(|rates| price_of(rates, &meter)) {
                Some(price) => {
                    let cost = cost(&meter, price, quantity)?;
                    charge.lines.push(RatedLine { meter, quantity, price, cost });
                }
                None if meter == Meter::Units(Unit::Requests) && beside_others => {}
                None => charge.unpriced.push((meter, quantity)),
            }
        }
        Ok(charge)
    }
}

impl ProviderCharge {
    /// The exact sum; absent where anything has no price.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when it has more than 28 digits.
    pub fn sum(&self) -> Result<Option<Decimal>, MoneyError> {
        if !self.unpriced.is_empty() {
            return Ok(None);
        }
        exact::sum(self.lines.iter().map(|line| line.cost)).map(Some)
    }
}

/// What all calls of a request cost at their providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderSum {
    /// The exact sum.
    pub cost: Decimal,
    /// The part of it that calls took which failed or were followed by another.
    pub failed: Decimal,
}

/// What the providers of all calls of `event` take in `currency`; absent where a price of something
/// that was used is not known.
///
/// # Errors
/// [`MoneyError::Overflow`] when an exact cost has more than 28 digits.
pub fn provider_sum(
    event: &UsageEvent,
    book: &PriceBook,
    currency: Currency,
) -> Result<Option<ProviderSum>, MoneyError> {
    let mut sum = ProviderSum { cost: Decimal::ZERO, failed: Decimal::ZERO };
    for call in provider_calls(event) {
        let Some(cost) = call.charge(book, currency)?.sum()? else { return Ok(None) };
        sum.cost = exact::add(sum.cost, cost)?;
        if call.failed {
            sum.failed = exact::add(sum.failed, cost)?;
        }
    }
    Ok(Some(sum))
}
