//! Price lists of others, as they are published, and what an import of them would change.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;
mod lists;

use event::{event, noon};
use lists::{amount, genai, litellm, options, price, read, skipped};
use permille_rating::import::{Format, ImportError, ImportOptions, Imported, diff, import};
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::rate::rate;
use permille_types::{Currency, Price, UsageEvent};

const LITELLM: &str = include_str!("lists/litellm.json");
const GENAI: &str = include_str!("lists/genai-prices.json");

#[test]
fn litellms_dollars_per_token_become_our_dollars_per_thousand() {
    let list = read(Format::Litellm, LITELLM);

    let gpt = price(&list, "gpt-4o");
    assert_eq!(gpt.provider.as_deref(), Some("openai"));
    assert_eq!(gpt.currency, Currency::USD);
    for (class, expected) in [
        ("input_uncached", "0.0025"),
        ("cache_read", "0.00125"),
        ("output_text", "0.01"),
        ("reasoning", "0.01"),
    ] {
        assert_eq!(amount(gpt, 0, class).as_deref(), Some(expected), "{class}");
    }
    let claude = price(&list, "claude-sonnet-4-5");
    assert_eq!(amount(claude, 0, "cache_write_5m").as_deref(), Some("0.00375"));
    assert_eq!(amount(claude, 0, "cache_write_1h").as_deref(), Some("0.006"));
    // Named `deepseek/deepseek-chat` there.
    assert_eq!(
        amount(price(&list, "deepseek-chat"), 0, "input_uncached").as_deref(),
        Some("0.00028")
    );
}

#[test]
fn litellms_long_contexts_batches_and_tiers_become_bands() {
    let list = read(Format::Litellm, LITELLM);
    let rated = |event: &UsageEvent| {
        let book = PriceBook::new(list.prices.clone()).unwrap();
        rate(event, &book, Currency::USD).unwrap().cost.unwrap().amount().to_string()
    };

    let tokens = [("input_uncached", 200_000)];
    assert_eq!(rated(&event("gemini-2.5-pro", &tokens)), "0.25");
    let long = event("gemini-2.5-pro", &[("input_uncached", 200_001)]);
    assert_eq!(rated(&long), "0.5000025");
    let batch = |tier: &str| UsageEvent {
        service_tier: Some(tier.to_owned()),
        ..event("gpt-4o", &[("input_uncached", 1_000), ("cache_read", 1_000)])
    };
    // The batch list says nothing of cache reads: they keep their price.
    assert_eq!(rated(&batch("batch")), "0.0025");
    assert_eq!(rated(&batch("priority")), "0.006375");
    assert_eq!(rated(&batch("default")), "0.00375");
}

#[test]
fn a_band_of_litellms_takes_what_it_does_not_list_from_the_next_wider_one() {
    let list = read(
        Format::Litellm,
        r#"{"m": {"litellm_provider": "p", "mode": "chat",
            "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
            "output_cost_per_reasoning_token": 2e-06,
            "input_cost_per_token_above_128k_tokens": 3e-06,
            "output_cost_per_token_above_200k_tokens": 4e-06,
            "input_cost_per_token_priority": 5e-06}}"#,
    );

    let found = price(&list, "m");
    // In the order in which they are tried: the tier, over 200,000, over 128,000.
    let bands: Vec<_> = (1..=3)
        .map(|band| {
            ["input_uncached", "output_text", "reasoning"].map(|of| amount(found, band, of))
        })
        .collect();
    let of = |amounts: [&str; 3]| amounts.map(|amount| Some(amount.to_owned()));
    assert_eq!(
        bands,
        [
            of(["0.005", "0.002", "0.002"]),
            of(["0.003", "0.004", "0.004"]),
            of(["0.003", "0.002", "0.002"]),
        ]
    );
}

#[test]
fn a_price_of_0_is_imported_from_no_list() {
    let litellm = r#"{"m": {"litellm_provider": "p", "mode": "chat",
        "input_cost_per_token": 0.0, "output_cost_per_token": 0.0}}"#;
    let genai = r#"[{"id": "p", "name": "P", "api_pattern": "x", "models": [{"id": "m",
        "match": {"equals": "m"}, "prices": {"input_mtok": 0, "output_mtok": 0}}]}]"#;

    for (format, text) in [(Format::Litellm, litellm), (Format::GenaiPrices, genai)] {
        let list = read(format, text);

        assert!(list.prices.is_empty(), "{list:?}");
        assert!(list.skipped[0].reason.contains("listed at 0"), "{:?}", list.skipped);
    }
}

