//! The price book: which price holds for a model, a currency and an instant.
//!
//! A book is a list of [`Price`] entries, read from TOML files ([`parse_price_book`]), from the
//! embedded default ([`default_prices`]) or from the ledger. [`PriceBook`] checks that they do not
//! contradict each other and indexes them, because the gateway asks on every request.
//!
//! # Which entry wins
//! Of the entries in the asked currency whose interval `[from, until)` holds the instant, the most
//! specific one wins, once:
//! 1. an exact model name over a glob;
//! 2. of two globs, the one with more literal characters (then the one whose text sorts first);
//! 3. an entry that names the asked provider over one that names none.
//!
//! An entry that names *another* provider than the asked one does not hold. Where the caller does
//! not know the provider, entries of any provider hold, those that name none first; if the winners
//! are of two different providers, there is no answer, because either could be wrong by far (B4).
//!
//! It does not compute costs ([`crate::rate`]) and does not convert currencies: a price in another
//! currency does not exist for the one who asks.

mod default;
mod parse;
mod version;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use permille_types::{Currency, Price, PricePerThousand, PriceVersion, Rates, UpstreamName};
use rust_decimal::Decimal;

pub use default::default_prices;
pub use parse::parse_price_book;
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

/// Prices, checked against each other and indexed for [`PriceBook::resolve`].
#[derive(Debug, Clone)]
pub struct PriceBook {
    prices: Vec<Price>,
    /// Entries by exact model name.
    exact: HashMap<String, Vec<usize>>,
    /// One matcher per distinct pattern, in the order of `patterns`.
    globs: GlobSet,
    /// Entries of each distinct pattern, most specific first.
    patterns: Vec<Vec<usize>>,
    versions: HashMap<PriceVersion, usize>,
    providers: HashSet<String>,
}

impl PriceBook {
    /// A book of `prices`.
    ///
    /// # Errors
    /// [`PriceBookError`] when two entries overlap in time, one version names two contents or a
    /// pattern is malformed.
    pub fn new(prices: Vec<Price>) -> Result<Self, PriceBookError> {
        refuse_overlaps(&prices)?;
        let mut versions = HashMap::with_capacity(prices.len());
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_pattern: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, price) in prices.iter().enumerate() {
            // Overlapping entries are refused above, so one version twice is two contents.
            if versions.insert(price.version.clone(), place).is_some() {
                return Err(PriceBookError::VersionReused { version: price.version.clone() });
            }
            if is_glob(&price.model) {
                by_pattern.entry(&price.model).or_default().push(place);
            } else {
                exact.entry(price.model.clone()).or_default().push(place);
            }
        }
        let mut globs: Vec<(&str, Vec<usize>)> = by_pattern.into_iter().collect();
        globs.sort_by_key(|(pattern, _)| (std::cmp::Reverse(literal_chars(pattern)), *pattern));
        let set = glob_set(globs.iter().map(|(pattern, _)| *pattern))?;
        let patterns = globs.into_iter().map(|(_, places)| places).collect();
        let providers = prices.iter().filter_map(|price| price.provider.clone()).collect();
        Ok(Self { exact, globs: set, patterns, versions, providers, prices })
    }

    /// The price of `model` in `currency` at `at`; see the [module](self) for which one wins.
    ///
    /// `provider` is who lists the price, `None` when the caller does not know.
    #[must_use]
    pub fn resolve(
        &self,
        model: &str,
        provider: Option<&str>,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Option<&Price> {
        let ask = Ask { provider, currency, at };
        if let Some(found) = self.exact.get(model).map(|places| self.pick(places, ask)) {
            match found {
                Pick::Nothing => {}
                Pick::One(price) => return Some(price),
                Pick::Several => return None,
            }
        }
        if self.patterns.is_empty() {
            return None;
        }
        for index in self.globs.matches(model) {
            match self.pick(self.patterns.get(index)?, ask) {
                Pick::Nothing => {}
                Pick::One(price) => return Some(price),
                Pick::Several => return None,
            }
        }
        None
    }

    /// The price of `model` when all that is known is which upstream served it.
    ///
    /// An upstream's name is the operator's own label. Where the book has prices of a provider of
    /// that name and one of them holds, that one is meant; otherwise the label says nothing about
    /// the provider. The gateway asks here before a call, [`crate::rate`] after it: both must come
    /// to the same answer.
    #[must_use]
    pub fn resolve_for_upstream(
        &self,
        model: &str,
        upstream: Option<&UpstreamName>,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Option<&Price> {
        let provider =
            upstream.map(UpstreamName::as_str).filter(|name| self.providers.contains(*name));
        provider
            .and_then(|provider| self.resolve(model, Some(provider), currency, at))
            .or_else(|| self.resolve(model, None, currency, at))
    }

    /// The entry of that version.
    #[must_use]
    pub fn by_version(&self, version: &PriceVersion) -> Option<&Price> {
        self.versions.get(version).and_then(|place| self.prices.get(*place))
    }

    /// All entries, in the order given.
    #[must_use]
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    /// The best of `places`, which all have the same model pattern.
    fn pick(&self, places: &[usize], ask: Ask<'_>) -> Pick<'_> {
        let mut best = Pick::Nothing;
        let mut best_rank = 0;
        for price in places.iter().filter_map(|place| self.prices.get(*place)) {
            let Some(rank) = ask.rank(price) else { continue };
            if rank > best_rank {
                best = Pick::One(price);
                best_rank = rank;
            } else if rank == best_rank {
                best = Pick::Several;
            }
        }
        best
    }
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
    }
}

#[derive(Clone, Copy)]
struct Ask<'a> {
    provider: Option<&'a str>,
    currency: Currency,
    at: DateTime<Utc>,
}

