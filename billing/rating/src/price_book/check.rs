//! Holds a price that comes as a document to what a price file may say: JSON carries any number,
//! and a price below nothing would bill a customer's usage backwards.

use permille_types::{Currency, Price, Rates, Side};
use rust_decimal::Decimal;

use super::{bands, parse::check_percent, rates::per_thousand_max};
use crate::FieldError;

/// Refuses an entry that no price file could hold.
///
/// # Errors
/// [`FieldError`], naming the key: an amount that is negative or beyond belief, an entry without a
/// model, source or price, an end that is not after its beginning, a band that can never apply, a
/// percentage beside amounts.
pub fn check_price(price: &Price) -> Result<(), FieldError> {
    for (key, text) in [("model", &price.model), ("source", &price.source)] {
        if text.trim().is_empty() {
            return Err(FieldError::invalid(key, "is empty"));
        }
    }
    if price.currency.exponent().is_none() {
        let reason = format!("`{}` has no cents", price.currency.code());
        return Err(FieldError::invalid("currency", reason));
    }
    if price.until.is_some_and(|until| until <= price.from) {
        return Err(FieldError::invalid("until", "is not after `from`"));
    }
    if price.side == Side::Cost && (price.customer.is_some() || price.relative.is_some()) {
        let reason = "`cost` is the provider's: it has amounts, and no customer";
        return Err(FieldError::invalid("side", reason));
    }
    if let Some(relative) = &price.relative {
        check_percent(relative)?;
        if !is_empty(&price.rates) || !price.bands.is_empty() {
            let reason = "stands beside a percentage of another price: give one";
            return Err(FieldError::invalid("rates", reason));
        }
        return Ok(());
    }
    check_rates(&price.rates, price.currency)?;
    for (place, band) in price.bands.iter().enumerate() {
        check_rates(&band.rates, price.currency)?;
        bands::check_condition(&band.when)?;
        bands::check(price.bands.get(..place).unwrap_or_default(), band, &price.rates)?;
    }
    Ok(())
}

fn is_empty(rates: &Rates) -> bool {
    rates.per_thousand.is_empty() && rates.per_unit.is_empty()
}

fn check_rates(rates: &Rates, currency: Currency) -> Result<(), FieldError> {
    if is_empty(rates) {
        let expected = "at least one price; \"0\" is free";
        return Err(FieldError::Missing { key: "rates".to_owned(), expected });
    }
    let max = per_thousand_max(currency);
    for (class, price) in &rates.per_thousand {
        let amount = price.amount();
        not_negative(class.as_str(), amount)?;
        if amount > max {
            let code = currency.code();
            let reason = format!(
                "{amount} {code} per 1k_tokens is above {max}: probably a price per 1m_tokens read \
                 as per 1k_tokens"
            );
            return Err(FieldError::invalid(class.as_str(), reason));
        }
    }
    rates.per_unit.iter().try_for_each(|(unit, amount)| not_negative(unit.as_str(), *amount))
}

fn not_negative(key: &str, amount: Decimal) -> Result<(), FieldError> {
    if amount < Decimal::ZERO {
        let reason = format!("{amount} is negative, accepted is 0 or more");
        return Err(FieldError::invalid(key, reason));
    }
    Ok(())
}
