//! Shapes of entries that published price lists have, beside those of the lists that `import` reads
//! whole: prices by length and by time in tables of their own, and what is not read of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;
mod lists;

use chrono::{DateTime, Utc};
use event::{event, noon};
use lists::{amount, genai, litellm, options, price, read, skipped};
use permille_rating::{
    import::{Format, ImportOptions, Imported, import},
    price_book::PriceBook,
    rate::rate,
};
use permille_types::{Currency, UsageEvent};

/// What a thousand input tokens of model `m` cost at `at`.
fn thousand(list: &Imported, at: DateTime<Utc>) -> String {
    let book = PriceBook::new(list.prices.clone()).unwrap();
    let request = UsageEvent { at, ..event("m", &[("input_uncached", 1_000)]) };
    rate(&request, &book, Currency::USD).unwrap().cost.unwrap().amount().to_string()
}

#[test]
fn ranges_of_input_in_a_table_of_litellms_are_bands_over_their_first_number() {
    let range = |range: &str, input: &str, rest: &str| {
        format!(
            r#"{{"range":{range},"input_cost_per_token":{input},
                "output_cost_per_token":1e-5{rest}}}"#
        )
    };
    let first = range("[0,32000.0]", "1e-6", r#","output_cost_per_reasoning_token":2e-5"#);
    let second = range("[32000.0,128000.0]", "2e-6", "");
    let third = range("[128000,256000]", "3e-6", r#","input_cost_per_image":5"#);
    let table = format!(r#""tiered_pricing":[{third},{first},{second}]"#);
    // The table holds, not an amount beside it; a class that it does not list keeps its own.
    let beside = r#","input_cost_per_token":9e-6,"cache_read_input_token_cost":1e-7"#;

    for (entry, cached) in [(table.clone(), None), (format!("{table}{beside}"), Some("0.0001"))] {
        let list = litellm(&entry);

        assert!(list.skipped.is_empty(), "{:?}", list.skipped);
        assert_eq!(list.left_out.iter().collect::<Vec<_>>(), ["input_cost_per_image"]);
        let m = price(&list, "m");
        let over: Vec<_> = m.bands.iter().map(|band| band.when.input_total_over).collect();
        assert_eq!(over, [Some(128_000), Some(32_000)]);
        let inputs = [0, 1, 2].map(|band| amount(m, band, "input_uncached").unwrap());
        assert_eq!(inputs, ["0.001", "0.003", "0.002"]);
        let reasoning = [0, 1, 2].map(|band| amount(m, band, "reasoning").unwrap());
        assert_eq!(reasoning, ["0.02", "0.01", "0.01"]);
        let caches = [0, 1, 2].map(|band| amount(m, band, "cache_read"));
        assert_eq!(caches.each_ref().map(Option::as_deref), [cached; 3]);
    }
}

#[test]
fn a_table_of_ranges_that_does_not_read_is_no_table_without_ranges() {
    for (table, words) in [
        (r#"{"range":[0,1]}"#, "`tiered_pricing` does not read"),
        (r#"[{"input_cost_per_token":1e-6}]"#, "range of `tiered_pricing` is none"),
        (r#"[{"range":[0.5,1],"input_cost_per_token":1e-6}]"#, "is [0.5,1]"),
        (r#"[{"range":[-1,1],"input_cost_per_token":1e-6}]"#, "is [-1,1]"),
        (r#"[{"range":[],"input_cost_per_token":1e-6}]"#, "is []"),
        (r#"[{"range":[0,1],"input_cost_per_token":"x"}]"#, "no exact number"),
    ] {
        let list = litellm(&format!(r#""input_cost_per_token":1e-6,"tiered_pricing":{table}"#));

        assert!(list.prices.is_empty(), "{table}");
        assert!(list.skipped[0].reason.contains(words), "{words}: {:?}", list.skipped);
    }
}

/// An entry that is cheaper at some times.
fn off_peak(when: &str) -> Imported {
    litellm(&format!(
        r#""input_cost_per_token":2e-6,"output_cost_per_token":4e-6,
           "cache_read_input_token_cost":1e-7,
           "off_peak_pricing":{{"input_cost_per_token":1e-6,"output_cost_per_token":2e-6,{when}}}"#
    ))
}

#[test]
fn prices_by_time_of_litellms_hold_at_their_hours_and_on_their_days() {
    let week = r#"{"hours_utc":["00:00-01:00","10:00-00:00"],"weekdays":[1,2,3,4,5]}"#;
    let weekend = r#"{"hours_utc":"00:00-00:00","weekdays":[6,7]}"#;
    let list = off_peak(&format!(r#""windows":[{week},{weekend}]"#));

    assert!(list.left_out.is_empty() && list.skipped.is_empty(), "{list:?}");
    for (at, cost) in [
        // A Friday, then a Saturday, and a Monday.
        ("2026-11-27T00:59:59Z", "0.001"),
        ("2026-11-27T01:00:00Z", "0.002"),
        ("2026-11-27T09:59:59Z", "0.002"),
        ("2026-11-27T10:00:00Z", "0.001"),
        ("2026-11-28T05:00:00Z", "0.001"),
        ("2026-11-29T23:59:59Z", "0.001"),
        ("2026-11-30T01:00:00Z", "0.002"),
    ] {
        assert_eq!(thousand(&list, at.parse().unwrap()), cost, "{at}");
    }
    assert_eq!(amount(price(&list, "m"), 1, "cache_read").as_deref(), Some("0.0001"));
    let daily = off_peak(r#""hours_utc":"16:30-00:30""#);
    assert_eq!(thousand(&daily, "2026-11-28T00:29:59Z".parse().unwrap()), "0.001");
    assert_eq!(thousand(&daily, "2026-11-28T00:30:00Z".parse().unwrap()), "0.002");
}

#[test]
fn prices_by_time_that_cannot_be_read_whole_are_not_read() {
    for (when, words) in [
        (r#""weekday_timezone":"Asia/Tokyo","hours_utc":"01:00-02:00""#, "days of Asia/Tokyo"),
        (r#""windows":[{"hours_utc":"01:00-02:00","weekdays":[8]}]"#, "`weekdays` of"),
        (r#""windows":[{"hours_utc":"01:00-02:00","weekdays":[0]}]"#, "`weekdays` of"),
        (r#""windows":[{"hours_utc":"01:00-02:00","holidays":[1]}]"#, "does not read"),
        (r#""windows":[{"hours_utc":5}]"#, "is 5"),
        (r#""hours_utc":"01:00-25:00""#, "25:00"),
        (r#""hours_utc":"00:00-00:00""#, "always apply"),
    ] {
        let list = off_peak(when);

        assert!(list.prices.is_empty(), "{when}");
        assert!(list.skipped[0].reason.contains(words), "{words}: {:?}", list.skipped);
    }
    let mixed = litellm(
        r#""input_cost_per_token":2e-6,"input_cost_per_token_above_200k_tokens":4e-6,
           "off_peak_pricing":{"hours_utc":"01:00-02:00","input_cost_per_token":1e-6}"#,
    );
    assert_eq!(mixed.skipped[0].reason, "has prices by length and by time at once");
    let sunday = r#"{"hours_utc":"05:00-05:00","weekdays":[7]}"#;
    let whole_days = off_peak(&format!(r#""weekday_timezone":"UTC","windows":[{sunday}]"#));
    assert_eq!(thousand(&whole_days, "2026-11-29T12:00:00Z".parse().unwrap()), "0.001");
    assert_eq!(thousand(&whole_days, "2026-11-30T05:00:00Z".parse().unwrap()), "0.002");
}

#[test]
fn what_makes_a_price_another_one_is_named_when_it_is_not_read() {
    let list = litellm(
        r#""input_cost_per_token":2e-6,"input_cost_per_token_ultrafast":4e-6,
           "regional_endpoint_uplift_multiplier":1.1,"provider_specific_entry":{"us":1.1},
           "input_cost_per_token_decisions":1e-6,"max_tokens":1000"#,
    );

    let named: Vec<_> = list.left_out.iter().map(String::as_str).collect();
    let expected = [
        "input_cost_per_token_decisions",
        "provider_specific_entry",
        "regional_endpoint_uplift_multiplier",
    ];
    assert_eq!(named, expected);
    let m = price(&list, "m");
    assert_eq!(m.bands[0].when.service_tier.as_deref(), Some("ultrafast"));
    assert_eq!(amount(m, 1, "input_uncached").as_deref(), Some("0.004"));
}

/// The one model `m` of genai-prices with these prices, one after the other.
fn in_order(prices: &[(&str, &str)]) -> Imported {
    let each = prices.iter().map(|(constraint, input)| {
        let constraint = if constraint.is_empty() {
            String::new()
        } else {
            format!(r#""constraint":{{{constraint}}},"#)
        };
        format!(r#"{{{constraint}"prices":{{"input_mtok":{input}}}}}"#)
    });
    let prices = each.collect::<Vec<_>>().join(",");
    genai(&format!(r#"{{"id":"m","match":{{"equals":"m"}},"prices":[{prices}]}}"#))
}

const DAY: &str = r#""start_time":"08:00:00Z","end_time":"16:00:00Z""#;
const NOON: &str = r#""start_time":"11:00:00Z","end_time":"13:00:00Z""#;

#[test]
fn the_last_price_of_genai_prices_that_holds_is_the_one() {
    for (prices, at_noon) in [
        // Both windows hold at noon.
        ([("", "1"), (DAY, "2"), (NOON, "3")], "0.003"),
        ([("", "1"), (NOON, "3"), (DAY, "2")], "0.002"),
        // A price without an hour, and one from a day on, take over from the windows before them.
        ([("", "1"), (NOON, "3"), ("", "4")], "0.004"),
        ([("", "1"), (NOON, "3"), (r#""start_date":"2026-10-01""#, "4")], "0.004"),
        ([("", "1"), (r#""start_date":"2026-10-01""#, "4"), (NOON, "3")], "0.003"),
    ] {
        let list = in_order(&prices);

        assert!(list.skipped.is_empty(), "{:?}", list.skipped);
        assert_eq!(thousand(&list, noon()), at_noon, "{prices:?}");
    }
}

#[test]
fn a_price_that_begins_after_the_import_is_told() {
    let prices = [("", "1"), (NOON, "3"), (r#""start_date":"2026-11-02""#, "4")];
    let list = in_order(&prices);

    assert_eq!(thousand(&list, noon()), "0.003");
    assert_eq!(skipped(&list), ["p/m"]);
    assert_eq!(list.skipped[0].reason, "its price from 2026-11-02 on: import it from then");
    // On that day itself it holds.
    let text = r#"[{"id":"p","models":[{"id":"m","match":{"equals":"m"},"prices":[
        {"prices":{"input_mtok":1}},
        {"constraint":{"start_date":"2026-11-02"},"prices":{"input_mtok":4}}]}]}]"#;
    let from = ImportOptions { from: "2026-11-02T00:00:00Z".parse().unwrap(), ..options() };
    let list = import(Format::GenaiPrices, text, &from).unwrap();
    assert_eq!(amount(price(&list, "m"), 0, "input_uncached").as_deref(), Some("0.004"));
    assert!(list.skipped.is_empty() && read(Format::GenaiPrices, text).skipped.len() == 1);
}

#[test]
fn a_condition_that_is_not_known_is_not_taken_for_one_that_is() {
    for condition in [
        r#""start_date":"2026-10-01","region":"eu""#,
        r#""start_date":"2026-10-01","start_time":"08:00:00Z","end_time":"16:00:00Z""#,
        r#""start_time":"08:00:00Z""#,
        r#""region":"eu""#,
    ] {
        let list = in_order(&[("", "1"), (condition, "2")]);

        assert!(list.prices.is_empty(), "{condition}");
        let reason = &list.skipped[0].reason;
        let told = reason.contains("no date and no time") || reason.contains("do not read");
        assert!(told, "{condition}: {reason}");
    }
}

#[test]
fn other_prices_of_some_requests_are_named_and_more_classes_are_read() {
    let list = genai(
        r#"{"id":"m","match":{"equals":"m"},"prices":{"input_mtok":1,"input_video_mtok":2,
            "output_mtok":3,"output_image_mtok":4,"output_reasoning_mtok":5,
            "web_searches_kcount":6},
            "price_variants":[{"when":{"a":"b"},"prices":{"input_mtok":0.5}}]}"#,
    );

    let m = price(&list, "m");
    let classes = ["video_in", "output_text", "image_out", "reasoning"];
    let amounts = classes.map(|class| amount(m, 0, class).unwrap());
    assert_eq!(amounts, ["0.002", "0.003", "0.004", "0.005"]);
    let named: Vec<_> = list.left_out.iter().map(String::as_str).collect();
    assert_eq!(named, ["price_variants", "web_searches_kcount"]);
}
