//! A customer's own terms: amounts, discounts off the list, markups on the cost.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::{event, noon};
use permille_rating::price_book::{Ask, PriceBook, parse_price_book};
use permille_rating::rate::{Rated, rate};
use permille_types::{Currency, Price, UsageEvent};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Entries for model, source and price lines; in USD from 2026 on.
fn book(entries: &[(&str, &str, &str)]) -> PriceBook {
    let entry = |(model, source, lines): &(&str, &str, &str)| {
        format!(
            "[[price]]\nmodel = \"{model}\"\ncurrency = \"USD\"\nfrom = 2026-01-01T00:00:00Z\n\
             source = \"{source}\"\n{lines}\n"
        )
    };
    let text: String = entries.iter().map(entry).collect();
    PriceBook::new(parse_price_book(&text, "test").unwrap()).unwrap()
}

/// 1,000 tokens of `model`, used by `customer`.
fn used(customer: &str, model: &str) -> UsageEvent {
    let event = event(model, &[("input_uncached", 1_000)]);
    UsageEvent { customer: customer.parse().unwrap(), ..event }
}

fn rated(event: &UsageEvent, book: &PriceBook) -> Rated {
    rate(event, book, Currency::USD).unwrap()
}

fn cost(customer: &str, model: &str, book: &PriceBook) -> Option<String> {
    rated(&used(customer, model), book).cost.map(|cost| cost.amount().to_string())
}

const LIST: (&str, &str, &str) = ("gpt-4o", "list", "input = \"2\"");

#[test]
fn a_customers_own_price_comes_before_a_more_special_one_of_the_list() {
    let own = ("gpt-*", "contract", "customer = \"acme\"\ninput = \"1\"");
    let book = book(&[LIST, own]);

    assert_eq!(cost("acme", "gpt-4o", &book).as_deref(), Some("1"));
    assert_eq!(cost("zen", "gpt-4o", &book).as_deref(), Some("2"));
    assert_eq!(cost("acme", "gpt-5", &book).as_deref(), Some("1"));
    assert_eq!(cost("zen", "gpt-5", &book), None);
}

#[test]
fn a_discount_takes_every_class_and_band_of_the_list_down() {
    let list = "input = \"2\"\nsearches = \"0.5\"\n[[price.band]]\nwhen = { input_total_over = 999 }\n\
                input = \"4\"\nsearches = \"1\"";
    let off = ("*", "contract 12", "customer = \"acme\"\ndiscount_percent = \"12.5\"");
    let book = book(&[("gpt-4o", "list", list), off]);

    let mut request = used("acme", "gpt-4o");
    request.units.insert(permille_types::Unit::Searches, 2);
    let found = rated(&request, &book);

    assert_eq!((found.band, found.cost.unwrap().amount().to_string()), (1, "5.25".to_owned()));
    let derived = found.derived.unwrap();
    assert_eq!(Some(&derived.version), found.price_version.as_ref());
    let origin = derived.derived.as_ref().unwrap();
    assert_eq!(book.by_version(&origin.of).unwrap().source, "list");
    assert_eq!(book.by_version(&origin.by).unwrap().source, "contract 12");
    assert!(book.by_version(&derived.version).is_none());
}

#[test]
fn a_derived_price_has_the_same_version_every_time_and_another_one_for_another_customer() {
    let off = |customer| format!("customer = \"{customer}\"\ndiscount_percent = \"10\"");
    let book = book(&[LIST, ("*", "c", &off("acme")), ("*", "c", &off("zen"))]);
    let version = |customer| rated(&used(customer, "gpt-4o"), &book).price_version.unwrap();

    assert_eq!(version("acme"), version("acme"));
    assert_ne!(version("acme"), version("zen"));
}

#[test]
fn a_markup_is_on_the_cost_and_a_discount_is_off_what_everyone_pays() {
    let cost_side = ("gpt-4o", "provider", "side = \"cost\"\ninput = \"1\"");
    let markup = ("*", "our margin", "markup_percent = \"20\"");
    let off = ("gpt-*", "contract", "customer = \"acme\"\ndiscount_percent = \"10\"");
    let book = book(&[cost_side, markup, off]);

    assert_eq!(cost("zen", "gpt-4o", &book).as_deref(), Some("1.2"));
    assert_eq!(cost("acme", "gpt-4o", &book).as_deref(), Some("1.08"));
    assert_eq!(cost("zen", "claude", &book), None, "no cost, no price");
}

#[test]
fn a_markup_without_a_cost_entry_is_on_the_list_and_a_cost_entry_alone_sells_nothing() {
    let on_list = book(&[LIST, ("*", "m", "customer = \"acme\"\nmarkup_percent = \"50\"")]);
    assert_eq!(cost("acme", "gpt-4o", &on_list).as_deref(), Some("3"));
    assert_eq!(cost("zen", "gpt-4o", &on_list).as_deref(), Some("2"));

    let cost_alone = book(&[("gpt-4o", "provider", "side = \"cost\"\ninput = \"1\"")]);
    assert_eq!(cost("zen", "gpt-4o", &cost_alone), None);
}

#[test]
fn an_exact_amount_beats_a_wider_percentage_and_a_percentage_its_own_amounts() {
    let wide = book(&[LIST, ("gpt-*", "m", "markup_percent = \"50\"")]);
    assert_eq!(cost("zen", "gpt-4o", &wide).as_deref(), Some("2"));

    let same = book(&[LIST, ("gpt-4o", "m", "markup_percent = \"50\"")]);
    assert_eq!(cost("zen", "gpt-4o", &same).as_deref(), Some("3"));
}

