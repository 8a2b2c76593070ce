//! What one event costs: worked examples, bands, and what is unpriced.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::event;
use permille_rating::price_book::{PriceBook, default_prices, parse_price_book};
use permille_rating::rate::{Rated, rate};
use permille_types::{Currency, Ended, Flag, Source, Unit, UsageEvent};
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// A book with one open price of model `m` in US dollars.
fn book(lines: &str) -> PriceBook {
    let text = format!(
        "[[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2026-01-01T00:00:00Z\n\
         source = \"list of 2026-01-01\"\n{lines}"
    );
    PriceBook::new(parse_price_book(&text, "test").unwrap()).unwrap()
}

fn default_book() -> PriceBook {
    PriceBook::new(default_prices().unwrap()).unwrap()
}

fn cost(event: &UsageEvent, book: &PriceBook) -> Option<Decimal> {
    rate(event, book, Currency::USD).unwrap().cost.map(|money| money.amount())
}

fn unpriced(rated: &Rated) -> Vec<&str> {
    rated.unpriced.iter().map(permille_rating::Meter::as_str).collect()
}

#[track_caller]
fn costs(prices: &str, tokens: &[(&str, u64)], amount: &str) {
    let book = book(&format!("per = \"1m_tokens\"\n{prices}"));
    assert_eq!(cost(&event("m", tokens), &book), Some(decimal(amount)));
}

#[test]
fn row_66_cached_tokens_cost_the_cached_price_once() {
    costs(
        "input = \"2.5\"\ncache_read = \"0.25\"\noutput = \"15\"\n",
        &[("input_uncached", 2618), ("cache_read", 3456), ("output_text", 285)],
        "0.011684",
    );
}

#[test]
fn row_67_a_mostly_cached_prompt_costs_18_cents_not_76() {
    costs(
        "input = \"1.25\"\ncache_read = \"0.625\"\noutput = \"10\"\n",
        &[("input_uncached", 5_005), ("cache_read", 257_955), ("output_text", 1_744)],
        "0.184918125",
    );
}

#[test]
fn row_69_each_class_is_billed_at_its_own_price() {
    let tokens = [("input_uncached", 86), ("cache_read", 1920), ("output_text", 300)];
    let rated = rate(&event("gpt-4o", &tokens), &default_book(), Currency::USD).unwrap();

    let lines: Vec<_> =
        rated.lines.iter().map(|line| (line.meter.as_str(), line.cost.to_string())).collect();
    let expected = [
        ("input_uncached", "0.000215".to_owned()),
        ("cache_read", "0.0024".to_owned()),
        ("output_text", "0.003".to_owned()),
    ];
    assert_eq!(lines, expected);
    assert_eq!(rated.cost.unwrap().amount(), decimal("0.005615"));
}

#[test]
fn rows_70_to_72_focus_examples() {
    let tokens = [("input_uncached", 8_400_000), ("output_text", 2_100_000)];
    costs("input = \"5\"\noutput = \"25\"\n", &tokens, "94.5");
    let tokens = [("cache_read", 50_000_000), ("cache_write_other", 15_000_000)];
    costs("cache_read = \"0.20\"\ncache_write_other = \"2.50\"\n", &tokens, "47.5");
    let tokens = [("input_uncached", 500), ("cache_read", 8_000)];
    costs("input = \"3\"\ncache_read = \"0.3\"\n", &tokens, "0.0039");
}

#[test]
fn ernie_bot_bills_1000_in_and_500_out_at_0_018_yuan() {
    let event = event("ERNIE-Bot", &[("input_uncached", 1_000), ("output_text", 500)]);

    let rated = rate(&event, &default_book(), Currency::CNY).unwrap();

    assert_eq!(rated.cost.unwrap().to_string(), "0.018 CNY");
    assert!(rated.price_version.unwrap().as_str().starts_with("ERNIE-Bot@2023-10-01."));
}

const BANDED: &str = "input = \"1\"\noutput = \"2\"\n\
    [[price.band]]\nwhen = { input_total_over = 200000 }\ninput = \"3\"\noutput = \"4\"\n";

#[test]
fn exactly_200_000_input_tokens_are_outside_the_band_and_one_more_is_inside() {
    let book = book(BANDED);
    let at = |input| {
        let event = event("m", &[("input_uncached", input), ("output_text", 1_000)]);
        rate(&event, &book, Currency::USD).unwrap()
    };

    assert_eq!((at(200_000).band, at(200_000).cost.unwrap().amount()), (0, decimal("202")));
    // The whole request takes the band, its output too.
    assert_eq!((at(200_001).band, at(200_001).cost.unwrap().amount()), (1, decimal("604.003")));
}

#[test]
fn every_kind_of_input_counts_for_the_band_and_a_reported_total_is_preferred() {
    let prices = "cache_read = \"1\"\ncache_write_5m = \"1\"\naudio_in = \"1\"\n";
    let book = book(&format!(
        "input = \"1\"\n{prices}[[price.band]]\nwhen = {{ input_total_over = 10 }}\n\
         input = \"2\"\n{prices}"
    ));
    let tokens = [("input_uncached", 2), ("cache_read", 3), ("cache_write_5m", 3), ("audio_in", 3)];
    let mut event = event("m", &tokens);

    assert_eq!(rate(&event, &book, Currency::USD).unwrap().band, 1);
    event.input_total = Some(10);
    assert_eq!(rate(&event, &book, Currency::USD).unwrap().band, 0);
}

