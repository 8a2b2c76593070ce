//! The embedded price book: complete, sourced, free of contradictions, and right where it is known.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside test functions")]

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use permille_rating::price_book::{PriceBook, default_prices, price_of, rates_of_band};
use permille_rating::{Meter, rate};
use permille_types::{Currency, Price};
use rust_decimal::Decimal;

fn book() -> PriceBook {
    PriceBook::new(default_prices().unwrap()).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now_price<'b>(book: &'b PriceBook, model: &str, currency: Currency) -> Cow<'b, Price> {
    book.resolve(model, None, currency, at("2026-11-24T12:00:00Z"))
        .unwrap_or_else(|| panic!("no price for {model} in {currency}"))
}

fn per_thousand(price: &Price, band: u32, class: &str) -> String {
    let rates = rates_of_band(price, band).unwrap();
    price_of(rates, &Meter::named(class)).unwrap_or_else(|| panic!("{class}")).to_string()
}

#[test]
fn the_default_book_parses_and_has_no_contradictions() {
    assert!(book().prices().len() > 80);
}

#[test]
fn every_default_price_names_its_source_with_a_date() {
    for price in book().prices() {
        let dated = (2023..=2026).any(|year| price.source.contains(&format!("{year}-")));
        assert!(dated, "{}: {}", price.model, price.source);
        assert!(price.provider.is_some(), "{}", price.model);
    }
}

#[test]
fn every_default_price_sells_output_for_at_least_its_input() {
    // A swapped pair of columns or units would show here.
    for price in book().prices() {
        for rates in std::iter::once(&price.rates).chain(price.bands.iter().map(|b| &b.rates)) {
            let amount = |class| price_of(rates, &Meter::named(class));
            let input = amount("input_uncached").unwrap();
            let Some(output) = amount("output_text") else {
                assert!(price.model.to_lowercase().contains("embedding"), "{}", price.model);
                continue;
            };
            assert!(output >= input, "{}", price.model);
            assert_eq!(amount("reasoning"), Some(output), "{}", price.model);
            assert!(amount("cache_read").is_none_or(|read| read <= input), "{}", price.model);
        }
    }
}

#[test]
fn a_thousand_tokens_in_and_five_hundred_out_of_ernie_bot_cost_0_018_yuan() {
    let book = book();
    let price = book
        .resolve("ERNIE-Bot", None, Currency::CNY, at("2024-01-19T00:00:00Z"))
        .expect("listed from 2023-10-01");

    let cost = |class: &str, tokens| {
        let meter = Meter::named(class);
        rate::cost(&meter, price_of(&price.rates, &meter).unwrap(), tokens).unwrap()
    };
    let total = cost("input_uncached", 1_000).checked_add(cost("output_text", 500)).unwrap();

    assert_eq!(total, Decimal::from_str_exact("0.018").unwrap());
    assert!(book.resolve("ERNIE-Bot", None, Currency::USD, at("2026-11-24T00:00:00Z")).is_none());
    assert!(book.resolve("ERNIE-Bot", None, Currency::CNY, at("2023-09-30T23:59:59Z")).is_none());
}

#[test]
fn known_list_prices_are_stored_per_thousand() {
    let book = book();
    for (model, class, expected) in [
        ("gpt-5", "input_uncached", "0.00125"),
        ("gpt-5", "cache_read", "0.000125"),
        ("gpt-5", "output_text", "0.01"),
        ("gpt-5", "cache_write_other", "0.00125"),
        ("gpt-4o", "cache_read", "0.00125"),
        ("gpt-4o-mini", "output_text", "0.0006"),
        ("gpt-3.5-turbo-instruct", "input_uncached", "0.0015"),
        ("text-embedding-3-small", "input_uncached", "0.00002"),
        ("claude-sonnet-4-5", "cache_write_5m", "0.00375"),
        ("claude-sonnet-4-5", "cache_write_1h", "0.006"),
        ("claude-sonnet-4-5", "searches", "0.01"),
        ("claude-opus-5-5", "output_text", "0.02"),
        ("gpt-5.6", "cache_write_30m", "0.005"),
    ] {
        let price = now_price(&book, model, Currency::USD);
        assert_eq!(per_thousand(&price, 0, class), expected, "{model} {class}");
    }
}

#[test]
fn a_dated_snapshot_costs_what_its_model_costs() {
    let book = book();
    for (snapshot, model) in [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-5.1-2025-11-13", "gpt-5.1"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-4.1-nano-2025-04-14", "gpt-4.1-nano"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-opus-4-20250514", "claude-opus-4-0"),
    ] {
        let served = now_price(&book, snapshot, Currency::USD);
        assert_eq!(served.rates, now_price(&book, model, Currency::USD).rates, "{snapshot}");
    }
    let first = now_price(&book, "gpt-4o-2024-05-13", Currency::USD);
    assert_eq!(per_thousand(&first, 0, "input_uncached"), "0.005");
}

#[test]
fn long_context_and_service_tiers_have_bands_of_their_own() {
    let book = book();
    let sonnet = now_price(&book, "claude-sonnet-4-5", Currency::USD);
    assert_eq!(sonnet.bands.len(), 1);
    assert_eq!(sonnet.bands[0].when.input_total_over, Some(200_000));
    assert_eq!(per_thousand(&sonnet, 1, "output_text"), "0.0225");

    let gpt = now_price(&book, "gpt-5.1", Currency::USD);
    let flex = gpt.bands.iter().find(|b| b.when.service_tier.as_deref() == Some("flex")).unwrap();
    assert_eq!(
        price_of(&flex.rates, &Meter::named("input_uncached")).unwrap().to_string(),
        "0.000625"
    );
}