#[test]
fn what_is_not_priced_by_tokens_is_skipped_with_its_reason_and_other_keys_are_named() {
    let list = read(Format::Litellm, LITELLM);

    assert_eq!(skipped(&list), ["whisper-1"]);
    assert!(list.skipped[0].reason.contains("audio_transcription"), "{:?}", list.skipped);
    assert!(list.left_out.contains("search_context_cost_per_query"));
}

#[test]
fn genai_prices_thresholds_dates_and_times_of_day_are_read() {
    let list = read(Format::GenaiPrices, GENAI);

    assert!(list.skipped.is_empty(), "{:?}", list.skipped);
    let long = price(&list, "claude-sonnet-4-5*");
    assert_eq!(long.bands[0].when.input_total_over, Some(200_000));
    assert_eq!(amount(long, 1, "output_text").as_deref(), Some("0.0225"));
    // From 2026-03-13 on without its threshold.
    let flat = price(&list, "claude-sonnet-4.6*");
    assert!(flat.bands.is_empty());
    let before = ImportOptions { from: "2026-03-12T23:59:59Z".parse().unwrap(), ..options() };
    let before = import(Format::GenaiPrices, GENAI, &before).unwrap();
    assert_eq!(price(&before, "claude-sonnet-4.6*").bands.len(), 1);

    let book = PriceBook::new(list.prices).unwrap();
    let cost = |at: &str| {
        let request = event("deepseek-chat", &[("input_uncached", 1_000)]);
        let request = UsageEvent { at: at.parse().unwrap(), ..request };
        rate(&request, &book, Currency::USD).unwrap().cost.unwrap().amount().to_string()
    };
    assert_eq!(cost("2026-11-24T00:29:59Z"), "0.000135");
    assert_eq!(cost("2026-11-24T00:30:00Z"), "0.00027");
    assert_eq!(cost("2026-11-24T16:30:00Z"), "0.000135");
}

#[test]
fn only_wanted_providers_and_models_are_taken() {
    let wanted = |providers: &[&str], models: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let options =
            ImportOptions { providers: owned(providers), models: owned(models), ..options() };
        let list = import(Format::Litellm, LITELLM, &options).unwrap();
        list.prices.into_iter().map(|price| price.model).collect::<Vec<_>>()
    };

    assert_eq!(wanted(&["anthropic"], &[]), ["claude-sonnet-4-5"]);
    assert_eq!(wanted(&["openai"], &["gpt-4*"]), ["gpt-4o"]);
    assert!(wanted(&["nobody"], &[]).is_empty());
}