#[test]
fn the_service_tier_of_the_reply_decides_the_band() {
    let book =
        book("input = \"2\"\n[[price.band]]\nwhen = { service_tier = \"flex\" }\ninput = \"1\"\n");
    let mut event = event("m", &[("input_uncached", 1_000)]);

    event.service_tier = Some("flex".to_owned());
    assert_eq!(cost(&event, &book), Some(Decimal::ONE));
    event.service_tier = Some("default".to_owned());
    assert_eq!(cost(&event, &book), Some(Decimal::TWO));
}

#[test]
fn a_class_without_a_price_leaves_the_whole_event_unpriced() {
    let event = event("m", &[("input_uncached", 1), ("cache_read", 1), ("audio_in", 1)]);

    let rated = rate(&event, &book("input = \"1\"\n"), Currency::USD).unwrap();

    assert_eq!(rated.cost, None);
    assert_eq!(unpriced(&rated), ["cache_read", "audio_in"]);
    assert!(rated.price_version.is_some());
}

#[test]
fn a_model_without_a_price_leaves_everything_unpriced() {
    let event = event("other", &[("input_uncached", 1), ("output_text", 0)]);

    let rated = rate(&event, &book("input = \"1\"\n"), Currency::USD).unwrap();

    assert_eq!((rated.cost, rated.price_version.is_none()), (None, true));
    assert_eq!(unpriced(&rated), ["input_uncached"]);
}

#[test]
fn a_quantity_of_zero_needs_no_price_and_a_price_of_zero_is_free() {
    let event = event("m", &[("input_uncached", 5), ("cache_read", 0), ("output_text", 7)]);

    assert_eq!(cost(&event, &book("input = \"0\"\noutput = \"1\"\n")), Some(decimal("0.007")));
}

#[test]
fn an_event_without_tokens_costs_exactly_zero_even_without_a_price() {
    let mut event = event("other", &[]);
    event.ended = Ended::UpstreamError;
    event.source = Source::Missing;

    assert_eq!(cost(&event, &book("input = \"1\"\n")), Some(Decimal::ZERO));
}

#[test]
fn what_a_policy_spares_costs_exactly_zero_with_or_without_a_price() {
    for model in ["m", "unheard-of"] {
        let mut event = event(model, &[("input_uncached", 1_000), ("smell_in", 7)]);
        event.flag(Flag::NotBilled);

        let rated = rate(&event, &book("input = \"1\"\n"), Currency::USD).unwrap();

        assert_eq!(rated.cost.unwrap().amount(), Decimal::ZERO);
        assert!(rated.lines.is_empty() && rated.unpriced.is_empty(), "free is not unpriced");
        assert_eq!(rated.price_version, None, "no price priced it");
    }
}

#[test]
fn searches_are_billed_each_and_unpriced_without_a_price() {
    let mut event = event("m", &[("input_uncached", 1_000)]);
    event.units.insert(Unit::Searches, 3);

    let priced = book("input = \"1\"\nsearches = \"0.01\"\n");
    assert_eq!(cost(&event, &priced), Some(decimal("1.03")));
    let rated = rate(&event, &book("input = \"1\"\n"), Currency::USD).unwrap();
    assert_eq!(unpriced(&rated), ["searches"]);
}

#[test]
fn a_count_of_requests_is_billed_where_it_has_a_price_and_says_nothing_else() {
    let mut event = event("m", &[("input_uncached", 1_000)]);
    event.units.insert(Unit::Requests, 1);

    assert_eq!(cost(&event, &book("input = \"1\"\n")), Some(Decimal::ONE));
    let priced = book("input = \"1\"\nrequests = \"0.5\"\n");
    assert_eq!(cost(&event, &priced), Some(decimal("1.5")));
}

#[test]
fn a_count_of_requests_alone_is_never_free_without_a_price() {
    let mut event = event("m", &[]);
    event.units.insert(Unit::Requests, 1);

    let rated = rate(&event, &book("input = \"1\"\n"), Currency::USD).unwrap();

    assert_eq!(unpriced(&rated), ["requests"]);
    assert_eq!(rated.cost, None);
    assert_eq!(cost(&event, &book("requests = \"0.5\"\n")), Some(decimal("0.5")));
}

#[test]
fn the_served_model_prices_and_the_requested_one_only_where_it_has_none() {
    let mut event = event("gpt-4o", &[("input_uncached", 1_000)]);
    let book = default_book();

    event.model_served = Some("gpt-4o-2024-05-13".parse().unwrap());
    assert_eq!(cost(&event, &book), Some(decimal("0.005")));
    event.model_served = Some("gpt-4o-next".parse().unwrap());
    assert_eq!(cost(&event, &book), Some(decimal("0.0025")));
}

#[test]
fn the_admission_time_decides_the_price() {
    let mut event = event("m", &[("input_uncached", 1_000)]);
    event.at = "2025-12-31T23:59:59.999999Z".parse().unwrap();
    assert_eq!(cost(&event, &book("input = \"1\"\n")), None);

    event.at = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(cost(&event, &book("input = \"1\"\n")), Some(Decimal::ONE));
}

#[test]
fn a_cost_with_too_many_digits_is_an_error_not_a_rounding() {
    let book = book("input = \"0.000000000000000000000000001\"\n");
    let event = event("m", &[("input_uncached", 12_345_678)]);

    assert!(rate(&event, &book, Currency::USD).is_err());
}
