//! What a price file may say, and how each mistake in it is refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use std::error::Error;

use permille_rating::Meter;
use permille_rating::price_book::{check_price, parse_price_book, price_of, price_version};
use permille_types::{
    Condition, Currency, Price, PricePerThousand, Rates, Relative, Side, TokenClass, Unit,
};

const HEAD: &str = "[[price]]\nmodel = \"m\"\ncurrency = \"CNY\"\n\
                    from = 2026-01-01T00:00:00Z\nsource = \"list of 2026-01-01\"\n";

fn entry(lines: &str) -> Price {
    let mut prices = parse_price_book(&format!("{HEAD}{lines}"), "prices.toml").unwrap();
    assert_eq!(prices.len(), 1);
    prices.remove(0)
}

fn amount(price: &Price, meter: &str) -> Option<String> {
    price_of(&price.rates, &Meter::named(meter)).map(|amount| amount.to_string())
}

/// The whole chain of the refusal of `text`.
fn refusal(text: &str) -> String {
    let error = parse_price_book(text, "prices.toml").unwrap_err();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

#[track_caller]
fn refuses(lines: &str, words: &[&str]) {
    let message = refusal(&format!("{HEAD}{lines}"));
    for word in words.iter().chain(&["prices.toml", "price 1 (`m`)"]) {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn output_prices_reasoning_too_unless_reasoning_is_given() {
    let price = entry("input = \"0.012\"\noutput = \"0.024\"\n");
    assert_eq!(amount(&price, "input_uncached").as_deref(), Some("0.012"));
    assert_eq!(amount(&price, "output_text").as_deref(), Some("0.024"));
    assert_eq!(amount(&price, "reasoning").as_deref(), Some("0.024"));
    assert_eq!(amount(&price, "cache_read"), None);

    let price = entry("output = \"0.024\"\nreasoning = \"0.048\"\n");
    assert_eq!(amount(&price, "output_text").as_deref(), Some("0.024"));
    assert_eq!(amount(&price, "reasoning").as_deref(), Some("0.048"));
}

#[test]
fn a_price_per_million_is_stored_per_thousand_to_the_last_digit() {
    let price = entry("per = \"1m_tokens\"\ninput = \"0.0028\"\noutput = \"15\"\n");

    assert_eq!(amount(&price, "input_uncached").as_deref(), Some("0.0000028"));
    assert_eq!(amount(&price, "output_text").as_deref(), Some("0.015"));
}

#[test]
fn a_unit_is_priced_each_whatever_per_says() {
    let price = entry("per = \"1m_tokens\"\nsearches = \"0.01\"\nrequests = \"0\"\n");

    assert_eq!(amount(&price, "searches").as_deref(), Some("0.01"));
    assert_eq!(amount(&price, "requests").as_deref(), Some("0"));
}

#[test]
fn one_entry_may_price_several_models() {
    let text = HEAD.replace("\"m\"", "[\"m\", \"m-20*\"]") + "input = \"1\"\n";
    let prices = parse_price_book(&text, "prices.toml").unwrap();

    let models: Vec<_> = prices.iter().map(|price| price.model.as_str()).collect();
    assert_eq!(models, ["m", "m-20*"]);
    assert_ne!(prices[0].version, prices[1].version);
    assert_eq!(prices[0].rates, prices[1].rates);
}

#[test]
fn the_same_content_has_the_same_version_and_any_other_content_another() {
    let version = |lines: &str| entry(lines).version;
    let base = version("input = \"0.012\"\n");

    assert_eq!(base.as_str(), "m@2026-01-01.3675dfe42852");
    assert_eq!(version("input = \"0.01200\"\n"), base);
    assert_eq!(version("input_uncached = \"0.012\"\n"), base);
    assert_eq!(version("per = \"1m_tokens\"\ninput = \"12\"\n"), base);
    // An end that is set later does not rename what was priced before.
    assert_eq!(version("until = 2026-02-01T00:00:00Z\ninput = \"0.012\"\n"), base);

    for other in [
        "input = \"0.013\"\n",
        "output = \"0.012\"\n",
        "provider = \"p\"\ninput = \"0.012\"\n",
        "input = \"0.012\"\nsearches = \"0.012\"\n",
        "input = \"0.012\"\n[[price.band]]\nwhen = { input_total_over = 1 }\ninput = \"0.012\"\n",
    ] {
        assert_ne!(version(other), base, "{other}");
    }
}

#[test]
fn a_price_keeps_its_version_through_json() {
    let price = entry("input = \"0.012\"\nsearches = \"0.010\"\n");

    let json = serde_json::to_string(&price).unwrap();
    let back: Price = serde_json::from_str(&json).unwrap();

    assert_eq!(back, price);
    assert_eq!(price_version(&back).unwrap(), price.version);
}

#[test]
fn a_price_that_is_not_a_text_is_refused_naming_the_key() {
    refuses("input = 0.012\n", &["`input`", "a float", "in quotes"]);
    refuses("cache_read = 1\n", &["`cache_read`", "an integer", "in quotes"]);
    refuses("output = \"1e-6\"\n", &["`output`", "1e-6"]);
    refuses("output = \"-1\"\n", &["`output`", "negative"]);
    refuses("output = \"0.00000000000000000000000000012\"\n", &["`output`", "28 digits"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_nearest_known_one() {
    refuses("outptu = \"1\"\n", &["`outptu`", "did you mean `output`?"]);
    refuses("cache_write_5min = \"1\"\n", &["did you mean `cache_write_5m`?"]);
    refuses("version = \"v1\"\ninput = \"1\"\n", &["`version`"]);
    assert!(refusal("[[prices]]\n").contains("did you mean `price`?"));
}

#[test]
fn units_of_price_that_are_not_built_are_refused_by_name() {
    for per in ["request", "second", "image", "search", "1k_characters"] {
        refuses(&format!("per = \"{per}\"\ninput = \"1\"\n"), &[per, "not supported yet"]);
    }
    refuses("per = \"1k\"\ninput = \"1\"\n", &["`per`", "1k_tokens, 1m_tokens"]);
}

#[test]
fn a_condition_that_makes_no_sense_is_refused_with_what_is_accepted() {
    for (condition, words) in [
        ("hours_utc = \"9-18\"", ["`hours_utc`", "16:30-00:30"]),
        ("hours_utc = 16", ["`hours_utc`", "an integer"]),
        ("hours_utc = []", ["`hours_utc`", "is empty"]),
        ("hours = \"09:00-18:00\"", ["`when.time_zone`", "hours_utc"]),
        ("hours = \"09:00-18:00\", time_zone = \"China\"", ["China", "Asia/Shanghai"]),
        ("hours_utc = \"09:00-18:00\", time_zone = \"Asia/Tokyo\"", ["time_zone", "`hours`"]),
        ("batch = true, time_zone = \"Asia/Tokyo\"", ["`when.time_zone`", "no meaning"]),
        ("weekdays = [1]", ["`weekdays`", "an integer"]),
        ("weekdays = \"fry\"", ["`fry`", "mon to sun"]),
        ("weekdays = \"mon\", except_holidays = \"CN\"", ["`CN`", "there are: none"]),
        ("weekdays = \"mon\", except_holidays = [\"1 May\"]", ["1 May", "2026-10-01"]),
        ("except_holidays = [2026-10-01]", ["`when.except_holidays`", "neither is given"]),
        ("batch = \"yes\"", ["`batch`", "true or false"]),
        ("input_total_ovr = 1", ["`input_total_ovr`", "did you mean `input_total_over`?"]),
    ] {
        let band =
            format!("input = \"1\"\n[[price.band]]\nwhen = {{ {condition} }}\ninput = \"2\"\n");
        refuses(&band, &words);
    }
}

#[test]
fn a_band_must_price_everything_anew_and_be_reachable() {
    let entry = "input = \"1\"\noutput = \"2\"\nsearches = \"3\"\n";
    let band = |when: &str, prices: &str| format!("[[price.band]]\nwhen = {{ {when} }}\n{prices}");

    let partial = band("input_total_over = 200000", "input = \"2\"\noutput = \"3\"\n");
    refuses(&format!("{entry}{partial}"), &["leaves out `searches`"]);

    let full = |when: &str| band(when, entry);
    let low_first = [full("input_total_over = 32000"), full("input_total_over = 128000")].concat();
    refuses(&format!("{entry}{low_first}"), &["can never apply", "highest"]);
    let plain_first =
        [full("input_total_over = 1"), full("input_total_over = 1, service_tier = \"flex\"")];
    refuses(&format!("{entry}{}", plain_first.concat()), &["can never apply"]);
    refuses(&format!("{entry}{}", band("", entry)), &["always apply"]);
}

#[test]
fn a_price_beyond_belief_is_refused_naming_both_units() {
    refuses("input = \"12\"\n", &["`input`", "1m_tokens", "1k_tokens"]);
    refuses("per = \"1m_tokens\"\noutput = \"10001\"\n", &["`output`", "1m_tokens", "1k_tokens"]);
    assert_eq!(amount(&entry("input = \"10\"\n"), "input_uncached").as_deref(), Some("10"));
}

#[test]
fn a_shorthand_beside_what_it_means_is_refused() {
    refuses("input = \"1\"\ninput_uncached = \"1\"\n", &["`input`", "`input_uncached`"]);
    refuses("output = \"1\"\noutput_text = \"1\"\n", &["`output`", "`output_text`"]);
}

#[test]
fn an_entry_without_a_price_a_date_or_a_source_is_refused() {
    refuses("", &["at least one price"]);
    for key in ["currency", "from", "source"] {
        let text: String = HEAD
            .lines()
            .filter(|line| !line.starts_with(key))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(refusal(&(text + "input = \"1\"\n")).contains(&format!("`{key}`")), "{key}");
    }
    let no_model = HEAD.replace("model = \"m\"\n", "") + "input = \"1\"\n";
    assert!(refusal(&no_model).contains("`model`"));
    let no_models = HEAD.replace("\"m\"", "[]") + "input = \"1\"\n";
    assert!(refusal(&no_models).contains("`model`"));
}

#[test]
fn an_interval_that_is_empty_or_local_is_refused() {
    refuses("until = 2026-01-01T00:00:00Z\ninput = \"1\"\n", &["`until`", "after `from`"]);
    refuses("until = 2026-03-01T00:00:00\ninput = \"1\"\n", &["`until`", "offset"]);
    refuses("until = \"2026-03-01T00:00:00Z\"\ninput = \"1\"\n", &["`until`", "a text"]);
}

#[test]
fn a_currency_that_cannot_be_invoiced_is_refused() {
    for code in ["yuan", "cny", "XAU"] {
        let text = HEAD.replace("CNY", code) + "input = \"1\"\n";
        assert!(refusal(&text).contains(code), "{code}");
    }
}

#[test]
fn overlapping_entries_of_one_file_are_refused() {
    let text = format!("{HEAD}input = \"1\"\n{HEAD}input = \"2\"\n");

    assert!(refusal(&text).contains("hold at the same time"));
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    assert!(refusal("[[price]]\nmodel = \n").contains("line 2"));
}

/// Whether a band `later` is refused behind a band `earlier` as one that can never apply.
fn is_covered(earlier: &str, later: &str) -> bool {
    let band = |when: &str| format!("[[price.band]]\nwhen = {{ {when} }}\ninput = \"1\"\n");
    let text = format!("{HEAD}input = \"2\"\n{}{}", band(earlier), band(later));
    match parse_price_book(&text, "prices.toml") {
        Ok(_) => false,
        Err(error) => {
            let message = error.source().unwrap().to_string();
            assert!(message.contains("can never apply"), "{earlier}; {later}: {message}");
            true
        }
    }
}

#[test]
fn a_band_is_covered_by_an_earlier_one_that_asks_for_nothing_more() {
    const DAY: &str = "hours = \"09:00-18:00\", time_zone = \"Asia/Tokyo\"";
    const WEEK: &str = "weekdays = \"mon-fri\", time_zone = \"Asia/Tokyo\"";
    const WORK: &str =
        "weekdays = \"mon-fri\", except_holidays = [2026-05-01], time_zone = \"Asia/Tokyo\"";
    let parts = [
        "input_total_over = 7",
        "service_tier = \"flex\"",
        "batch = true",
        "region = \"r\"",
        DAY,
        WEEK,
        WORK,
    ];

    for part in parts {
        assert!(is_covered(part, part), "{part}");
        let more = if part.contains("batch") { "region = \"r\"" } else { "batch = true" };
        assert!(is_covered(part, &format!("{part}, {more}")), "{part}: more is asked for");
        assert!(is_covered(more, &format!("{part}, {more}")), "{part}: only that is asked for");
        assert!(!is_covered(&format!("{part}, {more}"), part), "{part}: less is asked for");
        assert!(!is_covered(part, more), "{part}: something else is asked for");
    }
    assert!(is_covered(WEEK, WORK) && !is_covered(WORK, WEEK));
    assert!(is_covered("input_total_over = 7", "input_total_over = 8"));
    for (part, of, instead) in [
        ("input_total_over = 7", "7", "6"),
        ("service_tier = \"flex\"", "flex", "fast"),
        ("batch = true", "true", "false"),
        ("region = \"r\"", "\"r\"", "\"s\""),
        (DAY, "18:00", "17:00"),
        (DAY, "Tokyo", "Seoul"),
        (WEEK, "fri", "thu"),
        (WEEK, "Tokyo", "Seoul"),
        (WORK, "2026-05-01", "2026-05-02"),
        (WORK, "Tokyo", "Seoul"),
    ] {
        let other = part.replace(of, instead);
        assert!(!is_covered(part, &other), "{other} is not {part}");
    }
}

#[test]
fn a_price_of_a_provider_has_another_version_and_ways_of_writing_a_number_have_none() {
    let sale = entry("input = \"0.012\"\nsearches = \"0.01\"\n");
    let cost = entry("side = \"cost\"\ninput = \"0.012\"\nsearches = \"0.01\"\n");
    assert_ne!(sale.version, cost.version);

    let mut written = sale.clone();
    let long = |text: &str| rust_decimal::Decimal::from_str_exact(text).unwrap();
    for price in written.rates.per_thousand.values_mut() {
        *price = permille_types::PricePerThousand::new(long("0.01200"));
    }
    for price in written.rates.per_unit.values_mut() {
        *price = long("0.0100");
    }
    assert_eq!(price_version(&written).unwrap(), sale.version);
}

/// What makes an entry one that is refused.
type Spoil<'a> = &'a dyn Fn(&mut Price);

#[test]
fn a_price_that_no_file_could_hold_is_refused_as_a_document_too() {
    let amounts = "input = \"0.012\"\nimages = \"0.3\"\n";
    let band = format!("[[price.band]]\nwhen = {{ input_total_over = 10 }}\n{amounts}");
    let good = entry(&format!("{amounts}{band}"));
    let percent = entry("customer = \"acme\"\ndiscount_percent = \"10\"\n");
    check_price(&good).unwrap();
    check_price(&percent).unwrap();
    let decimal = |text: &str| text.parse::<rust_decimal::Decimal>().unwrap();
    let per_thousand = |rates: &mut Rates, text: &str| {
        let price = PricePerThousand::new(decimal(text));
        rates.per_thousand.insert(TokenClass::INPUT_UNCACHED, price);
    };
    let spoilt: [(Spoil<'_>, &[&str]); 17] = [
        (&|p| per_thousand(&mut p.rates, "-0.012"), &["`input_uncached`", "-0.012", "0 or more"]),
        (&|p| per_thousand(&mut p.rates, "10.1"), &["`input_uncached`", "10.1", "above 10"]),
        (&|p| per_thousand(&mut p.bands[0].rates, "-1"), &["`input_uncached`", "-1", "0 or more"]),
        (
            &|p| {
                p.rates.per_unit.insert(Unit::Images, decimal("-0.3"));
            },
            &["`images`", "-0.3", "0 or more"],
        ),
        (&|p| p.rates = Rates::default(), &["`rates`", "at least one price"]),
        (&|p| p.model = " ".to_owned(), &["`model`", "empty"]),
        (&|p| p.source = String::new(), &["`source`", "empty"]),
        (&|p| p.until = Some(p.from), &["`until`", "not after `from`"]),
        (&|p| p.currency = Currency::XAU, &["`currency`", "XAU", "no cents"]),
        (&|p| p.bands.push(p.bands[0].clone()), &["`band.when`", "can never apply"]),
        (&|p| p.bands[0].when = Condition::default(), &["`band.when`", "always apply"]),
        (&|p| p.bands[0].rates.per_unit.clear(), &["`band`", "leaves out `images`"]),
        (
            &|p| {
                p.side = Side::Cost;
                p.customer = Some("acme".parse().unwrap());
            },
            &["`side`", "no customer"],
        ),
        (
            &|p| p.relative = Some(Relative::DiscountPercent(decimal("10"))),
            &["`rates`", "beside a percentage"],
        ),
        (
            &|p| {
                p.relative = Some(Relative::DiscountPercent(decimal("10")));
                p.rates = Rates::default();
            },
            &["`rates`", "beside a percentage"],
        ),
        (
            &|p| p.relative = Some(Relative::MarkupPercent(decimal("-10"))),
            &["`markup_percent`", "-10", "negative"],
        ),
        (
            &|p| p.relative = Some(Relative::DiscountPercent(decimal("100.1"))),
            &["`discount_percent`", "100.1", "above 100"],
        ),
    ];

    for (spoil, words) in spoilt {
        let mut price = good.clone();
        spoil(&mut price);
        let message = check_price(&price).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
    for just_right in ["0", "10"] {
        let mut price = good.clone();
        per_thousand(&mut price.rates, just_right);
        check_price(&price).unwrap();
    }
    let fine = Relative::DiscountPercent(decimal("0.00001"));
    let message = check_price(&Price { relative: Some(fine), ..percent }).unwrap_err().to_string();
    assert!(message.contains("more than 4 decimal places"), "{message}");
    check_price(&Price { currency: Currency::JPY, ..good }).unwrap();
}
