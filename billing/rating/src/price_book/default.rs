//! The price book that Permille comes with.

use permille_types::Price;

use super::{PriceBookError, parse_price_book};

const DEFAULT: &str = include_str!("../../prices/default.toml");

/// The embedded price book: public list prices of models in use, each with its source and date.
///
/// It is a starting point for an installation, not a promise: an operator's own entries are
/// imported over it.
///
/// # Errors
/// [`PriceBookError`] when the embedded file is malformed, which a test of this crate excludes.
pub fn default_prices() -> Result<Vec<Price>, PriceBookError> {
    parse_price_book(DEFAULT, "built-in price book")
}
