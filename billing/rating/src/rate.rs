//! Prices one settled event: exact, and whole or not at all.
//!
//! # Which price
//! The event is priced at its admission time, for its customer, in their currency, by the model
//! that the reply names; where that has no price, by the model that the upstream was asked for
//! (a provider may answer `gpt-4o` with a snapshot name that no price knows yet). An alias
//! never prices: it only names what was asked for. The whole request takes one band of that
//! price (`band.rs`).
//!
//! # What is unpriced
//! A class or unit with a quantity above zero and no price makes the whole event unpriced: no
//! cost, never a part of it (B4). A quantity of zero needs no price, and an event without any
//! quantity costs exactly zero whether its model has a price or not. `requests` is the exception:
//! beside other quantities the count is priced where the entry prices it and otherwise says
//! nothing, because every event is one request. Alone it is what is sold, and needs a price.
//!
//! # What is not billed
//! An event with the flag `not_billed` costs exactly zero, by the operator's policy: no line, no
//! price, nothing unpriced. Its tokens stay what they are, for the provider's side.
//!
//! Nothing is rounded here; that happens once, on the invoice line ([`crate::round`]).

use std::borrow::Cow;

use permille_types::{
    Currency, Flag, ModelName, Money, MoneyError, Price, PriceVersion, RequestId, Unit, UsageEvent,
};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::{
    Meter,
    band::band_of,
    exact,
    facts::Amounts,
    price_book::{PriceBook, price_of, rates_of_band},
    provider::provider_sum,
};

/// Why an event cannot be rated. A missing price is no error: see [`Rated::unpriced`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The exact cost has too many digits.
    #[error("rate request {request_id}")]
    Overflow {
        /// Which event.
        request_id: RequestId,
        /// The operation that failed.
        #[source]
        cause: MoneyError,
    },
}

/// What one event costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rated {
    /// The price that was applied; absent when no entry holds.
    pub price_version: Option<PriceVersion>,
    /// The band of that price: 0 is outside every band, k the k-th band.
    pub band: u32,
    /// One line per class or unit with a quantity above zero that has a price.
    pub lines: Vec<RatedLine>,
    /// The exact sum of the lines; absent when anything is unpriced.
    pub cost: Option<Money>,
    /// Classes and units with a quantity above zero and no price.
    pub unpriced: Vec<Meter>,
    /// What of the cost is hidden; nothing where there is no cost.
    pub hidden: Amounts,
    /// The price that was applied, where it is derived: no book holds it, so whoever keeps the
    /// version keeps this too.
    pub derived: Option<Box<Price>>,
}

impl Rated {
    /// Of an event that nobody pays for.
    fn free(currency: Currency) -> Self {
        Self {
            price_version: None,
            band: 0,
            lines: Vec::new(),
            cost: Some(Money::zero(currency)),
            unpriced: Vec::new(),
            hidden: Amounts::default(),
            derived: None,
        }
    }
}

/// The cost of one class or unit of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RatedLine {
    /// What was counted.
    pub meter: Meter,
    /// How much: tokens or units.
    pub quantity: u64,
    /// The price, per thousand tokens or per single unit.
    pub price: Decimal,
    /// The exact product, in the price's currency.
    pub cost: Decimal,
}

/// Prices `event` in `currency` from `book`.
///
/// # Errors
/// [`RateError::Overflow`] when the exact cost has more than 28 digits.
pub fn rate(event: &UsageEvent, book: &PriceBook, currency: Currency) -> Result<Rated, RateError> {
    if event.flags.contains(&Flag::NotBilled) {
        return Ok(Rated::free(currency));
    }
    rate_at(event, price_of_event(event, book, currency), currency)
}

/// Prices a billed `event` in `currency` at a price that was found before.
///
/// # Errors
/// [`RateError::Overflow`] when the exact cost has more than 28 digits.
pub(crate) fn rate_at(
    event: &UsageEvent,
    price: Option<Cow<'_, Price>>,
    currency: Currency,
) -> Result<Rated, RateError> {
    let band = price.as_deref().map_or(0, |price| band_of(price, event));
    let rates = price.as_deref().and_then(|price| rates_of_band(price, band));
    let refused = |cause| RateError::Overflow { request_id: event.request_id, cause };

    let mut lines = Vec::new();
    let mut unpriced = Vec::new();
    let quantities = quantities(event);
    let beside_others = quantities.len() > 1;
    for (meter, quantity) in quantities {
        match rates.and_then(|rates| price_of(rates, &meter)) {
            Some(price) => {
                let cost = cost(&meter, price, quantity).map_err(refused)?;
                lines.push(RatedLine { meter, quantity, price, cost });
            }
            None if meter == Meter::Units(Unit::Requests) && beside_others => {}
            None => unpriced.push(meter),
        }
    }
    let cost = if unpriced.is_empty() {
        let sum = exact::sum(lines.iter().map(|line| line.cost)).map_err(refused)?;
        Some(Money::new(sum, currency))
    } else {
        None
    };
    let hidden = match &cost {
        Some(cost) => Amounts::of(event, rates, cost.amount()).map_err(refused)?,
        None => Amounts::default(),
    };
    Ok(Rated {
        price_version: price.as_deref().map(|price| price.version.clone()),
        band,
        lines,
        cost,
        unpriced,
        hidden,
        derived: match price {
            Some(Cow::Owned(price)) => Some(Box::new(price)),
            _ => None,
        },
    })
}

/// The exact cost of `quantity` at `price`: per thousand for tokens, each for units.
///
/// # Errors
/// [`MoneyError::Overflow`] when the product has more than 28 digits.
pub fn cost(meter: &Meter, price: Decimal, quantity: u64) -> Result<Decimal, MoneyError> {
    let product = exact::mul(price, Decimal::from(quantity))?;
    match meter {
        Meter::Tokens(_) => exact::shift_right(product, 3),
        Meter::Units(_) | Meter::Term(_) => Ok(product),
    }
}

/// What the providers of all calls of `event` take in `currency`, by the entries of side `cost`
/// that hold now for its instant: also for calls that failed, as far as they reported usage.
/// Absent where no such entry holds, or one knows no price of something that was used.
///
/// # Errors
/// [`MoneyError::Overflow`] when the exact cost has more than 28 digits.
pub fn provider_cost(
    event: &UsageEvent,
    book: &PriceBook,
    currency: Currency,
) -> Result<Option<Decimal>, MoneyError> {
    Ok(provider_sum(event, book, currency)?.map(|sum| sum.cost))
}

fn price_of_event<'b>(
    event: &UsageEvent,
    book: &'b PriceBook,
    currency: Currency,
) -> Option<Cow<'b, Price>> {
    let (upstream, customer) = (event.upstream.as_ref(), &event.customer);
    let price = |model: &ModelName| {
        book.resolve_for_upstream(model.as_str(), upstream, customer, currency, event.at)
    };
    event.model_served.as_ref().and_then(price).or_else(|| price(event.model_asked()))
}

/// Everything that the event has more than zero of, in the order of lines.
pub(crate) fn quantities(event: &UsageEvent) -> Vec<(Meter, u64)> {
    let mut quantities: Vec<_> = event
        .tokens
        .iter()
        .map(|(class, quantity)| (Meter::Tokens(class.clone()), *quantity))
        .chain(event.units.iter().map(|(unit, quantity)| (Meter::Units(*unit), *quantity)))
        .filter(|(_, quantity)| *quantity > 0)
        .collect();
    quantities.sort();
    quantities
}