#[test]
fn a_slip_of_the_unit_and_the_remains_of_a_float_are_refused() {
    for (amounts, words) in [
        // Per million where a price per token belongs.
        (r#""input_cost_per_token":2.5"#, "above 10"),
        // Per token divided by a million once more.
        (r#""input_cost_per_token":2.5e-12"#, "probably a price per token"),
        (r#""input_cost_per_token":0.0000029999999999999997"#, "remains of a float"),
        (r#""input_cost_per_token":0,"output_cost_per_token":0.0"#, "free or unknown"),
        (r#""input_cost_per_token":"free""#, "no exact number"),
        (r#""input_cost_per_token":-1e-6"#, "negative"),
        (r#""max_tokens":1"#, "no price for input or output"),
    ] {
        let list = litellm(amounts);
        assert!(list.prices.is_empty(), "{amounts}");
        assert!(list.skipped[0].reason.contains(words), "{words}: {:?}", list.skipped);
    }
    assert_eq!(litellm(r#""input_cost_per_token":2.5e-06"#).prices.len(), 1);
}

const CSV: &str = "model,provider,currency,per,input,output,cache_read\n\
                   ERNIE-Bot,baidu-qianfan,CNY,1k_tokens,0.012,0.012,\n\
                   \"m,1\",,USD,1m_tokens,2.50,10,0.25\n";

#[test]
fn a_csv_file_has_the_keys_of_a_price_file_as_columns() {
    let list = read(Format::Csv, CSV);

    let ernie = price(&list, "ERNIE-Bot");
    assert_eq!(amount(ernie, 0, "output_text").as_deref(), Some("0.012"));
    assert_eq!((amount(ernie, 0, "cache_read"), ernie.currency), (None, Currency::CNY));
    let quoted = price(&list, "m,1");
    assert_eq!(amount(quoted, 0, "cache_read").as_deref(), Some("0.00025"));
    assert_eq!(quoted.provider, None);
}

#[test]
fn a_csv_line_that_does_not_fit_is_refused_by_its_number() {
    for (csv, line, words) in [
        ("model,currency,input\nm,USD\n", 2, "2 fields, the first line has 3"),
        ("model,currency,input\n\"m,USD,1\n", 2, "inside quotes"),
        ("model,currency,price\nm,USD,1\n", 2, "unknown key `price`"),
        ("model,currency,input\nm,USD,12\n", 2, "1m_tokens"),
        ("model,currency,input\nm,USD,1\n\nn,USD,1e-3\n", 4, "1e-3"),
        ("model,from,input\nm,2026-01-01,1\n", 2, "is given with the import"),
    ] {
        match import(Format::Csv, csv, &options()) {
            Err(ImportError::Line { line: found, cause }) => {
                let message = cause.to_string();
                assert!(found == line && message.contains(words), "{found}: {message}");
            }
            other => panic!("{csv}: {other:?}"),
        }
    }
}

fn entries(from: &str, entries: &[(&str, &str)]) -> Vec<Price> {
    let entry = |(model, lines): &(&str, &str)| {
        format!(
            "[[price]]\nmodel = \"{model}\"\ncurrency = \"USD\"\nfrom = {from}T00:00:00Z\n\
             source = \"s\"\n{lines}\n"
        )
    };
    let text: String = entries.iter().map(entry).collect();
    parse_price_book(&text, "test").unwrap()
}

#[test]
fn a_diff_tells_new_changed_and_unchanged_entries_and_each_amount() {
    let current = entries(
        "2026-01-01",
        &[("a", "input = \"1\"\noutput = \"2\""), ("b", "input = \"1\""), ("c", "input = \"1\"")],
    );
    let new = entries(
        "2026-12-01",
        &[
            ("a", "input = \"1\"\noutput = \"3\"\ncache_read = \"0.1\""),
            ("b", "input = \"1.0\""),
            ("c", "input = \"0.001\""),
            ("d", "input = \"1\""),
        ],
    );

    let found = diff(&current, &new);

    assert_eq!((found.added.len(), found.unchanged), (1, 1));
    let changes: Vec<_> = found
        .changed
        .iter()
        .flat_map(|change| change.amounts.iter().map(move |amount| (change, amount)))
        .map(|(change, amount)| {
            let text = |amount: Option<rust_decimal::Decimal>| amount.map(|a| a.to_string());
            let (before, after) = (text(amount.before), text(amount.after));
            (change.price.model.as_str(), amount.meter.to_string(), before, after, change.jump)
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        changes,
        [
            ("a", "cache_read".to_owned(), None, some("0.1"), false),
            ("a", "output_text".to_owned(), some("2"), some("3"), false),
            ("a", "reasoning".to_owned(), some("2"), some("3"), false),
            ("c", "input_uncached".to_owned(), some("1"), some("0.001"), true),
        ]
    );
    assert_eq!(found.prices().len(), 3);
    assert!(found.jumps());
}

#[test]
fn the_same_list_again_from_a_later_day_changes_nothing() {
    let first = read(Format::GenaiPrices, GENAI);
    let later = ImportOptions { from: noon(), source: "another day".to_owned(), ..options() };
    let second = import(Format::GenaiPrices, GENAI, &later).unwrap();

    let found = diff(&first.prices, &second.prices);

    assert_eq!((found.prices().len(), found.unchanged), (0, 6));
}

/// Its one model, named `m`, with these prices.
fn genai_prices(prices: &str) -> Imported {
    genai(&format!(r#"{{"id":"m","match":{{"equals":"m"}},"prices":{prices}}}"#))
}

#[test]
fn an_amount_is_believed_to_its_last_digit_and_down_to_the_lowest_price() {
    for (per_token, taken) in [
        ("1.23456789012e-06", Some("0.00123456789012")),
        ("1.234567890123e-06", None),
        ("1e-10", Some("0.0000001")),
        ("0.9e-10", None),
    ] {
        let list = litellm(&format!(r#""input_cost_per_token":{per_token}"#));

        let found = list.prices.first().and_then(|price| amount(price, 0, "input_uncached"));
        assert_eq!(found.as_deref(), taken, "{per_token}: {:?}", list.skipped);
    }
}

#[test]
fn a_model_is_listed_once_for_each_provider() {
    let models = r#"{"id":"m","match":{"equals":"m"},"prices":{"input_mtok":1}},
                    {"id":"m2","match":{"equals":"m"},"prices":{"input_mtok":2}}"#;
    let one = format!(r#"{{"id":"p","models":[{models}]}}"#);
    let list = read(Format::GenaiPrices, &format!("[{one},{}]", one.replace("\"p\"", "\"q\"")));

    let of: Vec<_> = list.prices.iter().map(|price| price.provider.as_deref().unwrap()).collect();
    assert_eq!((of, skipped(&list)), (vec!["p", "q"], vec!["p/m2", "q/m2"]));
    assert_eq!(list.skipped[0].reason, "`m` is listed twice");
}

#[test]
fn the_more_special_amount_of_a_cache_write_is_its_own() {
    let list = genai_prices(
        r#"{"input_mtok":3,"cache_write_mtok":4,"cache_write_5m_mtok":5,"cache_write_1h_mtok":6}"#,
    );

    let m = price(&list, "m");
    for (class, expected) in
        [("cache_write_5m", "0.005"), ("cache_write_other", "0.004"), ("cache_write_1h", "0.006")]
    {
        assert_eq!(amount(m, 0, class).as_deref(), Some(expected), "{class}");
    }
}

#[test]
fn a_price_per_thousand_requests_is_one_for_each() {
    let list = genai_prices(r#"{"input_mtok":1,"requests_kcount":5}"#);

    assert_eq!(amount(price(&list, "m"), 0, "requests").as_deref(), Some("0.005"));
}

#[test]
fn the_names_of_a_model_are_read_as_globs_or_not_at_all() {
    let list = genai(
        r#"{"id":"m","prices":{"input_mtok":1},"match":{"or":[{"equals":"a"},{"starts_with":"b"},
            {"or":[{"ends_with":"c"},{"contains":"d"}]},{"equals":"a"}]}},
           {"id":"n","prices":{"input_mtok":1},"match":{"regex":"e"}},
           {"id":"o","prices":{"input_mtok":1},"match":{"equals":"f*"}},
           {"id":"p","prices":{"input_mtok":1},"match":{"or":{"equals":"g"}}}"#,
    );

    let models: Vec<_> = list.prices.iter().map(|price| price.model.as_str()).collect();
    assert_eq!((models, skipped(&list)), (vec!["*c", "*d*", "a", "b*"], vec!["p/n", "p/o", "p/p"]));
    assert!(list.skipped.iter().all(|skipped| skipped.reason.contains("which is no glob")));
}

const TIERED: &str = r#"{"input_mtok":{"base":1,"tiers":[{"start":1000,"price":2}]}}"#;

#[test]
fn prices_by_length_and_by_time_at_once_are_not_read_and_several_times_are() {
    let at = |start: &str, end: &str, prices: &str| {
        format!(
            r#"{{"constraint":{{"start_time":"{start}Z","end_time":"{end}Z"}},"prices":{prices}}}"#
        )
    };
    let night = |prices| at("00:30:00", "08:00:00", prices);
    let base = |prices: &str| format!(r#"{{"prices":{prices}}}"#);
    let (flat, cheap) = (r#"{"input_mtok":1}"#, r#"{"input_mtok":0.5}"#);
    let noon = at("12:00:00", "13:00:00", r#"{"input_mtok":0.7}"#);

    for mixed in [[base(TIERED), night(cheap)], [base(flat), night(TIERED)]] {
        let list = genai_prices(&format!("[{}]", mixed.join(",")));
        assert!(list.prices.is_empty(), "{list:?}");
        assert_eq!(list.skipped[0].reason, "has prices by length and by time at once");
    }
    let list = genai_prices(&format!("[{},{},{noon}]", base(flat), night(cheap)));
    let m = price(&list, "m");
    let inputs = [0, 1, 2].map(|band| amount(m, band, "input_uncached").unwrap());
    assert_eq!(inputs, ["0.001", "0.0007", "0.0005"]);
}

#[test]
fn flexible_requests_of_litellms_have_their_own_price() {
    let list = litellm(r#""input_cost_per_token":2e-06,"input_cost_per_token_flex":1e-06"#);

    let m = price(&list, "m");
    assert_eq!(m.bands[0].when.service_tier.as_deref(), Some("flex"));
    assert_eq!(amount(m, 1, "input_uncached").as_deref(), Some("0.001"));
}

#[test]
fn two_quotes_inside_quotes_are_one() {
    let list = read(Format::Csv, "model,currency,input\n\"m \"\"x\"\", 1\",USD,\"1\"\n");

    assert_eq!(price(&list, "m \"x\", 1").currency, Currency::USD);
}

#[test]
fn an_entry_takes_over_from_the_one_that_holds_at_its_first_instant() {
    let ends = "until = 2026-06-01T00:00:00Z\ninput = \"1\"";
    let current = entries("2026-01-01", &[("m", ends)]);
    let of = |from: &str| {
        let found = diff(&current, &entries(from, &[("m", "input = \"2\"")]));
        (found.changed.len(), found.added.len())
    };

    assert_eq!(of("2025-12-31"), (0, 1), "before it holds");
    assert_eq!(of("2026-01-01"), (1, 0));
    assert_eq!(of("2026-05-31"), (1, 0));
    assert_eq!(of("2026-06-01"), (0, 1), "it holds no more");
}

#[test]
fn what_says_the_same_until_the_same_end_is_unchanged_and_anything_else_is_not() {
    let base = "input = \"1\"\nuntil = 2026-12-31T00:00:00Z";
    let band = |when: &str| format!("{base}\n[[price.band]]\nwhen = {{ {when} }}\ninput = \"2\"");
    let own = |percent: &str| format!("customer = \"acme\"\ndiscount_percent = \"{percent}\"");

    for (before, after, unchanged) in [
        (base.to_owned(), base.to_owned(), true),
        (base.to_owned(), "input = \"1\"".to_owned(), true),
        (base.to_owned(), base.replace("12-31", "11-30"), false),
        (base.to_owned(), base.replace("\"1\"", "\"2\""), false),
        (band("batch = true"), band("batch = true"), true),
        (band("batch = true"), band("batch = false"), false),
        (base.to_owned(), band("batch = true"), false),
        (own("10"), own("10"), true),
        (own("10"), own("20"), false),
    ] {
        let (current, new) =
            (entries("2026-01-01", &[("m", &before)]), entries("2026-02-01", &[("m", &after)]));

        let found = diff(&current, &new);

        let expected = if unchanged { (0, 1) } else { (1, 0) };
        assert_eq!((found.changed.len(), found.unchanged), expected, "{before}\n{after}");
        assert!(found.added.is_empty() && !found.jumps(), "{before}\n{after}");
    }
}

#[test]
fn a_hundredfold_and_a_change_from_or_to_nothing_are_jumps() {
    for (before, after, jumps) in [
        ("0.01", "1", true),
        ("1", "0.01", true),
        ("0.01", "0.9999", false),
        ("0.9999", "0.01", false),
        ("0", "1", true),
        ("1", "0", true),
    ] {
        let price = |amount: &str| format!("input = \"{amount}\"");
        let current = entries("2026-01-01", &[("m", &price(before)), ("n", "input = \"1\"")]);
        let new = entries("2026-02-01", &[("n", "input = \"2\""), ("m", &price(after))]);

        let found = diff(&current, &new);

        assert_eq!((found.changed.len(), found.jumps()), (2, jumps), "{before} to {after}");
    }
}
