//! The indexed book: resolving a price on every request.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use permille_types::{
    Currency, CustomerId, ModelName, Price, PriceVersion, Relative, Side, UpstreamName,
};

use super::{PriceBookError, refuse_overlaps, relative::derived};

/// Prices, checked against each other and indexed for [`PriceBook::resolve_for`].
#[derive(Debug, Clone)]
pub struct PriceBook {
    prices: Vec<Price>,
    /// What everyone is charged.
    list: Index,
    /// What providers take.
    cost: Index,
    /// Customers' own entries.
    own: HashMap<CustomerId, Index, RandomState>,
    versions: HashMap<PriceVersion, usize>,
    providers: HashSet<String>,
    /// Currencies of the entries of side `cost`, by code.
    cost_currencies: Vec<Currency>,
}

/// What a price is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The model, as it would stand on a row.
    pub model: &'a str,
    /// Who pays; absent asks for everyone's price.
    pub customer: Option<&'a CustomerId>,
    /// Who lists the price; absent when the caller does not know.
    pub provider: Option<&'a str>,
    /// The currency to pay in.
    pub currency: Currency,
    /// The instant of admission.
    pub at: DateTime<Utc>,
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
        let mut places: HashMap<(Side, Option<&CustomerId>), Vec<usize>> = HashMap::new();
        for (place, price) in prices.iter().enumerate() {
            // Overlapping entries are refused above, so one version twice is two contents.
            if versions.insert(price.version.clone(), place).is_some() {
                return Err(PriceBookError::VersionReused { version: price.version.clone() });
            }
            places.entry((price.side, price.customer.as_ref())).or_default().push(place);
        }
        let mut index =
            |side| Index::new(&prices, places.remove(&(side, None)).unwrap_or_default());
        let (list, cost) = (index(Side::Sale)?, index(Side::Cost)?);
        let mut own = HashMap::default();
        for ((_, customer), places) in places {
            if let Some(customer) = customer {
                own.insert(customer.clone(), Index::new(&prices, places)?);
            }
        }
        let providers = prices.iter().filter_map(|price| price.provider.clone()).collect();
        let costs = prices.iter().filter(|price| price.side == Side::Cost);
        let mut cost_currencies: Vec<Currency> = costs.map(|price| price.currency).collect();
        cost_currencies.sort_by_key(Currency::code);
        cost_currencies.dedup();
        Ok(Self { prices, list, cost, own, versions, providers, cost_currencies })
    }

    /// The price that holds; see the [module](super) for which one wins. It is borrowed from the
    /// book, or derived just now.
    #[must_use]
    pub fn resolve_for(&self, ask: Ask<'_>) -> Option<Cow<'_, Price>> {
        let own = ask.customer.and_then(|customer| self.own.get(customer));
        let found = own.map_or(Pick::Nothing, |index| index.find(&self.prices, ask, |_| true));
        match found {
            Pick::Nothing => self.everyones(ask),
            Pick::Several => None,
            Pick::One(price) => match price.relative {
                None => Some(Cow::Borrowed(price)),
                Some(Relative::DiscountPercent(_)) => derive(price, &*self.everyones(ask)?),
                Some(Relative::MarkupPercent(_)) => derive(price, self.base(ask)?),
            },
        }
    }

    /// What everyone pays for `model` in `currency` at `at`.
    #[must_use]
    pub fn resolve(
        &self,
        model: &str,
        provider: Option<&str>,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Option<Cow<'_, Price>> {
        self.everyones(Ask { model, customer: None, provider, currency, at })
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
        customer: &CustomerId,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Option<Cow<'_, Price>> {
        let ask = Ask { model, customer: Some(customer), provider: None, currency, at };
        let provider =
            upstream.map(UpstreamName::as_str).filter(|name| self.providers.contains(*name));
        provider
            .and_then(|_| self.resolve_for(Ask { provider, ..ask }))
            .or_else(|| self.resolve_for(ask))
    }

    /// What a provider takes for `model`, by the entries of side `cost`, when all that is known is
    /// which upstream served it, as [`PriceBook::resolve_for_upstream`] reads its name.
    #[must_use]
    pub fn provider_price(
        &self,
        model: &ModelName,
        upstream: Option<&UpstreamName>,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Option<&Price> {
        let ask = Ask { model: model.as_str(), customer: None, provider: None, currency, at };
        let found = |ask| match self.cost.find(&self.prices, ask, |_| true) {
            Pick::One(price) => Some(price),
            Pick::Nothing | Pick::Several => None,
        };
        let provider =
            upstream.map(UpstreamName::as_str).filter(|name| self.providers.contains(*name));
        provider.and_then(|_| found(Ask { provider, ..ask })).or_else(|| found(ask))
    }

    /// The currencies in which it is known what some provider takes, by code.
    #[must_use]
    pub fn cost_currencies(&self) -> &[Currency] {
        &self.cost_currencies
    }

    /// The entry of that version. A derived price is no entry.
    #[must_use]
    pub fn by_version(&self, version: &PriceVersion) -> Option<&Price> {
        self.versions.get(version).and_then(|place| self.prices.get(*place))
    }

    /// All entries, in the order given.
    #[must_use]
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    fn everyones(&self, ask: Ask<'_>) -> Option<Cow<'_, Price>> {
        let Pick::One(price) = self.list.find(&self.prices, ask, |_| true) else { return None };
        match price.relative {
            None => Some(Cow::Borrowed(price)),
            Some(Relative::DiscountPercent(_)) => derive(price, self.amounts(ask)?),
            Some(Relative::MarkupPercent(_)) => derive(price, self.base(ask)?),
        }
    }

    /// Everyone's amounts, without any percentage.
    fn amounts(&self, ask: Ask<'_>) -> Option<&Price> {
        match self.list.find(&self.prices, ask, |price| price.relative.is_none()) {
            Pick::One(price) => Some(price),
            Pick::Nothing | Pick::Several => None,
        }
    }

    /// What a markup is put on.
    fn base(&self, ask: Ask<'_>) -> Option<&Price> {
        match self.cost.find(&self.prices, ask, |_| true) {
            Pick::One(price) => Some(price),
            Pick::Several => None,
            Pick::Nothing => self.amounts(ask),
        }
    }
}

fn derive<'b>(rule: &Price, base: &Price) -> Option<Cow<'b, Price>> {
    derived(rule, base).map(Cow::Owned)
}

/// Whether the model pattern of a price is for `model`.
#[must_use]
pub fn names(pattern: &str, model: &str) -> bool {
    pattern == model
        || (is_glob(pattern)
            && glob_set([pattern].into_iter()).is_ok_and(|set| set.is_match(model)))
}

/// Where the entries of some of the prices are.
#[derive(Debug, Clone)]
struct Index {
    /// Entries by exact model name.
    exact: HashMap<String, Vec<usize>, RandomState>,
    /// One matcher per distinct pattern, in the order of `patterns`.
    globs: GlobSet,
    /// Entries of each distinct pattern, most specific first.
    patterns: Vec<Vec<usize>>,
}

impl Index {
    /// Of the prices at `places`.
    fn new(prices: &[Price], places: Vec<usize>) -> Result<Self, PriceBookError> {
        let mut exact: HashMap<String, Vec<usize>, RandomState> = HashMap::default();
        let mut by_pattern: HashMap<&str, Vec<usize>> = HashMap::new();
        for place in places {
            let Some(price) = prices.get(place) else { continue };
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
        Ok(Self { exact, globs: set, patterns })
    }

    /// The best of those that hold and are `wanted`.
    fn find<'p>(
        &self,
        prices: &'p [Price],
        ask: Ask<'_>,
        wanted: impl Fn(&Price) -> bool + Copy,
    ) -> Pick<'p> {
        let holds = |places: &Vec<usize>| match pick(prices, places, ask, wanted) {
            Pick::Nothing => None,
            found => Some(found),
        };
        // Patterns are matched only where no exact name holds: it costs as much as all the rest.
        let by_pattern = || {
            let globs =
                if self.patterns.is_empty() { Vec::new() } else { self.globs.matches(ask.model) };
            globs.iter().filter_map(|index| self.patterns.get(*index)).find_map(holds)
        };
        let exact = self.exact.get(ask.model).and_then(holds);
        exact.or_else(by_pattern).unwrap_or(Pick::Nothing)
    }
}

/// The best of `places`, which all have the same model pattern.
fn pick<'p>(
    prices: &'p [Price],
    places: &[usize],
    ask: Ask<'_>,
    wanted: impl Fn(&Price) -> bool,
) -> Pick<'p> {
    let mut best = Pick::Nothing;
    let mut best_rank = (0, false);
    for price in places.iter().filter_map(|place| prices.get(*place)).filter(|p| wanted(p)) {
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

impl Ask<'_> {
    /// How well `price` answers, higher is better; `None` when it does not hold.
    fn rank(self, price: &Price) -> Option<(u8, bool)> {
        let holds = price.currency == self.currency
            && price.from <= self.at
            && price.until.is_none_or(|until| self.at < until);
        if !holds {
            return None;
        }
        let provider = match (self.provider, price.provider.as_deref()) {
            (Some(asked), Some(listed)) => (asked == listed).then_some(2),
            (None, None) => Some(2),
            (Some(_), None) | (None, Some(_)) => Some(1),
        };
        provider.map(|rank| (rank, price.relative.is_some()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price_book::parse_price_book;

    /// A book with one entry per (model, provider, from, until); the input price is its place.
    fn book(entries: &[(&str, &str, &str, &str)]) -> PriceBook {
        let entry =
            |(place, (model, provider, from, until)): (usize, &(&str, &str, &str, &str))| {
                let provider = line("provider", provider);
                let until =
                    if until.is_empty() { String::new() } else { format!("until = {until}\n") };
                format!(
                    "[[price]]\nmodel = \"{model}\"\n{provider}currency = \"CNY\"\nfrom = {from}\n\
                 {until}source = \"list of 2026-01-01\"\ninput = \"{place}\"\n"
                )
            };
        let text: Vec<String> = entries.iter().enumerate().map(entry).collect();
        let text = text.concat();
        PriceBook::new(parse_price_book(&text, "test").unwrap()).unwrap()
    }

    fn line(key: &str, value: &str) -> String {
        if value.is_empty() { String::new() } else { format!("{key} = \"{value}\"\n") }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The place of the entry that wins in mid 2026.
    fn winner(book: &PriceBook, model: &str, provider: Option<&str>) -> Option<usize> {
        let price = book.resolve(model, provider, Currency::CNY, at("2026-06-01T00:00:00Z"))?;
        book.prices().iter().position(|other| other.version == price.version)
    }

    const T: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn an_exact_name_wins_over_a_longer_glob() {
        let book = book(&[("gpt-4o-2024*", "", T, ""), ("gpt-4o", "", T, ""), ("gpt*", "", T, "")]);

        assert_eq!(winner(&book, "gpt-4o", None), Some(1));
        assert_eq!(winner(&book, "gpt-4o-2024-08-06", None), Some(0));
        assert_eq!(winner(&book, "gpt-5", None), Some(2));
        assert_eq!(winner(&book, "claude", None), None);
        // The pattern has as many literal characters as the name, and sorts before it.
        let equal = self::book(&[("*gpt-4o", "", T, ""), ("gpt-4o", "", T, "")]);
        assert_eq!(winner(&equal, "gpt-4o", None), Some(1));
    }

    #[test]
    fn of_two_globs_the_one_with_more_literal_characters_wins() {
        let book = book(&[("*", "", T, ""), ("*-mini", "", T, ""), ("gpt-[45]*-mini", "", T, "")]);

        assert_eq!(winner(&book, "gpt-4o-mini", None), Some(2));
        assert_eq!(winner(&book, "o3-mini", None), Some(1));
        assert_eq!(winner(&book, "openai/gpt-5", None), Some(0));
        // What a class or an alternative lists, and the marks themselves, are not literal.
        for longer in ["gpt-[4567]*", "{gpt,o3,claude}-*", "g*p*t*-*", "???-[4]?"] {
            let book = self::book(&[(longer, "", T, ""), ("gpt-4*", "", T, "")]);
            assert_eq!(winner(&book, "gpt-4o", None), Some(1), "{longer}");
        }
    }

    #[test]
    fn a_price_of_the_asked_provider_wins_and_one_of_another_does_not_hold() {
        let book = book(&[("m", "", T, ""), ("m", "azure", T, ""), ("n", "openai", T, "")]);

        assert_eq!(winner(&book, "m", Some("azure")), Some(1));
        assert_eq!(winner(&book, "m", Some("openai")), Some(0));
        assert_eq!(winner(&book, "n", Some("azure")), None);
    }

    #[test]
    fn an_unknown_provider_takes_the_general_price_or_the_only_one() {
        let book = book(&[("m", "", T, ""), ("m", "azure", T, ""), ("n", "openai", T, "")]);

        assert_eq!(winner(&book, "m", None), Some(0));
        assert_eq!(winner(&book, "n", None), Some(2));
    }

    #[test]
    fn two_providers_and_no_word_which_one_is_no_price_rather_than_a_guess() {
        let book = book(&[("m", "azure", T, ""), ("m", "openai", T, ""), ("*", "", T, "")]);

        assert_eq!(winner(&book, "m", None), None);
        assert_eq!(winner(&book, "m", Some("openai")), Some(1));
    }

    #[test]
    fn the_name_of_an_upstream_is_a_provider_only_where_the_book_knows_it() {
        let book = book(&[("m", "azure", T, ""), ("m", "openai", T, ""), ("n", "baidu", T, "")]);
        let resolve = |model, upstream: &str| {
            let upstream = upstream.parse().unwrap();
            let instant = at("2026-06-01T00:00:00Z");
            book.resolve_for_upstream(
                model,
                Some(&upstream),
                &"acme".parse().unwrap(),
                Currency::CNY,
                instant,
            )
            .and_then(|price| price.provider.clone())
        };

        assert_eq!(resolve("m", "azure").as_deref(), Some("azure"));
        assert_eq!(resolve("m", "my-proxy"), None);
        assert_eq!(resolve("n", "my-proxy").as_deref(), Some("baidu"));
        assert_eq!(resolve("n", "openai").as_deref(), Some("baidu"));
    }

    #[test]
    fn a_price_holds_from_its_first_instant_until_before_its_last() {
        let (june, july) = ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z");
        let book = book(&[("m", "", june, july), ("m", "", july, ""), ("*", "", T, july)]);
        let place = |instant: &str| {
            let price = book.resolve("m", None, Currency::CNY, at(instant)).unwrap();
            book.prices().iter().position(|other| other.version == price.version).unwrap()
        };

        assert_eq!(place("2026-05-31T23:59:59.999999Z"), 2);
        assert_eq!(place(june), 0);
        assert_eq!(place("2026-06-30T23:59:59.999999Z"), 0);
        assert_eq!(place(july), 1);
    }

    #[test]
    fn a_price_in_another_currency_does_not_exist() {
        let book = book(&[("m", "", T, "")]);

        assert!(book.resolve("m", None, Currency::USD, at("2026-06-01T00:00:00Z")).is_none());
    }

    #[test]
    fn overlapping_prices_are_refused_naming_both() {
        let mut prices = book(&[("m", "", T, "2026-06-01T00:00:00Z")]).prices().to_vec();
        prices.extend(
            book(&[("x", "", T, ""), ("m", "", "2026-05-01T00:00:00Z", "")]).prices.iter().cloned(),
        );

        let message = PriceBook::new(prices.clone()).unwrap_err().to_string();

        for version in [&prices[0].version, &prices[2].version] {
            assert!(message.contains(version.as_str()), "{message}");
        }
    }

    #[test]
    fn one_version_for_two_contents_is_refused() {
        let mut prices = book(&[("m", "", T, ""), ("n", "", T, "")]).prices().to_vec();
        prices[1].version = prices[0].version.clone();

        assert!(matches!(PriceBook::new(prices), Err(PriceBookError::VersionReused { .. })));
    }

    #[test]
    fn a_malformed_glob_is_refused_naming_it() {
        let mut prices = book(&[("m", "", T, "")]).prices().to_vec();
        prices[0].model = "gpt-[".to_owned();

        let message = PriceBook::new(prices).unwrap_err().to_string();

        assert!(message.contains("gpt-["), "{message}");
    }

    #[test]
    fn a_price_is_found_by_its_version() {
        let book = book(&[("m", "", T, ""), ("n*", "", T, "")]);

        for price in book.prices() {
            assert_eq!(book.by_version(&price.version), Some(price));
        }
        assert!(book.by_version(&"other@2026-01-01.0".parse().unwrap()).is_none());
    }
}
