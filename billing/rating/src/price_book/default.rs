//! The price book that Permille comes with.

use permille_types::Price;

use super::{PriceBookError, parse_price_book};

/// The embedded files, by provider, with the name that errors give them.
const FILES: [(&str, &str); 6] = [
    ("prices/anthropic.toml", include_str!("../../prices/anthropic.toml")),
    ("prices/china-cny.toml", include_str!("../../prices/china-cny.toml")),
    ("prices/china-usd.toml", include_str!("../../prices/china-usd.toml")),
    ("prices/openai-earlier.toml", include_str!("../../prices/openai-earlier.toml")),
    ("prices/openai-gpt-5.toml", include_str!("../../prices/openai-gpt-5.toml")),
    ("prices/openai-gpt-6.toml", include_str!("../../prices/openai-gpt-6.toml")),
];

/// The embedded price book: public list prices of models in use, each with its source and date,
/// in the currency in which the provider lists it.
///
/// It is a starting point for an installation, not a promise: an operator's own entries take over
/// from it.
///
/// # Errors
/// [`PriceBookError`] when an embedded file is malformed, which a test of this crate excludes.
pub fn default_prices() -> Result<Vec<Price>, PriceBookError> {
    let mut prices = Vec::new();
    for (name, text) in FILES {
        prices.extend(parse_price_book(text, name)?);
    }
    Ok(prices)
}