impl Ask<'_> {
    /// How well `price` answers, higher is better; `None` when it does not hold.
    fn rank(self, price: &Price) -> Option<u8> {
        let holds = price.currency == self.currency
            && price.from <= self.at
            && price.until.is_none_or(|until| self.at < until);
        if !holds {
            return None;
        }
        match (self.provider, price.provider.as_deref()) {
            (Some(asked), Some(listed)) => (asked == listed).then_some(2),
            (None, None) => Some(2),
            (Some(_), None) | (None, Some(_)) => Some(1),
        }
    }
}

enum Pick<'a> {
    Nothing,
    One(&'a Price),
    Several,
}

fn glob_set<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<GlobSet, PriceBookError> {
    let mut set = GlobSetBuilder::new();
    for model in patterns {
        let malformed = |cause| PriceBookError::Pattern { model: model.to_owned(), cause };
        // Model names are not paths: `*` crosses slashes, as in `*/gpt-4o`.
        set.add(GlobBuilder::new(model).literal_separator(false).build().map_err(malformed)?);
    }
    set.build().map_err(|cause| PriceBookError::Pattern { model: "all of them".to_owned(), cause })
}

fn is_glob(model: &str) -> bool {
    model.contains(['*', '?', '[', '{'])
}

/// Characters of a pattern that a name must have as they stand.
fn literal_chars(pattern: &str) -> usize {
    let mut depth = 0_usize;
    let mut literal = 0_usize;
    for character in pattern.chars() {
        match character {
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' => depth = depth.saturating_sub(1),
            '*' | '?' => {}
            _ if depth == 0 => literal = literal.saturating_add(1),
            _ => {}
        }
    }
    literal
}

fn refuse_overlaps(prices: &[Price]) -> Result<(), PriceBookError> {
    let mut sorted: Vec<&Price> = prices.iter().collect();
    let subject =
        |price: &Price| (price.model.clone(), price.provider.clone(), price.currency.code());
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
    let until = price.until.map_or_else(|| "open".to_owned(), |until| until.to_rfc3339());
    format!(
        "price of `{}`{provider} in {} from {} until {until} ({})",
        price.model,
        price.currency.code(),
        price.from.to_rfc3339(),
        price.version,
    )
}
