//! The price book: which price holds for a model, a currency and an instant.
//!
//! A book is a list of [`Price`] entries, read from TOML files ([`parse_price_book`]), from the
//! embedded default ([`default_prices`]) or from the ledger. [`PriceBook`] checks that they do not
//! contradict each other and indexes them, because the gateway asks on every request.
//!
//! # Which entry wins
//! A customer's own entries come first, then everyone's. Among either, of the entries in the asked
//! currency whose interval `[from, until)` holds the instant, the most
//! specific one wins, once:
//! 1. an exact model name over a glob;
//! 2. of two globs, the one with more literal characters (then the one whose text sorts first);
//! 3. an entry that names the asked provider over one that names none;
//! 4. a percentage over the amounts that it is a percentage of.
//!
//! Where a percentage wins, the price is *derived*: a discount takes it off everyone's price, a
//! markup puts it on the entry of side `cost`, or on everyone's amounts where there is none. No
//! base, no price. Entries of side `cost` are never charged as they stand.
//!
//! An entry that names *another* provider than the asked one does not hold. Where the caller does
//! not know the provider, entries of any provider hold, those that name none first; if the winners
//! are of two different providers, there is no answer, because either could be wrong by far (B4).
//!
//! It does not compute costs ([`crate::rate`]) and does not convert currencies: a price in another
//! currency does not exist for the one who asks.

mod bands;
mod book;
mod check;
mod default;
mod parse;
mod rates;
mod relative;
mod version;

use permille_types::{Price, PricePerThousand, PriceVersion, Rates};
use rust_decimal::Decimal;

pub(crate) use bands::meters;
pub use book::{Ask, PriceBook, names};
pub use check::check_price;
pub use default::default_prices;
pub use parse::parse_price_book;
pub(crate) use parse::read_entry;
pub use version::price_version;

use crate::{FieldError, Meter};

/// Why a price book is refused.
#[derive(Debug, thiserror::Error)]
pub enum PriceBookError {
    /// The file is not TOML.
    #[error("read price file `{origin}`")]
    Syntax {
        /// The file.
        origin: String,
        /// Line, column and reason.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// One entry of the file is refused.
    #[error("read price file `{origin}`, {entry}")]
    Entry {
        /// The file.
        origin: String,
        /// Which entry: its place and model.
        entry: String,
        /// What is wrong with it.
        #[source]
        cause: FieldError,
    },
    /// Two entries would hold at the same time.
    #[error("{left} and {right} hold at the same time; end one before the other begins")]
    Overlap {
        /// The earlier entry.
        left: String,
        /// The later entry.
        right: String,
    },
    /// One version names two contents.
    #[error("price version `{version}` names two different prices")]
    VersionReused {
        /// The version.
        version: PriceVersion,
    },
    /// A model pattern is not a glob.
    #[error("model pattern `{model}` is not a glob")]
    Pattern {
        /// The pattern.
        model: String,
        /// Why.
        #[source]
        cause: globset::Error,
    },
}

/// The prices of `band` in `price`: 0 is outside every band, k the k-th band. `None` when there
/// is no such band.
#[must_use]
pub fn rates_of_band(price: &Price, band: u32) -> Option<&Rates> {
    match band.checked_sub(1) {
        None => Some(&price.rates),
        Some(place) => {
            usize::try_from(place).ok().and_then(|place| price.bands.get(place)).map(|b| &b.rates)
        }
    }
}

/// The price that `rates` has for `meter`: per thousand for tokens, per unit for units.
#[must_use]
pub fn price_of(rates: &Rates, meter: &Meter) -> Option<Decimal> {
    match meter {
        Meter::Tokens(class) => rates.per_thousand.get(class).map(PricePerThousand::amount),
        Meter::Units(unit) => rates.per_unit.get(unit).copied(),
        Meter::Term(_) => None,
    }
}

fn refuse_overlaps(prices: &[Price]) -> Result<(), PriceBookError> {
    let mut sorted: Vec<&Price> = prices.iter().collect();
    let subject = |price: &Price| {
        let whose = price.customer.as_ref().map(ToString::to_string);
        let kind = (price.side, price.relative.is_some());
        (price.model.clone(), price.provider.clone(), price.currency.code(), whose, kind)
    };
    sorted.sort_by_cached_key(|price| (subject(price), price.from));
    for pair in sorted.windows(2) {
        let [left, right] = pair else { continue };
        if subject(left) == subject(right) && left.until.is_none_or(|until| right.from < until) {
            return Err(PriceBookError::Overlap { left: describe(left), right: describe(right) });
        }
    }
    Ok(())
}

fn describe(price: &Price) -> String {
    let provider = price.provider.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let customer = price.customer.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    let until = price.until.map_or_else(|| "open".to_owned(), |until| until.to_rfc3339());
    format!(
        "price of `{}`{provider}{customer} in {} from {} until {until} ({})",
        price.model,
        price.currency.code(),
        price.from.to_rfc3339(),
        price.version,
    )
}