#[test]
fn a_derived_price_holds_where_both_hold() {
    let text = "[[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2026-02-01T00:00:00Z\n\
                until = 2026-06-01T00:00:00Z\nsource = \"list\"\ninput = \"1\"\n\
                [[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2026-03-01T00:00:00Z\n\
                until = 2026-12-01T00:00:00Z\nsource = \"c\"\ncustomer = \"acme\"\n\
                discount_percent = \"100\"\n";
    let book = PriceBook::new(parse_price_book(text, "test").unwrap()).unwrap();
    let acme = "acme".parse().unwrap();
    let price = |day: &str| {
        let at = format!("2026-{day}T00:00:00Z").parse().unwrap();
        let ask =
            Ask { model: "m", customer: Some(&acme), provider: None, currency: Currency::USD, at };
        book.resolve_for(ask).map(std::borrow::Cow::into_owned)
    };

    assert!(price("02-28").unwrap().derived.is_none());
    let held = price("05-31").unwrap();
    assert_eq!(held.from.to_rfc3339(), "2026-03-01T00:00:00+00:00");
    assert_eq!(held.until.unwrap().to_rfc3339(), "2026-06-01T00:00:00+00:00");
    assert_eq!(price("06-01"), None, "no list, no discounted price");
}

fn refusal(lines: &str) -> String {
    let text = format!(
        "[[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2026-01-01T00:00:00Z\n\
         source = \"s\"\n{lines}\n"
    );
    let error = parse_price_book(&text, "test").unwrap_err();
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[test]
fn a_percentage_of_nothing_and_of_everything_can_be_meant() {
    for (line, expected) in [
        ("discount_percent = \"0\"", "2"),
        ("discount_percent = \"100\"", "0"),
        ("markup_percent = \"0\"", "2"),
        ("markup_percent = \"1000\"", "22"),
    ] {
        let book = book(&[LIST, ("*", "c", &format!("customer = \"acme\"\n{line}"))]);
        assert_eq!(cost("acme", "gpt-4o", &book).as_deref(), Some(expected), "{line}");
    }
}

#[test]
fn terms_without_sense_are_refused_with_what_is_accepted() {
    for (lines, words) in [
        ("discount_percent = \"100.1\"", "above 100"),
        ("markup_percent = \"1001\"", "above 1000"),
        ("markup_percent = 20", "in quotes"),
        ("discount_percent = \"-1\"", "negative"),
        ("discount_percent = \"0.00001\"", "4 decimal places"),
        ("discount_percent = \"1\"\nmarkup_percent = \"1\"", "give one"),
        ("discount_percent = \"1\"\ninput = \"1\"", "`input` has no meaning"),
        ("side = \"cost\"\nmarkup_percent = \"1\"", "`cost` has amounts"),
        ("side = \"cost\"\ncustomer = \"acme\"\ninput = \"1\"", "no customer's"),
        ("side = \"both\"\ninput = \"1\"", "sale, cost"),
        ("customer = \"\"\ninput = \"1\"", "`customer`"),
    ] {
        let message = refusal(lines);
        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
}

proptest! {
    /// A discount never makes a price negative, nor dearer; a markup never cheaper; both exactly.
    #[test]
    fn a_percentage_of_a_price_is_exact_and_keeps_its_side(
        amount in 0..9_999_999_u32, places in 6..12_u32,
        percent in 0..1_000_000_u32, markup in any::<bool>(),
    ) {
        let amount = Decimal::new(amount.into(), places);
        let percent = Decimal::new(percent.into(), 4);
        let key = if markup { "markup_percent" } else { "discount_percent" };
        let list = format!("input = \"{amount}\"");
        let own = format!("customer = \"acme\"\n{key} = \"{percent}\"");
        let book = book(&[("m", "list", &list), ("*", "c", &own)]);

        let cost = rated(&used("acme", "m"), &book).cost.unwrap().amount();

        let change = if markup { percent } else { -percent };
        let factor = Decimal::ONE_HUNDRED + change;
        prop_assert_eq!(cost * Decimal::ONE_HUNDRED, amount * factor);
        prop_assert!(cost >= Decimal::ZERO);
        let on_its_side = if markup { cost >= amount } else { cost <= amount };
        prop_assert!(on_its_side);
    }

    /// B5: which entries stand first in the book changes nothing.
    #[test]
    fn the_order_of_entries_changes_nothing(
        order in Just([0_usize, 1, 2, 3, 4]).prop_shuffle(),
        customer in "acme|zen",
        model in "gpt-4o|gpt-5|claude",
    ) {
        let entries = [
            LIST,
            ("gpt-*", "wide", "input = \"3\""),
            ("gpt-4o", "provider", "side = \"cost\"\ninput = \"1\""),
            ("*", "m", "markup_percent = \"20\""),
            ("gpt-*", "c", "customer = \"acme\"\ndiscount_percent = \"10\""),
        ];
        let version = |book: &PriceBook| rated(&used(&customer, &model), book).price_version;

        let shuffled: Vec<_> = order.iter().map(|place| entries[*place]).collect();

        prop_assert_eq!(version(&book(&shuffled)), version(&book(&entries)));
    }
}

#[test]
fn everyones_price_is_what_a_caller_without_a_customer_gets() {
    let book = book(&[LIST, ("*", "c", "customer = \"acme\"\ndiscount_percent = \"10\"")]);
    let listed: Option<Price> =
        book.resolve("gpt-4o", None, Currency::USD, noon()).map(std::borrow::Cow::into_owned);

    assert_eq!(listed.unwrap().source, "list");
}
