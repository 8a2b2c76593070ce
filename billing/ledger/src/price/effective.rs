//! When the stored entries hold.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_types::{CustomerId, Price, Side};

use super::{ListedPrice, PriceOrigin, StoredPrice};

/// The entries in the order of lists, each with the `until` that holds beside the others.
pub(crate) fn effective(stored: Vec<StoredPrice>) -> Vec<ListedPrice> {
    type Key = (String, &'static str, Option<CustomerId>, Side);
    let mut groups: BTreeMap<Key, Vec<StoredPrice>> = BTreeMap::new();
    // A derived price holds by way of the two that it follows from.
    for entry in stored.into_iter().filter(|entry| entry.origin != PriceOrigin::Derived) {
        let StoredPrice { price, .. } = &entry;
        let (customer, side) = (price.customer.clone(), price.side);
        let key = (price.model.clone(), price.currency.code(), customer, side);
        groups.entry(key).or_default().push(entry);
    }
    let mut listed = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by(|a, b| {
            let order = |entry: &StoredPrice| {
                (entry.price.provider.clone(), entry.price.from, entry.ordinal)
            };
            order(a).cmp(&order(b))
        });
        for entry in &group {
            let until = taken_over(entry, &group).into_iter().chain(entry.price.until).min();
            let superseded = until.is_some_and(|until| until <= entry.price.from);
            // A superseded entry shows its own interval: an empty one would say less.
            let until = if superseded { entry.price.until } else { until };
            listed.push(ListedPrice {
                price: Price { until, ..entry.price.clone() },
                origin: entry.origin,
                superseded,
                added_at: entry.added_at,
            });
        }
    }
    listed
}

/// The entries that hold at some time: what a price book is made of.
pub(crate) fn holding(listed: &[ListedPrice]) -> Vec<Price> {
    listed.iter().filter(|entry| !entry.superseded).map(|entry| entry.price.clone()).collect()
}

/// When the first other entry of `group` takes over from `entry`. A group is a model, a currency,
/// a customer or everyone, and a side.
fn taken_over(entry: &StoredPrice, group: &[StoredPrice]) -> Option<DateTime<Utc>> {
    group.iter().filter(|other| takes_over(other, entry)).map(|other| other.price.from).min()
}

fn takes_over(other: &StoredPrice, entry: &StoredPrice) -> bool {
    // A percentage leaves the amounts that it is of in force.
    if other.price.relative.is_some() && entry.price.relative.is_none() {
        return false;
    }
    let same_provider = other.price.provider == entry.price.provider;
    match (other.origin, entry.origin) {
        (PriceOrigin::BuiltIn, PriceOrigin::Operator) => false,
        // An operator who names no provider means every provider.
        (PriceOrigin::Operator, PriceOrigin::BuiltIn) => {
            same_provider || other.price.provider.is_none()
        }
        _ => {
            let place = |stored: &StoredPrice| (stored.price.from, stored.ordinal);
            same_provider && place(other) > place(entry)
        }
    }
}

#[cfg(test)]
mod tests {
    use permille_rating::price_book::{PriceBook, parse_price_book};

    use super::*;

    fn day(text: &str) -> DateTime<Utc> {
        format!("{text}T00:00:00Z").parse().unwrap()
    }

    fn entry(ordinal: i64, origin: PriceOrigin, head: &str, price: &str) -> StoredPrice {
        let toml = format!(
            "[[price]]\nmodel = \"m\"\n{head}\nsource = \"test {ordinal}\"\ninput = \"{price}\""
        );
        let price = parse_price_book(&toml, "test").unwrap().remove(0);
        StoredPrice { price, origin, ordinal, added_at: day("2026-01-01") }
    }

    /// The source of the entry that holds on `date`, for any provider.
    fn holder(stored: &[StoredPrice], provider: Option<&str>, date: &str) -> Option<String> {
        let book = PriceBook::new(holding(&effective(stored.to_vec()))).unwrap();
        book.resolve("m", provider, permille_types::Currency::CNY, day(date))
            .map(|price| price.source.clone())
    }

    const JANUARY: &str = "currency = \"CNY\"\nfrom = 2026-01-01T00:00:00Z";
    const MARCH: &str = "currency = \"CNY\"\nfrom = 2026-03-01T00:00:00Z";

    #[test]
    fn a_later_entry_takes_over_at_its_beginning_whatever_the_order_of_arrival() {
        let first = entry(1, PriceOrigin::Operator, JANUARY, "1");
        let second = entry(2, PriceOrigin::Operator, MARCH, "2");

        for stored in [vec![first.clone(), second.clone()], vec![second, first]] {
            assert_eq!(holder(&stored, None, "2026-02-28").as_deref(), Some("test 1"));
            assert_eq!(holder(&stored, None, "2026-03-01").as_deref(), Some("test 2"));
        }
    }

    #[test]
    fn of_two_that_begin_together_the_one_that_came_later_holds() {
        let stored = [
            entry(1, PriceOrigin::Operator, JANUARY, "1"),
            entry(2, PriceOrigin::Operator, JANUARY, "2"),
        ];

        assert_eq!(holder(&stored, None, "2026-02-01").as_deref(), Some("test 2"));
        assert!(effective(stored.to_vec()).iter().any(|listed| listed.superseded));
    }

    #[test]
    fn an_entry_does_not_come_back_when_its_successor_ends() {
        let bounded = format!("{MARCH}\nuntil = 2026-04-01T00:00:00Z");
        let stored = [
            entry(1, PriceOrigin::Operator, JANUARY, "1"),
            entry(2, PriceOrigin::Operator, &bounded, "2"),
        ];

        assert_eq!(holder(&stored, None, "2026-03-31").as_deref(), Some("test 2"));
        assert_eq!(holder(&stored, None, "2026-04-01"), None);
    }

    #[test]
    fn a_built_in_entry_never_takes_over_from_the_operators() {
        let stored = [
            entry(1, PriceOrigin::Operator, JANUARY, "1"),
            entry(2, PriceOrigin::BuiltIn, MARCH, "2"),
        ];

        assert_eq!(holder(&stored, None, "2026-04-01").as_deref(), Some("test 1"));
    }

    #[test]
    fn an_operators_entry_without_a_provider_takes_over_for_every_provider() {
        let listed = format!("{JANUARY}\nprovider = \"openai\"");
        let stored = [
            entry(1, PriceOrigin::BuiltIn, &listed, "1"),
            entry(2, PriceOrigin::Operator, MARCH, "2"),
        ];

        assert_eq!(holder(&stored, Some("openai"), "2026-02-01").as_deref(), Some("test 1"));
        assert_eq!(holder(&stored, Some("openai"), "2026-03-01").as_deref(), Some("test 2"));
    }
}
